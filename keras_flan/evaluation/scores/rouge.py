# ruff: noqa: RUF002 (these are words of other scripts)
"""ROUGE-L: by the package rouge-score; other scripts by tokens of our own."""

import functools
import unicodedata
from typing import Any

from keras_flan.answers.texts import folded
from keras_flan.errors import InputError

# Scripts that write no blanks between words: each letter is a token.
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")


def rouge_l(text: str, reference: str) -> float:
    """Returns the ROUGE-L F1 of a text.

    The package rouge-score, with its stemmer, knows the letters a to z and
    the digits alone. A reference whose letters are mostly of another script
    is compared by tokens of our own (`unicode_tokens`): see
    `uses_own_tokens`.

    Args:
        text: What a model wrote.
        reference: What is expected.

    Raises:
        InputError: If the package rouge-score is missing.

    Example:
        >>> rouge_l("He likes cats.", "she likes a cat")
        0.5714285714285715
        >>> rouge_l("сегодня дождь", "Сегодня дождь!")
        1.0
    """
    scorer = _scorer(uses_own_tokens(reference))
    return scorer.score(reference, text)["rougeL"].fmeasure


def uses_own_tokens(reference: str) -> bool:
    """Whether most letters of a reference are not Latin ones.

    Example:
        >>> uses_own_tokens("今天天气很好"), uses_own_tokens("déjà vu")
        (True, False)
    """
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
def _scorer(own: bool) -> Any:
    try:
        from rouge_score import rouge_scorer
    except ModuleNotFoundError:
        raise InputError(
            "ROUGE needs the package rouge-score; pip install "
            "'keras_flan[rouge]'"
        ) from None
    tokenizer = _UnicodeTokenizer() if own else None
    return rouge_scorer.RougeScorer(
        ["rougeL"], use_stemmer=True, tokenizer=tokenizer
    )
