"""What a mixture really gives: counted on draws of the input pipeline."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from keras_flan.data.analysis.writing_systems import main_script
from keras_flan.data.mixtures.groups import MixtureTask
from keras_flan.data.mixtures.mixture import Mixture
from keras_flan.data.mixtures.task_registry import task_languages
from keras_flan.data.pipeline.packing import pack
from keras_flan.data.pipeline.prompt_tokens import Encode, PromptTokens
from keras_flan.data.pipeline.settings import PipelineSettings
from keras_flan.data.pipeline.streams import Draws, parse_records, split_keys
from keras_flan.data.templates.families import Format
from keras_flan.data.vocabularies.hub import HubVocabulary
from keras_flan.data.vocabularies.sentencepiece import Vocabulary
from keras_flan.runtime.tensorflow import tf
from keras_flan.tensors import Tensor

# Lengths are counted in steps of a doubling; the first ends here.
_FIRST_STEP = 16
# Without a vocabulary, nothing is too long.
_NO_LIMIT = 1 << 30


def measure_mixture(
    mixture: Mixture,
    vocabulary: Vocabulary | HubVocabulary | None = None,
    *,
    input_length: int = 1024,
    target_length: int = 256,
    draws: int = 200_000,
    examples: int = 2 * PipelineSettings.chunk,
    seed: int = 0,
) -> dict:
    """Draws from a mixture as training does, and counts.

    Args:
        mixture: The mixture.
        vocabulary: Measures lengths in tokens. Without one they are measured
            in characters, and what depends on tokens is left out.
        input_length: Tokens of a row for the inputs.
        target_length: Tokens of a row for the targets.
        draws: How many tasks are drawn to count their shares.
        examples: How many of the draws are rendered, to measure the texts.
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
    settings = PipelineSettings(
        input_length=input_length,
        target_length=target_length,
        batch_size=1,
        seed=seed,
    )
    encoder, longest = _characters, _NO_LIMIT
    if vocabulary is not None:
        encoder, longest = vocabulary.encoder_tf, input_length
    counts = _Counts(mixture, PromptTokens(mixture, encoder, longest, seed))
    counts.draw(settings, draws, examples)
    return counts.summary(settings, in_tokens=vocabulary is not None)


def _characters() -> Encode:
    """Stands in for a vocabulary: a token per character."""
    return lambda texts: tf().strings.unicode_decode(texts, "UTF-8")


class _Counts:
    """What is counted on draws from a mixture.

    Args:
        mixture: The mixture.
        tokenise: Renders and tokenises records.
    """

    def __init__(self, mixture: Mixture, tokenise: PromptTokens):
        self._mixture = mixture
        self._tokenise = tokenise
        self._tasks = np.zeros(len(mixture.tasks), np.int64)
        self._examples = self._left_out = 0
        self._formats = np.zeros(len(Format), np.int64)
        self._scripts: Counter[str] = Counter()
        self._lengths: list[np.ndarray] = []

    def draw(
        self, settings: PipelineSettings, draws: int, examples: int
    ) -> None:
        """Draws as training does, and renders the first examples."""
        size = settings.chunk
        most = max(draws, examples)
        chunks = Draws(self._mixture, settings).chunks()
        for number, keys, records in chunks.take(math.ceil(most / size)):
            before = int(number) * size
            task_ids = split_keys(keys[: most - before])[0].numpy()
            self._tasks += np.bincount(task_ids, minlength=len(self._tasks))
            left = examples - before
            if left > 0:
                self._render(number, keys[:left], records[:left])

    def _render(self, number: Tensor, keys: Tensor, records: Tensor) -> None:
        tokens = self._tokenise(number, keys, records)
        targets, formats, used = tokens.targets, tokens.formats, tokens.used
        self._lengths.append(
            np.stack([tokens.lengths, targets.row_lengths()], axis=1)
        )
        self._examples += len(keys)
        self._left_out += int(np.sum(~used.numpy()))
        self._formats += np.bincount(formats, minlength=len(Format))
        self._scripts.update(map(main_script, _texts(self._mixture, records)))

    def summary(self, settings: PipelineSettings, in_tokens: bool) -> dict:
        """Returns what `measure_mixture` returns."""
        limits = (settings.input_length, settings.target_length)
        sides = zip(
            ("inputs", "targets"),
            np.concatenate(self._lengths).T,
            limits,
            strict=True,
        )
        fill = _fill(self._lengths, limits) if in_tokens else None
        return {
            "name": self._mixture.name,
            "unit": "tokens" if in_tokens else "characters",
            "draws": int(self._tasks.sum()),
            "examples": self._examples,
            "seed": settings.seed,
            "groups": self._compare_groups(),
            "tasks": self._compare_tasks(),
            "formats": self._compare_formats(),
            "left_out": self._left_out / self._examples,
            "lengths": {
                side: _describe_lengths(lengths, limit if in_tokens else None)
                for side, lengths, limit in sides
            },
            "fill": fill,
            "balanced": fill and _balanced(fill, limits),
            "languages": self._languages(),
            "scripts": [
                {"name": name, "share": count / self._examples}
                for name, count in self._scripts.most_common()
            ],
        }

    @property
    def _drawn(self) -> list[tuple[MixtureTask, int]]:
        """The tasks, and how many times each was drawn."""
        return list(zip(self._mixture.tasks, self._tasks.tolist(), strict=True))

    def _compare_groups(self) -> list[dict]:
        number = int(self._tasks.sum())
        rows = []
        for group in self._mixture.groups:
            own = [(p, n) for p, n in self._drawn if p.group == group.name]
            rate, count = sum(p.rate for p, _ in own), sum(n for _, n in own)
            rows.append({"name": group.name} | _compare(rate, count, number))
        return rows

    def _compare_tasks(self) -> list[dict]:
        number = int(self._tasks.sum())
        return [
            {"name": part.task.name, "group": part.group}
            | _compare(part.rate, count, number)
            for part, count in self._drawn
        ]

    def _compare_formats(self) -> list[dict]:
        shares: dict[Format, float] = {}
        for part in self._mixture.tasks:
            for format, share in part.formats.items():
                shares[format] = shares.get(format, 0) + part.rate * share
        counts = zip(Format, self._formats.tolist(), strict=True)
        return [
            {"name": format.value}
            | _compare(shares[format], count, self._examples)
            for format, count in counts
            if format in shares
        ]

    def _languages(self) -> list[dict]:
        """Returns the shares of draws by the languages of their tasks."""
        shares: Counter[str] = Counter()
        for part, count in self._drawn:
            known = task_languages(part.task.name, part.task.directory)
            shares[", ".join(known) or "not stated"] += count
        return [
            {"name": name, "share": count / int(self._tasks.sum())}
            for name, count in shares.most_common()
        ]


def _fill(
    chunks: Sequence[np.ndarray], limits: tuple[int, int]
) -> dict[str, float]:
    """Packs as training does; returns the shares that hold a token.

    Args:
        chunks: Lengths of inputs and targets, each of shape `[n, 2]`.
        limits: Tokens of a row for the inputs, and for the targets.
    """
    used, rows = np.zeros(2), 0
    for lengths in chunks:
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
    binds, spare = sorted(fill, key=lambda side: fill[side], reverse=True)
    places = sides[binds] * fill[binds] / max(fill[spare], 1 / sides[spare])
    return {**sides, binds: 8 * math.ceil(places / 8)}


def _texts(mixture: Mixture, records: Tensor) -> Iterator[str]:
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


def _describe_lengths(lengths: np.ndarray, limit: int | None) -> dict:
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
