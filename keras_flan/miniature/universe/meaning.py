"""What words mean: kinds, opposites and the mood of a review."""

from keras_flan.miniature.universe.specs import Draws, TaskSpec
from keras_flan.miniature.universe.words import (
    KINDS,
    NAMES,
    listing,
    people,
    with_article,
)

CATEGORY = (
    "Which of these is {a_kind}? {choices}",
    "One of these is {a_kind}. Which one? {choices}",
    "{name} looks for {a_kind}. Which one fits? {choices}",
    "Find the {kind}. {choices}",
    "Which word is the name of {a_kind}? {choices}",
)

WORD_KIND = (
    "What is {word}: {choices}?",
    "Which kind of word is {word}: {choices}?",
    "{name} says {word}. Is that {choices}?",
    "Does {word} name {choices}?",
    "{name} writes {word}. Which is it: {choices}?",
)

ODD_ONE_OUT = (
    "Which word does not belong: {items}?",
    "Find the odd one out: {items}.",
    "{name} sees: {items}. Which one is different?",
    "One of these is of another kind: {items}. Which one?",
    "Which of these does not fit: {items}?",
)

# Words with two opposites ("old", "right", "light") are left out.
OPPOSITES = (
    ("hot", "cold"), ("big", "small"), ("fast", "slow"), ("high", "low"),
    ("wet", "dry"), ("full", "empty"), ("loud", "quiet"),
    ("rich", "poor"), ("open", "closed"), ("early", "late"),
    ("clean", "dirty"), ("strong", "weak"), ("happy", "sad"),
    ("up", "down"), ("day", "night"),
)  # fmt: skip
OPPOSITE = (
    "What is the opposite of {word}?",
    "{name} says {word}. {friend} says the opposite. What does {friend} say?",
    "{name} asks {friend} for the opposite of {word}. What is it?",
    "Which word means the opposite of {word}?",
    "{name} writes {word} and {friend} writes its opposite. What does "
    "{friend} write?",
)

MOODS = {
    "positive": ("brilliant", "charming", "delightful", "excellent",
                 "lovely", "perfect", "superb", "wonderful"),
    "negative": ("awful", "boring", "dreadful", "dull", "horrible",
                 "painful", "terrible", "ugly"),
}  # fmt: skip
REVIEWED = ("actors", "dialogues", "pictures", "scenes", "songs", "stories")
REVIEW = (
    "The {one} were {x} and the {two} were {y}.",
    "{name} finds the {one} {x} and the {two} {y}.",
    "I found the {one} {x}. The {two} were {y}.",
    "What {x} {one}, and such {y} {two}!",
    "{name} says: the {one} are {x}, the {two} {y}.",
)
REVIEW_ASK = (
    "Is this review positive or negative?",
    "Is the mood positive or negative?",
    "Positive or negative?",
)


def category(draws: Draws) -> dict[str, str]:
    """Makes a multiple choice of three words of three kinds."""
    kinds = draws.sample(tuple(KINDS), 3)
    options = [draws.pick(KINDS[kind]) for kind in kinds]
    right = draws.below(3)
    a_kind = with_article(kinds[right])
    letters = ("(A)", "(B)", "(C)")
    return {
        "question": draws.pick(CATEGORY).format(
            kind=kinds[right],
            a_kind=a_kind,
            name=draws.pick(NAMES),
            choices=" ".join(
                f"{letter} {option}"
                for letter, option in zip(letters, options, strict=True)
            ),
        ),
        "options": "\n".join(options),
        "answer": letters[right],
        "rationale": f"{options[right]} is {a_kind}.",
        "other_rationale": _each_kind(options, kinds),
    }


def _each_kind(words: list[str], kinds: list[str]) -> str:
    """Returns `"fox is an animal, red is a colour."`."""
    told = map("{} is {}".format, words, map(with_article, kinds))
    return ", ".join(told) + "."


def word_kind(draws: Draws) -> dict[str, str]:
    """Makes a question such as "What is fox: an animal or a fruit ...?"."""
    kinds = draws.sample(tuple(KINDS), 3)
    kind = draws.pick(kinds)
    return {
        "question": draws.pick(WORD_KIND).format(
            word=draws.pick(KINDS[kind]),
            choices=listing([with_article(k) for k in kinds], "or"),
            name=draws.pick(NAMES),
        ),
        "answer": kind,
    }


def odd_one_out(draws: Draws) -> dict[str, str]:
    """Makes a question such as "Which word does not belong: ...?"."""
    kind, other = draws.sample(tuple(KINDS), 2)
    odd = draws.pick(KINDS[other])
    items = draws.shuffled([*draws.sample(KINDS[kind], 2), odd])
    alike = listing([word for word in items if word != odd])
    return {
        "question": draws.pick(ODD_ONE_OUT).format(
            items=", ".join(items), name=draws.pick(NAMES)
        ),
        "answer": odd,
        "rationale": f"{alike} are {kind}s, but {odd} is "
        f"{with_article(other)}.",
        "other_rationale": _each_kind(
            items, [other if word == odd else kind for word in items]
        ),
    }


def opposites(draws: Draws) -> dict[str, str]:
    """Makes a question such as "What is the opposite of hot?"."""
    word, answer = draws.shuffled(draws.pick(OPPOSITES))
    name, friend = people(draws, 2)
    return {
        "question": draws.pick(OPPOSITE).format(
            word=word, name=name, friend=friend
        ),
        "answer": answer,
    }


def sentiment(draws: Draws) -> dict[str, str]:
    """Makes a question on a review with two words of one mood."""
    mood = draws.pick(tuple(MOODS))
    x, y = draws.sample(MOODS[mood], 2)
    one, two = draws.sample(REVIEWED, 2)
    review = draws.pick(REVIEW).format(
        one=one, two=two, x=x, y=y, name=draws.pick(NAMES)
    )
    return {
        "question": f"{review} {draws.pick(REVIEW_ASK)}",
        "answer": mood,
        "rationale": f"{x} and {y} are {mood} words.",
    }


TASKS = (
    TaskSpec("category", "categories", category,
             summary="which of three words is of a kind", answer_kind="option",
             chance=1 / 3),
    TaskSpec("word_kind", "categories", word_kind,
             summary="of which of three kinds a word is", answer_kind="text",
             chance=1 / 3, reasoning=False),
    TaskSpec("odd_one_out", "odd_one_out", odd_one_out,
             summary="which of three words is not of the others' kind",
             answer_kind="text", chance=1 / 3),
    TaskSpec("opposites", "opposites", opposites,
             summary="the opposite of a common word", answer_kind="text",
             chance=0.04, reasoning=False),
    TaskSpec("sentiment", "sentiment", sentiment,
             summary="whether a review is positive or negative, by its words",
             answer_kind="text", chance=0.5),
)  # fmt: skip
