"""What a mixture really gives: counted on draws of the input pipeline."""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from keras_flan.data.analysis.writing_systems import main_script
from keras_flan.data.mixtures.mixture import Mixture
from keras_flan.data.mixtures.task_registry import task_languages
from keras_flan.data.pipeline.packing import pack
from keras_flan.data.pipeline.prompt_tokens import PromptTokens
from keras_flan.data.pipeline.streams import (
    draw_records,
    parse_records,
    split_keys,
)
from keras_flan.data.templates.families import Format
from keras_flan.data.vocabularies.sentencepiece import Vocabulary
from keras_flan.runtime.tensorflow import tf

_CHUNK = 8192  # As in `build_dataset`.
_SHUFFLE_BUFFER = 1000
# Lengths are counted in steps of a doubling; the first ends here.
_FIRST_STEP = 16
# Without a vocabulary, nothing is too long.
_NO_LIMIT = 1 << 30


class _Characters:
    """Stands in for a vocabulary: a token a character."""

    def encoder_tf(self):
        return lambda texts: tf().strings.unicode_decode(texts, "UTF-8")


def measure_mixture(
    mixture: Mixture,
    vocabulary: Vocabulary | None = None,
    *,
    input_length: int = 1024,
    target_length: int = 256,
    draws: int = 200_000,
    examples: int = 2 * _CHUNK,
    seed: int = 0,
) -> dict:
    """Draws from a mixture as training does, and counts.

    Args:
        mixture: The mixture.
        vocabulary: Measures lengths in tokens. Without one they are measured
            in characters, and what depends on tokens is left out.
        input_length: Tokens of a row for the inputs.
        target_length: Tokens of a row for the targets.
        draws: So many tasks are drawn to count their shares.
        examples: So many of the draws are rendered, to measure the texts.
        seed: Seeds everything that is random.

    Returns:
        A JSON-able dict. `groups` and `tasks` have a `share` as stated and
        as `realised`, and `off`, the difference in standard errors; so have
        `formats`, in shares of the examples. `lengths` has a histogram of
        `inputs` and `targets`, rows `[longest, share]`, and with a
        vocabulary the share `trimmed`; `fill`, the share of a packed row
        that holds tokens; `balanced`, lengths of rows that would be about
        full on both sides; `left_out`, the share of prompts without place for
        an exemplar; `scripts`, shares of the examples by script; `languages`,
        shares of the draws by the languages that their tasks state.

    Example:
        >>> found = measure_mixture(Mixture.from_yaml("cot.yaml"))
        >>> found["groups"][0]["off"]
        -0.83
    """
    unit = "characters" if vocabulary is None else "tokens"
    limits = (input_length, target_length)
    tokenise = PromptTokens(
        mixture,
        vocabulary or _Characters(),
        _NO_LIMIT if vocabulary is None else input_length,
        seed,
    )
    stream = draw_records(
        mixture, seed=seed, shuffle_buffer=_SHUFFLE_BUFFER, repeat=True
    )
    task_counts = np.zeros(len(mixture.tasks), np.int64)
    counts = _Counts()
    chunks = stream.take(max(draws, examples)).batch(_CHUNK)
    for number, (keys, records) in enumerate(chunks):
        task_ids = split_keys(keys)[0].numpy()
        task_counts += np.bincount(task_ids, minlength=len(task_counts))
        left = examples - number * _CHUNK
        if left > 0:
            part = keys[:left], records[:left]
            counts.add(mixture, tokenise, number, *part)
    number = int(task_counts.sum())
    tasks = [
        {"name": part.task.name, "group": part.group}
        | _compare(part.rate, count, number)
        for part, count in zip(mixture.tasks, task_counts, strict=True)
    ]
    formats = Counter()
    for part in mixture.tasks:
        for format, share in part.formats.items():
            formats[format] += part.rate * share
    fill = vocabulary and counts.fill(limits)
    return {
        "name": mixture.name,
        "unit": unit,
        "draws": number,
        "examples": counts.examples,
        "seed": seed,
        "groups": _groups(mixture, task_counts),
        "tasks": tasks,
        "formats": [
            {"name": format.value}
            | _compare(
                formats[format],
                counts.formats[list(Format).index(format)],
                counts.examples,
            )
            for format in Format
            if format in formats
        ],
        "left_out": counts.left_out / counts.examples,
        "lengths": {
            side: _lengths(lengths, vocabulary and limit)
            for side, lengths, limit in zip(
                ("inputs", "targets"), counts.lengths(), limits, strict=True
            )
        },
        "fill": fill,
        "balanced": fill and _balanced(fill, limits),
        "languages": _languages(mixture, task_counts),
        "scripts": [
            {"name": name, "share": count / counts.examples}
            for name, count in counts.scripts.most_common()
        ],
    }


class _Counts:
    """What is counted on rendered examples."""

    def __init__(self):
        self.examples = self.left_out = 0
        self.formats = np.zeros(len(Format), np.int64)
        self.scripts: Counter[str] = Counter()
        self._chunks: list[np.ndarray] = []

    def add(self, mixture: Mixture, tokenise, number, keys, records) -> None:
        """Counts a chunk."""
        inputs, targets, formats, used = tokenise.examples(
            tf().constant(number, tf().int64), keys, records
        )
        self._chunks.append(
            np.stack([inputs.row_lengths(), targets.row_lengths()], axis=1)
        )
        self.examples += len(keys)
        self.left_out += int(np.sum(~used.numpy()))
        self.formats += np.bincount(formats, minlength=len(Format))
        self.scripts.update(map(main_script, _texts(mixture, records)))

    def lengths(self) -> Iterable[np.ndarray]:
        """Returns the lengths of all inputs and of all targets."""
        return np.concatenate(self._chunks).T

    def fill(self, limits: tuple[int, int]) -> dict[str, float]:
        """Packs as training does; returns the shares that hold a token."""
        used, rows = np.zeros(2), 0
        for lengths in self._chunks:
            # Trimmed, and with the end-of-text id.
            lengths = np.minimum(lengths, np.array(limits) - 1) + 1
            used += lengths.sum(axis=0)
            rows += int(pack(lengths, limits).max(initial=-1)) + 1
        inputs, targets = (used / max(rows, 1) / limits).tolist()
        return {"inputs": inputs, "targets": targets}


def _balanced(
    fill: Mapping[str, float], limits: tuple[int, int]
) -> dict[str, int]:
    """Returns lengths of rows that would be about full on both sides.

    The side that binds is made longer, in steps of 8.
    """
    sides = dict(zip(fill, limits, strict=True))
    binds, spare = sorted(fill, key=fill.get, reverse=True)
    places = sides[binds] * fill[binds] / max(fill[spare], 1 / sides[spare])
    return {**sides, binds: 8 * math.ceil(places / 8)}


def _texts(mixture: Mixture, records) -> Iterable[str]:
    """Yields the texts of each record, without those of its template."""
    names = sorted(
        {name for part in mixture.tasks for name in part.task.fields}
    )
    fields = parse_records(records, names).values()
    for values in zip(*(field.numpy() for field in fields), strict=True):
        yield b"\n".join(values).decode("utf-8")


def _compare(share: float, count: int, number: int) -> dict[str, float]:
    """Says how far a count is from its expected share."""
    error = (share * (1 - share) / number) ** 0.5
    realised = float(count / number)
    off = (realised - share) / error if error else 0.0
    return {"share": share, "realised": realised, "off": round(off, 2)}


def _languages(mixture: Mixture, counts: np.ndarray) -> list[dict]:
    """Returns the shares of draws by the languages of their tasks."""
    shares = Counter()
    for part, count in zip(mixture.tasks, counts.tolist(), strict=True):
        known = task_languages(part.task.name, part.task.directory)
        shares[", ".join(known) or "not stated"] += count
    return [
        {"name": name, "share": count / int(counts.sum())}
        for name, count in shares.most_common()
    ]


def _groups(mixture: Mixture, counts: np.ndarray) -> list[dict]:
    pairs = list(zip(mixture.tasks, counts.tolist(), strict=True))
    return [
        {"name": group.name}
        | _compare(
            sum(part.rate for part, _ in pairs if part.group == group.name),
            sum(count for part, count in pairs if part.group == group.name),
            int(counts.sum()),
        )
        for group in mixture.groups
    ]


def _lengths(lengths: np.ndarray, limit: int | None) -> dict:
    """Counts lengths in steps of a doubling; the first holds 0 too."""
    longest = int(lengths.max(initial=1))
    ends = list(
        itertools.takewhile(
            lambda end: end < 2 * max(longest, _FIRST_STEP),
            (_FIRST_STEP << i for i in range(64)),
        )
    )
    steps = np.searchsorted(ends, lengths)
    shares = np.bincount(steps, minlength=len(ends)) / max(len(lengths), 1)
    return {
        "histogram": [
            [end, share]
            for end, share in zip(ends, shares.tolist(), strict=True)
        ],
        "mean": float(lengths.mean()) if len(lengths) else 0.0,
        "longest": longest,
        "limit": limit,
        "trimmed": limit and float(np.mean(lengths > limit - 1)),
    }
