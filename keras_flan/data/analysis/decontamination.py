"""Which examples share a run of words with texts that are asked.

`check_contamination` counts them for a report; here they are named, so that
they can be left out of a training.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from keras_flan.data.analysis.overlap import Index, Words
from keras_flan.data.records.example import Example
from keras_flan.errors import InputError


class SharedRuns:
    """Finds the examples that share a run of words with known texts.

    Args:
        texts: The known texts, such as all fields of all test questions.
        ngram: How many words in a row make an overlap.

    Raises:
        InputError: If `ngram` is below 1.

    Example:
        >>> known = SharedRuns(["the cat sat on the mat"], ngram=3)
        >>> known.of([Example({"text": "A cat sat on a mat."}, "t")])
        array([ True])

    Source: GPT-3 (arXiv:2005.14165), appendix C, for the 13 words.
    """

    def __init__(self, texts: Iterable[str], ngram: int = 13):
        if ngram < 1:
            raise InputError(f"ngram: expected at least 1, found {ngram}")
        self._ngram = ngram
        grams, _ = Words.of(list(dict.fromkeys(texts))).ngrams(ngram)
        self._known = Index(np.unique(grams))

    def of(self, examples: Sequence[Example]) -> np.ndarray:
        """Returns whether each example shares a run, booleans `[n]`."""
        texts = [list(e.fields.values()) for e in examples]
        owners = np.repeat(np.arange(len(texts)), list(map(len, texts)))
        words = Words.of([text for own in texts for text in own])
        grams, places = words.ngrams(self._ngram)
        shared, _ = self._known.find(grams)
        found = np.zeros(len(examples), bool)
        found[owners[places[shared]]] = True
        return found
