"""The small closed vocabulary that all tasks share.

A small model that learns from a few thousand examples should spend them on
the skills, not on words; every list is used by several tasks.
"""

from collections.abc import Iterable

from keras_flan.miniature.universe.specs import Draws

# Name and pronoun.
PEOPLE = {
    "Ann": "She",
    "Ben": "He",
    "Dora": "She",
    "Emma": "She",
    "Finn": "He",
    "Hugo": "He",
    "Ivy": "She",
    "Jack": "He",
    "Kate": "She",
    "Leo": "He",
    "Mia": "She",
    "Sam": "He",
}
NAMES = tuple(PEOPLE)

# Things that can be counted, in the plural.
THINGS = (
    "apples", "books", "cakes", "coins", "cups",
    "eggs", "pears", "pens", "plums", "shells",
)  # fmt: skip

# No word is of two kinds, in no sense of the word ("peach" is also a colour),
# so that questions about kinds have one answer.
KINDS = {
    "animal": ("bear", "cat", "cow", "dog", "duck", "fox", "goat", "pig"),
    "fruit": ("apple", "banana", "fig", "grape", "mango", "melon", "papaya",
              "pear"),
    "colour": ("black", "blue", "brown", "green", "pink", "red", "white",
               "yellow"),
    "tool": ("axe", "drill", "hammer", "ladder", "rake", "saw", "spade",
             "wrench"),
    "garment": ("belt", "coat", "glove", "hat", "scarf", "shirt", "skirt",
                "sock"),
}  # fmt: skip
KIND_OF = {word: kind for kind, words in KINDS.items() for word in words}
WORDS = tuple(KIND_OF)

# Words that take "an".
AN = (
    "ant", "apple", "arm", "axe", "egg", "elephant", "island", "onion",
    "orange", "oven", "owl", "umbrella",
)  # fmt: skip

DAYS = (
    "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday",
    "Sunday",
)  # fmt: skip


def listing(items: list[str], last: str = "and") -> str:
    """Returns the items as an English list: `"a, b and c"`."""
    if len(items) == 1:
        return items[0]
    return f"{', '.join(items[:-1])} {last} {items[-1]}"


def with_article(word: str) -> str:
    """Returns the word with "a" or "an"."""
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def yes_no(value: bool) -> str:
    """Returns "yes" or "no"."""
    return "yes" if value else "no"


def spelled(word: str) -> str:
    """Returns the word's letters in a sentence."""
    return f"It is spelled {' '.join(word)}."


def people(draws: Draws, k: int) -> list[str]:
    """Returns k different names."""
    return draws.sample(NAMES, k)


def numbered(items: Iterable[str]) -> str:
    """Returns the items counted from 1: `"1 cat, 2 dog."`."""
    return ", ".join(f"{i} {item}" for i, item in enumerate(items, 1)) + "."
