"""Answers that are a span of a passage, compared as SQuAD does."""

import re
import string
from collections import Counter

from keras_flan.answers.cues import Found

_PUNCTUATION = frozenset(string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def find_span(text: str) -> Found | None:
    r"""Returns (value, start, end, rule): the first line that isn't empty.

    Example:
        >>> find_span("\n Oslo, Norway\nQ: Who?")
        ('oslo norway', 2, 14, 'line')
    """
    line = text.strip().split("\n")[0].strip()
    if not line:
        return None
    start = text.index(line)
    return canonical_span(line), start, start + len(line), "line"


def canonical_span(value: str) -> str | None:
    """Returns what spans are compared by; None if there is no text.

    That is `normalise_span`, but a text of which it leaves nothing stays: the
    blood group "A" is an answer, not an article.
    """
    return normalise_span(value) or value.strip().lower() or None


def find_whole(text: str) -> Found | None:
    """Returns (value, start, end, rule): all of the text."""
    value = canonical_whole(text)
    return (value, 0, len(text), "whole") if value else None


def canonical_whole(value: str) -> str | None:
    """Returns a text with single blanks; None if there is none."""
    return " ".join(value.split()) or None


def normalise_span(value: str) -> str:
    """Returns a text as the official SQuAD script compares it.

    Lower case, without the 32 ASCII punctuation marks, without the English
    articles, and with single blanks. It is the same for all languages, as in
    the official evaluation of TyDiQA-GoldP: other punctuation stays.

    Example:
        >>> normalise_span("The  Beatles!")
        'beatles'

    Source: SQuAD 1.1, `evaluate-v1.1.py` (arXiv:1606.05250).
    """
    kept = "".join(c for c in value.lower() if c not in _PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", kept).split())


def span_f1(value: str, reference: str) -> float:
    """Returns the F1 of the words that two texts share.

    Example:
        >>> round(span_f1("in Paris, France", "Paris"), 3)
        0.5
    """
    words = normalise_span(value).split()
    others = normalise_span(reference).split()
    shared = sum((Counter(words) & Counter(others)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(words), shared / len(others)
    return 2 * precision * recall / (precision + recall)
