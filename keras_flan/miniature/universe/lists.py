"""Questions about the letters of a word, and about short lists of words."""

from keras_flan.miniature.universe.specs import Draws, TaskSpec
from keras_flan.miniature.universe.words import (
    KIND_OF,
    KINDS,
    NAMES,
    WORDS,
    listing,
    numbered,
    people,
    spelled,
)

POSITIONS = ("first", "second", "last")
NTH = (
    "What is the {nth} word of this list: {items}?",
    "Which word is {nth} in: {items}?",
    "Name the {nth} item: {items}.",
    "{name} reads: {items}. What is the {nth} word?",
    "Give the {nth} word of: {items}.",
    "A list says: {items}. Which word comes {nth}?",
)

COUNT = (
    "How many {kind}s are in this list: {items}?",
    "Count the {kind}s: {items}.",
    "{name} writes: {items}. How many are {kind}s?",
    "How many of these words are {kind}s: {items}?",
    "In the list {items}, how many {kind}s are there?",
)

LETTER = (
    "What is the {nth} letter of {word}?",
    "Which letter comes {nth} in {word}?",
    "{name} writes {word}. What is its {nth} letter?",
    "{name} asks {friend} for the {nth} letter of {word}. What is it?",
    "{name} spells {word}. Which letter is {nth}?",
)

LAST_LETTERS = (
    "What are the last letters of: {items}?",
    "Write the last letter of each word: {items}.",
    "{name} writes: {items}. Give the last letter of each word.",
    "Take the last letter of every word: {items}.",
    "With which letters do these words end: {items}?",
)

REVERSE = (
    "Reverse this list: {items}.",
    "Say these words backwards, last word first: {items}.",
    "{name} reads: {items}. Give the words in reverse order.",
    "Write the words from last to first: {items}.",
    "What is this list in reverse order: {items}?",
)


def _ask(
    draws: Draws, texts: tuple[str, ...], items: list[str], **fields: str
) -> str:
    return draws.pick(texts).format(
        items=", ".join(items), name=draws.pick(NAMES), **fields
    )


def nth_word(draws: Draws) -> dict[str, str]:
    """Makes a question such as "What is the second word of ...?"."""
    items = draws.sample(WORDS, 3)
    position = draws.below(3)
    return {
        "question": _ask(draws, NTH, items, nth=POSITIONS[position]),
        "answer": items[position],
        "rationale": numbered(items[: position + 1]),
    }


def count_kind(draws: Draws) -> dict[str, str]:
    """Makes a question such as "How many animals are in this list ...?"."""
    kind = draws.pick(tuple(KINDS))
    count = draws.between(1, 3)
    others = [word for word in WORDS if KIND_OF[word] != kind]
    items = draws.shuffled(
        draws.sample(KINDS[kind], count) + draws.sample(others, 4 - count)
    )
    return {
        "question": _ask(draws, COUNT, items, kind=kind),
        "answer": str(count),
        "rationale": numbered([w for w in items if KIND_OF[w] == kind]),
        "other_rationale": ", ".join(
            f"{word} {'yes' if KIND_OF[word] == kind else 'no'}"
            for word in items
        )
        + ".",
    }


def letter(draws: Draws) -> dict[str, str]:
    """Makes a question such as "What is the first letter of melon?"."""
    word = draws.pick(WORDS)
    nth, answer = draws.pick((("first", word[0]), ("last", word[-1])))
    name, friend = people(draws, 2)
    return {
        "question": draws.pick(LETTER).format(
            nth=nth, word=word, name=name, friend=friend
        ),
        "answer": answer,
        "rationale": spelled(word),
    }


def last_letters(draws: Draws) -> dict[str, str]:
    """Makes a question such as "What are the last letters of ...?"."""
    items = draws.sample(WORDS, 2)
    ends = [f"{word} ends in {word[-1]}" for word in items]
    return {
        "question": _ask(draws, LAST_LETTERS, items),
        "answer": " ".join(word[-1] for word in items),
        "rationale": listing(ends) + ".",
    }


def reverse_list(draws: Draws) -> dict[str, str]:
    """Makes a question such as "Reverse this list: cat, pear, axe."."""
    items = draws.sample(WORDS, draws.between(3, 4))
    numbered = [f"{i} {item}" for i, item in enumerate(items, 1)]
    return {
        "question": _ask(draws, REVERSE, items),
        "answer": " ".join(reversed(items)),
        "rationale": ", ".join(reversed(numbered)) + ".",
    }


TASKS = (
    TaskSpec("nth_word", "positions", nth_word,
             summary="the first, second or last word of three",
             answer_kind="text", chance=1 / 3),
    TaskSpec("count_kind", "counting", count_kind,
             summary="how many words of a kind are among four",
             answer_kind="number", chance=1 / 3),
    TaskSpec("letter", "letters", letter,
             summary="the first or the last letter of a word",
             answer_kind="text", chance=0.1),
    TaskSpec("last_letters", "letters", last_letters,
             summary="the last letters of two words", answer_kind="text",
             chance=0.04),
    TaskSpec("reverse_list", "reversal", reverse_list,
             summary="three or four words in reverse order", answer_kind="text",
             chance=0.1, held_out=True),
)  # fmt: skip
