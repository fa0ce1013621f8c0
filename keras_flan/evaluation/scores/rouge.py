# ruff: noqa: RUF002 (these are words of other scripts)
"""ROUGE: by the package rouge-score; other scripts by tokens of our own."""

import functools
import unicodedata
from collections.abc import Iterable
from typing import Any

from keras_flan.answers.texts import folded
from keras_flan.errors import InputError

# Scripts that write no blanks between words: each letter is a token.
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")


def rouge(
    name: str, text: str, reference: str, own_tokens: bool = False
) -> float:
    """Returns a ROUGE F1 of a text.

    The package rouge-score, with its stemmer, knows the letters a to z and
    the digits alone.

    Args:
        name: `"rouge1"`, `"rouge2"` or `"rougeL"`.
        text: What a model wrote.
        reference: What is expected.
        own_tokens: Whether a reference whose letters are mostly of another
            script is compared by tokens of our own, `unicode_tokens`.

    Raises:
        InputError: If the package rouge-score is missing.

    Example:
        >>> rouge("rougeL", "He likes cats.", "she likes a cat")
        0.5714285714285715
        >>> rouge("rougeL", "сегодня дождь", "Сегодня дождь!", own_tokens=True)
        1.0
    """
    scorer = _scorer(name, own_tokens and _is_other_script(reference))
    return scorer.score(reference, text)[name].fmeasure


def needs_own_tokens(references: Iterable[str]) -> bool:
    """Whether one in ten references of a task is of another script.

    Fewer are left to rouge-score, so that an English task with a few
    translations in it scores as published.

    Example:
        >>> needs_own_tokens(["今天天气很好", "déjà vu"])
        True
    """
    references = list(references)
    return 10 * sum(map(_is_other_script, references)) >= len(references) > 0


def _is_other_script(reference: str) -> bool:
    """Whether most letters of a reference are not Latin ones."""
    if reference.isascii():
        return False
    letters = [char for char in reference if char.isalpha()]
    latin = sum(_name(char).startswith("LATIN") for char in letters)
    return 2 * latin < len(letters)


def unicode_tokens(text: str) -> list[str]:
    """Returns the words of a text in any script, without case and marks.

    Of scripts that write no blanks, such as Chinese and Thai, each letter is
    a token.

    Example:
        >>> unicode_tokens("Сегодня, 5-го: 雨天!")
        ['сегодня', '5', 'го', '雨', '天']
    """
    words: list[str] = []
    within = False
    for char in folded(text):
        category = unicodedata.category(char)[0]
        if category == "M" and words:  # a vowel sign belongs to its letter
            words[-1] += char
        elif category not in "LN":
            within = False
        elif _name(char).startswith(_UNSPACED):
            words.append(char)
            within = False
        else:
            words[-1:] = [words[-1] + char] if within else [*words[-1:], char]
            within = True
    return words


class _UnicodeTokenizer:
    """`unicode_tokens` in the form that rouge-score asks."""

    def tokenize(self, text: str) -> list[str]:
        return unicode_tokens(text)


def _name(char: str) -> str:
    return unicodedata.name(char, "")


@functools.cache
def _scorer(name: str, own: bool) -> Any:
    try:
        from rouge_score import rouge_scorer
    except ModuleNotFoundError:
        raise InputError(
            "ROUGE needs the package rouge-score; pip install "
            "'keras_flan[rouge]'"
        ) from None
    tokenizer = _UnicodeTokenizer() if own else None
    return rouge_scorer.RougeScorer(
        [name], use_stemmer=True, tokenizer=tokenizer
    )
