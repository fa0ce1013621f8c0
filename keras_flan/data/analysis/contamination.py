"""Does a mixture hold the examples of a benchmark?

Two signs are looked for in every text of every record: runs of 13 words that
a text of the benchmark has too, and near-duplicates. The benchmark is held in
memory; the mixture streams by.
"""

import itertools
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from keras_flan.data.analysis.benchmark_texts import read_benchmark
from keras_flan.data.analysis.overlap import (
    SHINGLE,
    Index,
    Words,
    signatures,
    similarity,
    split_words,
)
from keras_flan.data.mixtures.mixture import Mixture
from keras_flan.data.records.example import Example
from keras_flan.data.templates.task import Task
from keras_flan.errors import InputError
from keras_flan.progress import track

# Records that are compared at once.
_CHUNK = 2048
# Shorter texts are alike by chance: answers, options, names.
_FEWEST_WORDS = 8
_MOST_SHOWN = 20


def check_contamination(
    mixture: Mixture,
    against: str | os.PathLike,
    *,
    ngram: int = 13,
    alike: float = 0.8,
    progress: bool = False,
) -> dict:
    """Compares the records of a mixture with the texts of a benchmark.

    Args:
        mixture: The mixture; all records of its tasks are compared.
        against: The benchmark, see `benchmark_texts.read_benchmark`.
        ngram: How many words in a row make an overlap.
        alike: Texts of at least 8 words that share this part of their runs
            of 3 words (Jaccard similarity) are near-duplicates. Of the pairs
            of similarity 0.8, 1 of 5,000 is missed.
        progress: Show a progress bar, if stderr is a terminal.

    Returns:
        A JSON-able dict: `benchmark` and `mixture` each count `examples`,
        those with an overlap (`overlapping`) and those with a near-duplicate
        (`near_duplicates`), in all and by file or task; `compared` says how
        many of the benchmark's examples have `ngram` words at all; `found`
        has up to 20 pairs of each kind.

    Raises:
        InputError: If the benchmark is missing, broken or empty, or a
            setting is out of range.

    Example:
        >>> report = check_contamination(mixture, "gsm8k/test.jsonl")
        >>> report["benchmark"]["overlapping"]
        2

    Source: GPT-3 (arXiv:2005.14165), appendix C, for the 13 words.
    """
    if ngram < 1:
        raise InputError(f"ngram: expected at least 1, found {ngram}")
    if not 0 < alike <= 1:
        raise InputError(f"alike: expected 0 < alike <= 1, found {alike}")
    benchmark = _Benchmark(against, ngram, alike)
    tasks = list(_compare_tasks(benchmark, mixture, progress))
    kinds = ("examples", "overlapping", "near_duplicates")
    return {
        "name": mixture.name,
        "against": str(against),
        "ngram": ngram,
        "alike": alike,
        "benchmark": benchmark.summary(),
        "mixture": {
            **{kind: sum(task[kind] for task in tasks) for kind in kinds},
            "tasks": tasks,
        },
        "found": benchmark.found,
    }


def _compare_tasks(
    benchmark: "_Benchmark", mixture: Mixture, progress: bool
) -> Iterator[dict]:
    """Yields the name, group and counts of each task."""
    # A task may be in several stages.
    parts = {
        part.task.name: part for stage in mixture.stages for part in stage.tasks
    }
    for part in track(
        parts.values(),
        mixture.name,
        total=len(parts),
        unit="tasks",
        enabled=progress and sys.stderr.isatty(),
    ):
        counts: Counter[str] = Counter()
        for first, examples in _chunks(part.task):
            counts.update(benchmark.compare(part.task, first, examples))
        yield {"name": part.task.name, "group": part.group, **counts}


def _chunks(task: Task) -> Iterator[tuple[int, list[Example]]]:
    """Yields chunks of a task's examples and where each begins."""
    examples, first = task.read(), 0
    while chunk := list(itertools.islice(examples, _CHUNK)):
        yield first, chunk
        first += len(chunk)


class _Texts:
    """The distinct texts of some examples, and whose they are."""

    def __init__(self, examples: Sequence[Sequence[str]]):
        numbers: dict[str, int] = {}
        owned = [
            (numbers.setdefault(text, len(numbers)), owner)
            for owner, texts in enumerate(examples)
            for text in texts
        ]
        self.texts = list(numbers)
        self.words = Words.of(self.texts)
        pairs = np.array(owned, np.int64).reshape(-1, 2)
        pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
        self._owners = pairs[:, 1]
        self._starts = np.searchsorted(
            pairs[:, 0], np.arange(len(self.texts) + 1)
        )

    def owners(self, text: int) -> np.ndarray:
        """Returns the numbers of the examples that have a text."""
        return self._owners[self._starts[text] : self._starts[text + 1]]

    def shingles(self, text: int) -> np.ndarray:
        """Returns the hashes by which a text is told to be alike."""
        start, end = self.words.starts[text : text + 2]
        one = Words(self.words.hashes[start:end], np.array([0, end - start]))
        return one.ngrams(SHINGLE)[0]

    def signatures(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the signatures of long texts, and their numbers."""
        bands, numbers = signatures(self.words)
        long = np.diff(self.words.starts)[numbers] >= _FEWEST_WORDS
        return bands[long], numbers[long]


class _Benchmark:
    """The texts of a benchmark, and what was found of them so far."""

    def __init__(self, path: str | os.PathLike, ngram: int, alike: float):
        self._ngram, self._alike = ngram, alike
        examples = [one for one in read_benchmark(path) if any(one[1])]
        if not examples:
            raise InputError(f"{path}: the files hold no texts")
        self._places = [place for place, _ in examples]
        self._texts = _Texts([texts for _, texts in examples])
        grams, self._gram_texts = self._texts.words.ngrams(ngram)
        # A run of words counts once, wherever it stands.
        known, self._gram_places = np.unique(grams, return_index=True)
        self._grams, self._known = grams, Index(known)
        bands, self._long = self._texts.signatures()
        self._bands = [Index(band) for band in bands.T]
        self._hit = np.zeros(len(known), bool)
        self._alike_texts = np.zeros(len(self._texts.texts), bool)
        self._shown: set[tuple[str, int]] = set()
        self.found: list[dict] = []

    def compare(
        self, task: Task, first: int, examples: Sequence[Example]
    ) -> dict[str, int]:
        """Compares records; returns how many are affected in which way."""
        own = _Texts([list(e.fields.values()) for e in examples])
        overlapping, near = np.zeros([2, len(examples)], bool)

        def note(kind: str, text: int, other: int, /, **more) -> None:
            seen = [n for k, n in self._shown if k == kind]
            if other in seen or len(seen) >= _MOST_SHOWN:
                return
            self._shown.add((kind, other))
            owner = int(own.owners(text)[0])
            self.found.append(
                {
                    "kind": kind,
                    "task": task.name,
                    "index": first + owner,
                    "source_id": examples[owner].source_id,
                    "benchmark": self._places[self._texts.owners(other)[0]],
                    **more,
                }
            )

        grams, texts = own.words.ngrams(self._ngram)
        at, known = self._known.find(grams)
        self._hit[known] = True
        for text in np.unique(texts[at]):
            overlapping[own.owners(text)] = True
        for place, number in zip(at, known, strict=True):
            shared = self._gram_places[number]
            note(
                "overlapping",
                texts[place],
                self._gram_texts[shared],
                words=self._words(shared),
            )
        for text, other in self._candidates(own):
            share = similarity(own.shingles(text), self._texts.shingles(other))
            if share >= self._alike:
                near[own.owners(text)] = True
                self._alike_texts[other] = True
                note(
                    "near_duplicate",
                    text,
                    other,
                    similarity=round(share, 4),
                    text=own.texts[text],
                    benchmark_text=self._texts.texts[other],
                )
        return {
            "examples": len(examples),
            "overlapping": int(overlapping.sum()),
            "near_duplicates": int(near.sum()),
        }

    def _candidates(self, own: _Texts) -> list[tuple[int, int]]:
        """Returns pairs of texts that agree in a band."""
        bands, numbers = own.signatures()
        pairs = [
            np.stack([numbers[at], self._long[known]], axis=1)
            for at, known in (
                index.find(band)
                for index, band in zip(self._bands, bands.T, strict=True)
            )
        ]
        return np.unique(np.concatenate(pairs), axis=0).tolist()

    def _words(self, gram: int) -> str:
        """Returns the words of a run, given by its place."""
        text = self._gram_texts[gram]
        start = gram - np.searchsorted(self._gram_texts, text)
        words = split_words(self._texts.texts[text])
        return " ".join(words[start : start + self._ngram])

    def summary(self) -> dict:
        """Returns the counts, in all and by file."""
        number = len(self._places)
        compared, overlapping, near = np.zeros([3, number], bool)
        hit = self._hit[np.unique(self._grams, return_inverse=True)[1]]
        for text in np.unique(self._gram_texts):
            compared[self._texts.owners(text)] = True
        for text in np.unique(self._gram_texts[hit]):
            overlapping[self._texts.owners(text)] = True
        for text in np.flatnonzero(self._alike_texts).tolist():
            near[self._texts.owners(text)] = True
        files: dict[str, np.ndarray] = {}
        counts = np.stack([np.ones(number), compared, overlapping, near], 1)
        for place, count in zip(self._places, counts.astype(int), strict=True):
            file = place.rpartition(":")[0]
            files[file] = files.get(file, 0) + count
        names = ("examples", "compared", "overlapping", "near_duplicates")

        def named(values) -> dict[str, int]:
            return dict(zip(names, map(int, values), strict=True))

        return {
            **named(counts.sum(axis=0)),
            "files": [{"file": f, **named(c)} for f, c in files.items()],
        }
