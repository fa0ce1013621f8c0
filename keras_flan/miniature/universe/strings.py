"""Letters of words, lists of words, and ways to write them."""

from collections.abc import Callable, Iterable

from keras_flan.miniature.universe.families import Content, Op, family
from keras_flan.miniature.universe.specs import Answer, Answerer, Draws
from keras_flan.miniature.universe.words import (
    AN,
    WORDS,
    numbered,
    spelled,
    yes_no,
)


def join(items: Iterable[str]) -> str:
    """Returns the items with commas, or "none"."""
    return ", ".join(items) or "none"


WORD = Content("a word", "the word", lambda d: d.pick(WORDS))


def _has_letter(draws: Draws, word: str) -> Answer:
    yes = draws.chance()
    pool = word if yes else [c for c in "abcdefgiklmnoprst" if c not in word]
    return yes_no(yes), spelled(word), {"letter": draws.pick(pool)}


def _count_letter(draws: Draws, word: str) -> Answer:
    twice = [c for c in word if word.count(c) > 1]
    letter = draws.pick(twice if twice and draws.chance(0.7) else word)
    return word.count(letter), spelled(word), {"letter": letter}


def _some_doubled(draws: Draws) -> str:
    """Draws a word; half of them have some letter twice."""
    doubled = draws.chance()
    return draws.pick([w for w in WORDS if (len(set(w)) < len(w)) == doubled])


def _replace(draws: Draws, word: str) -> Answer:
    old = draws.pick(word)
    new = draws.pick([c for c in "abcdefgiklmnoprst" if c not in word])
    return word.replace(old, new), "", {"old": old, "new": new}


def _any_start(draws: Draws) -> str:
    """Draws a word; about half of them begin with a vowel."""
    return draws.pick(AN if draws.chance() else WORDS)


def _vowels(word: str) -> str:
    return "".join(c for c in word if c in "aeiou")


LETTERS = family(
    "spelling",
    WORD,
    Op("second", "the second letter of {it}",
       lambda d, w: (w[1], spelled(w)), held_out=True),
    Op("length", "the number of letters in {it}|the length of {it}",
       lambda d, w: (len(w), f"{spelled(w)} That is {len(w)} letters.")),
    Op("spaced", "{it} with blanks between the letters",
       lambda d, w: (" ".join(w), "")),
    Op("dashed", "{it} with dashes between the letters",
       lambda d, w: ("-".join(w), "")),
    Op("twice", "{it} written two times in a row",
       lambda d, w: (f"{w} {w}", "")),
    Op("headless", "{it} without its first letter",
       lambda d, w: (w[1:], spelled(w))),
    Op("tailless", "{it} without its last letter",
       lambda d, w: (w[:-1], spelled(w)), held_out=True),
    Op("vowels", "the vowels of {it}",
       lambda d, w: (_vowels(w), spelled(w)), plural=True),
    Op("consonants", "the letters of {it} that are no vowels",
       lambda d, w: ("".join(c for c in w if c not in "aeiou"), spelled(w)),
       plural=True),
    Op("count_vowels", "how many vowels does {it} have?",
       lambda d, w: (len(_vowels(w)), f"The vowels are {_vowels(w)}.")),
    Op("has_letter", "is there the letter {letter} in {it}?|does {it} have "
       "the letter {letter}?", _has_letter, kind="yes_no"),
    Op("count_letter", "how many times is the letter {letter} in {it}?",
       _count_letter, content=Content("a word", "the word", _some_doubled)),
    Op("replace", "{it} with {new} in place of {old}", _replace),
    Op("vowel_first", "does {it} begin with a vowel?",
       lambda d, w: (yes_no(w[0] in "aeiou"),
                     f"The first letter is {w[0]}."), kind="yes_no",
       content=Content("a word", "the word", _any_start)),
)  # fmt: skip


# === Lists of words ===

LIST = Content("a list", "the list", lambda d: d.sample(WORDS, 4), join)


def _lengths(items: list[str]) -> str:
    return f"{join(f'{item} {len(item)}' for item in items)}."


def distinct_lengths(draws: Draws) -> list[str]:
    """Draws three words of different lengths."""
    items: list[str] = []
    for word in draws.shuffled(WORDS):
        if all(len(word) != len(item) for item in items):
            items.append(word)
        if len(items) == 3:
            break
    return items


UNEQUAL = Content("a list", "the list", distinct_lengths, join)


def _position(draws: Draws, items: list[str]) -> Answer:
    at = draws.below(len(items))
    return at + 1, numbered(items[: at + 1]), {"word": items[at]}


def _without(draws: Draws, items: list[str]) -> Answer:
    word = draws.pick(items)
    return join(w for w in items if w != word), "", {"word": word}


def _inside(draws: Draws, items: list[str]) -> Answer:
    yes = draws.chance()
    pool = items if yes else [w for w in WORDS if w not in items]
    word = draws.pick(pool)
    return (
        yes_no(yes),
        f"{word} {'is' if yes else 'is not'} in {join(items)}.",
        {"word": word},
    )


def _neighbour(step: int) -> Answerer:
    def answer(draws: Draws, items: list[str]) -> Answer:
        at = draws.between(1, 2)
        return items[at + step], "", {"word": items[at]}

    return answer


def _added(draws: Draws, items: list[str]) -> Answer:
    word = draws.pick([w for w in WORDS if w not in items])
    return join([*items, word]), "", {"word": word}


WORD_LISTS = family(
    "word_lists",
    LIST,
    Op("first", "the first word of {it}", lambda d, v: (v[0], ""),
       chance=0.25),
    Op("last", "the last word of {it}", lambda d, v: (v[-1], ""),
       chance=0.25),
    Op("third", "the third word of {it}",
       lambda d, v: (v[2], numbered(v[:3])), chance=0.25, held_out=True),
    Op("longest", "the longest word of {it}",
       lambda d, v: (max(v, key=len), _lengths(v)), chance=1 / 3,
       content=UNEQUAL),
    Op("shortest", "the shortest word of {it}",
       lambda d, v: (min(v, key=len), _lengths(v)), chance=1 / 3,
       content=UNEQUAL),
    Op("sorted", "the words of {it} in the order of the alphabet",
       lambda d, v: (join(sorted(v)), ""), chance=0.04, plural=True),
    Op("first_in_alphabet", "the word of {it} that comes first in the "
       "alphabet", lambda d, v: (min(v), f"In order: {join(sorted(v))}."),
       chance=0.25),
    Op("position", "the place of {word} in {it}", _position, chance=0.25),
    Op("without", "{it} without the word {word}", _without),
    Op("contains", "is the word {word} in {it}?", _inside, kind="yes_no"),
    Op("next", "the word after {word} in {it}", _neighbour(1), chance=1 / 3),
    Op("previous", "the word before {word} in {it}", _neighbour(-1),
       chance=1 / 3, held_out=True),
    Op("ends", "the first and the last word of {it}",
       lambda d, v: (join([v[0], v[-1]]), ""), chance=0.08, plural=True),
    Op("added", "{it} with the word {word} at the end", _added),
    Op("initials", "the first letters of the words of {it}",
       lambda d, v: (" ".join(w[0] for w in v),
                     f"{join(f'{w} begins with {w[0]}' for w in v)}."),
       plural=True,
       content=Content("a list", "the list", lambda d: d.sample(WORDS, 3),
                       join)),
)  # fmt: skip


# === Written forms ===

THREE = Content("three words", "the words", lambda d: d.sample(WORDS, 3), join)


def _form(pattern: Callable[[list[str]], str]) -> Answerer:
    return lambda d, v: (pattern(v), "")


FORMS = family(
    "forms",
    THREE,
    Op("slashes", "{it} with slashes between them",
       _form(lambda v: "/".join(v))),
    Op("plus", "{it} joined by plus signs", _form(" + ".join)),
    Op("arrows", "{it} joined by arrows, like a > b", _form(" > ".join)),
    Op("and", "{it} joined by the word and",
       _form(lambda v: " and ".join(v))),
    Op("numbered", "{it} with a number before each, like 1 a 2 b",
       _form(lambda v: " ".join(f"{i} {w}" for i, w in enumerate(v, 1)))),
    Op("brackets", "{it} with brackets around each, like [a] [b]",
       _form(lambda v: " ".join(f"[{w}]" for w in v)), held_out=True),
    Op("doubled", "{it} with each word two times",
       _form(lambda v: " ".join(f"{w} {w}" for w in v))),
    Op("swapped", "{it} with the first two changed over",
       _form(lambda v: join([v[1], v[0], v[2]]))),
)  # fmt: skip


TASKS = (*LETTERS, *WORD_LISTS, *FORMS)
