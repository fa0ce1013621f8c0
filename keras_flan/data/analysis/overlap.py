r"""Words, their n-grams, and which texts share them: hashes in arrays.

A word is a run of letters, digits and marks, in lower case; a character of a
script that does not put blanks between words (Chinese, Japanese, Thai, ...)
is a word of its own. All comparisons are of 64-bit hashes, which depend on
the text alone.
"""

import dataclasses
import functools
import hashlib
import re
import sys
import unicodedata
from collections.abc import Sequence

import numpy as np

from keras_flan.data.templates.draws import LAST_SHIFT, MULTIPLIERS, STEP

# Chinese, Japanese, Thai, Lao, Tibetan, Burmese, Khmer.
_NO_BLANKS = re.compile(
    "([\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff"
    "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff])"
)
# The most words whose hashes are kept; then they are made anew.
_MOST_WORDS = 1 << 20

# Near-duplicates share most of their runs of this many words.
SHINGLE = 3
# Bands of minima: a pair of similarity 0.8 is found with a probability of
# 1 - (1 - 0.8^4)^16 = 0.9998.
_BANDS, _BAND = 16, 4


@functools.cache
def _blanks() -> dict[int, str]:
    """Returns a blank for every character that is no part of a word."""
    return {
        code: " "
        for code in range(sys.maxunicode + 1)
        if unicodedata.category(chr(code))[0] in "PSCZ"
    }


def split_words(text: str) -> list[str]:
    """Returns the words of a text.

    Example:
        >>> split_words("Don't stop: 3.5 km!")
        ['don', 't', 'stop', '3', '5', 'km']
        >>> split_words("中国 is")
        ['中', '国', 'is']
    """
    text = unicodedata.normalize("NFC", text).lower().translate(_blanks())
    return _NO_BLANKS.sub(r" \1 ", text).split()


class _Hashes(dict):
    """Hashes of words, made when they are first asked for."""

    def __missing__(self, word: str) -> int:
        if len(self) >= _MOST_WORDS:
            self.clear()
        digest = hashlib.blake2b(word.encode("utf-8"), digest_size=8).digest()
        self[word] = value = int.from_bytes(digest, "little")
        return value


_hashes = _Hashes()


@dataclasses.dataclass(frozen=True)
class Words:
    """The words of many texts.

    Args:
        hashes: uint64 of shape `[w]`, the words of all texts in a row.
        starts: int64 of shape `[n + 1]`, where each text begins, and the end.

    Example:
        >>> words = Words.of(["a b a", "b"])
        >>> words.starts
        array([0, 3, 4])
        >>> words.hashes[1] == words.hashes[3]
        True
    """

    hashes: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Words":
        """Returns the words of texts."""
        words = [split_words(text) for text in texts]
        flat = [_hashes[word] for one in words for word in one]
        starts = np.cumsum([0, *map(len, words)])
        return cls(np.array(flat, np.uint64), starts)

    def ngrams(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the hashes of all runs of `n` words, text by text.

        Returns:
            uint64 of shape `[g]`, and the text of each, int64 of shape `[g]`.
        """
        counts = np.maximum(np.diff(self.starts) - n + 1, 0)
        texts = np.repeat(np.arange(len(counts)), counts)
        ends = np.cumsum(counts)
        places = np.arange(len(texts)) - (ends - counts)[texts]
        places += self.starts[:-1][texts]
        grams = np.zeros(len(texts), np.uint64)
        for i in range(n):
            grams = _mix(grams ^ self.hashes[places + i])
        return grams, texts


def _mix(state: np.ndarray) -> np.ndarray:
    """Scrambles uint64 numbers, each to another (SplitMix64)."""
    state = state + STEP
    for shift, multiplier in MULTIPLIERS:
        state = (state ^ (state >> shift)) * multiplier
    return state ^ (state >> LAST_SHIFT)


def signatures(words: Words) -> tuple[np.ndarray, np.ndarray]:
    """Returns the MinHash signatures of the texts that have enough words.

    Returns:
        uint64 of shape `[m, bands]`: two texts that agree in a band are
        probably alike; and the numbers of these texts, int64 of shape `[m]`.

    Source: Broder, "On the resemblance and containment of documents"
    (SEQUENCES 1997); bands as in Indyk and Motwani (STOC 1998).
    """
    grams, texts = words.ngrams(SHINGLE)
    numbers, first = np.unique(texts, return_index=True)
    if not len(numbers):
        return np.zeros([0, _BANDS], np.uint64), numbers
    bands = np.zeros([len(numbers), _BANDS], np.uint64)
    for i in range(_BANDS * _BAND):
        # Another order of the n-grams each time, of which the first counts.
        order = _mix(grams ^ _mix(np.array([i + 1], np.uint64)))
        band = bands[:, i // _BAND]
        band[:] = _mix(band ^ np.minimum.reduceat(order, first))
    return bands, numbers


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the share of n-grams that two sets have in common (Jaccard).

    Args:
        a: Hashes of n-grams; repetitions do not count.
        b: The same.
    """
    a, b = np.unique(a), np.unique(b)
    common = len(np.intersect1d(a, b, assume_unique=True))
    return common / max(len(a) + len(b) - common, 1)


class Index:
    """Finds which of many known hashes occur in arrays of others.

    Args:
        hashes: uint64 of shape `[g]`; may repeat.

    Example:
        >>> index = Index(np.uint64([7, 3, 7]))
        >>> index.find(np.uint64([5, 7]))
        (array([1, 1]), array([0, 2]))
    """

    def __init__(self, hashes: np.ndarray):
        self._order = np.argsort(hashes, kind="stable")
        self._sorted = hashes[self._order]

    def find(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns all pairs of equal hashes.

        Returns:
            The places in `hashes`, and the places among the known ones.
        """
        first = np.searchsorted(self._sorted, hashes, "left")
        # Most are not there at all; only the others are looked up again.
        inside = first < len(self._sorted)
        inside[inside] = self._sorted[first[inside]] == hashes[inside]
        found = np.flatnonzero(inside)
        first = first[found]
        last = np.searchsorted(self._sorted, hashes[found], "right")
        counts = last - first
        steps = np.arange(counts.sum()) - np.repeat(
            np.cumsum(counts) - counts, counts
        )
        return np.repeat(found, counts), self._order[
            np.repeat(first, counts) + steps
        ]
