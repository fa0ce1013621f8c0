"""What a mixture really gives: counted on draws of the input pipeline."""

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from keras_flan.data.analysis.fertility import fertility, script_warning
from keras_flan.data.analysis.writing_systems import main_script
from keras_flan.data.mixtures.groups import MixtureTask
from keras_flan.data.mixtures.inspection import show
from keras_flan.data.mixtures.mixture import Mixture
from keras_flan.data.mixtures.task_registry import task_languages
from keras_flan.data.pipeline.packing import pack
from keras_flan.data.pipeline.prompt_tokens import Encode, PromptTokens
from keras_flan.data.pipeline.settings import KEEP_WHOLE, Long, PipelineSettings
from keras_flan.data.pipeline.streams import Draws, parse_records, split_keys
from keras_flan.data.pipeline.tally import LEFT_OUT, Chunk, Fate, Limit, Tally
from keras_flan.data.templates.families import Format
from keras_flan.data.vocabularies.hub import HubVocabulary
from keras_flan.data.vocabularies.sentencepiece import Vocabulary
from keras_flan.runtime.tensorflow import tf
from keras_flan.tensors import Tensor

# Lengths are counted in steps of a doubling; the first ends here.
_FIRST_STEP = 16
# Examples of each fate that are shown.
_SHOWN = 3
# Texts of a language that its fertility is measured on.
_TEXTS_OF_LANGUAGE = 500
NOT_STATED = "not stated"
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
    long: Long | Mapping[str, str] = KEEP_WHOLE,
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
        long: What is done about texts that are too long, see `Long`.

    Returns:
        A JSON-able dict. `groups` and `tasks` have a `share` as stated and
        as `realised` in the draws, and `off`, the difference in standard
        errors; so have `formats`, in shares of the examples. All have the
        share `trained`: of the examples that are not left out. `fates` has
        what became of each task and format (see `Tally.rows`), `advice` lines
        that say which setting to change, and `shown` some of the examples
        that are left out or cut. `lengths` has a histogram of `inputs` and
        `targets`, rows `[longest, share]`, and with a vocabulary the share
        `trimmed`, which is longer than a row; `fill`, the share of a packed
        row that holds tokens; `balanced`, lengths of rows that would be about
        full on both sides; `left_out`, a share of the examples; `scripts`,
        shares of the examples by script; `languages`, a `share` of the draws
        by the languages that their tasks state, the share as `stated` by the
        rates, the share `trained` and, with a vocabulary, `fertility` (see
        the function). `advice` also names languages for whose script the
        vocabulary has no pieces.

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
        long=long,
    )
    encoder, longest = _characters, (_NO_LIMIT, _NO_LIMIT)
    if vocabulary is not None:
        encoder, longest = vocabulary.encoder_tf, (input_length, target_length)
    tokenise = PromptTokens(mixture, encoder, *longest, settings)
    counts = _Counts(mixture, tokenise)
    counts.draw(settings, draws, examples)
    return counts.summary(settings, vocabulary)


def measure_stages(
    mixture: Mixture,
    vocabulary: Vocabulary | HubVocabulary | None = None,
    **settings: Any,
) -> dict:
    """Measures a mixture and those that follow it.

    Args:
        mixture: The mixture.
        vocabulary: As for `measure_mixture`.
        **settings: As for `measure_mixture`.

    Returns:
        What `measure_mixture` returns of the first; if others follow,
        `stages` has that of each.
    """
    stages = [
        measure_mixture(stage, vocabulary, **settings)
        for stage in mixture.stages
    ]
    return stages[0] | ({"stages": stages} if len(stages) > 1 else {})


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
        self._examples = 0
        self._tally = Tally(mixture)
        # By fate, the first examples: of each a chunk with nothing else.
        self._shown: dict[Fate, list[Chunk]] = {fate: [] for fate in Fate}
        self._formats = np.zeros(len(Format), np.int64)
        self._scripts: Counter[str] = Counter()
        # By task, its language or pair; by language, some of its texts.
        self._languages = [
            ", ".join(task_languages(part.task.name, part.task.directory))
            or NOT_STATED
            for part in mixture.tasks
        ]
        self._texts: dict[str, list[str]] = {}
        # Of inputs and targets: of all that are known, of those trained.
        self._known: list[np.ndarray] = []
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
        chunk = Chunk(*(part.numpy() for part in tokens.chunk(keys)))
        self._tally.add(chunk)
        known = chunk.fates & (Fate.no_exemplar | Fate.unwritable) == 0
        self._known.append(chunk.lengths[known])
        self._lengths.append(chunk.lengths[chunk.fates & LEFT_OUT == 0])
        for fate, shown in self._shown.items():
            places = np.flatnonzero(chunk.fates & fate)[: _SHOWN - len(shown)]
            shown += [Chunk(*(part[i] for part in chunk)) for i in places]
        self._examples += len(keys)
        self._formats += np.bincount(chunk.formats, minlength=len(Format))
        texts = list(_texts(self._mixture, records))
        self._scripts.update(map(main_script, texts))
        for task, text in zip(chunk.tasks.tolist(), texts, strict=True):
            kept = self._texts.setdefault(self._languages[task], [])
            if len(kept) < _TEXTS_OF_LANGUAGE:
                kept.append(text)

    def summary(
        self,
        settings: PipelineSettings,
        vocabulary: Vocabulary | HubVocabulary | None,
    ) -> dict:
        """Returns what `measure_mixture` returns."""
        in_tokens = vocabulary is not None
        languages = self._compare_languages(vocabulary)
        limits = (settings.input_length, settings.target_length)
        sides = zip(
            ("inputs", "targets"),
            np.concatenate(self._known).T,
            limits,
            strict=True,
        )
        fill = _fill(self._lengths, limits) if in_tokens else None
        totals, fates = self._tally.totals(), self._tally.rows()
        advised = (
            Limit(f"--{side}-length", limit, limit - 1)
            for side, limit in zip(("input", "target"), limits, strict=True)
        )
        return {
            "name": self._mixture.name,
            "unit": "tokens" if in_tokens else "characters",
            "draws": int(self._tasks.sum()),
            "examples": self._examples,
            "seed": settings.seed,
            "groups": _trained(self._compare_groups(), fates, "group"),
            "tasks": _trained(self._compare_tasks(), fates, "task"),
            "formats": _trained(self._compare_formats(), fates, "format"),
            "left_out": totals["left_out"] / self._examples,
            "fates": fates,
            "advice": [*self._tally.advice(*advised), *_warnings(languages)],
            "shown": list(self._show(settings)),
            "lengths": {
                side: _describe_lengths(lengths, limit if in_tokens else None)
                for side, lengths, limit in sides
            },
            "fill": fill,
            "balanced": fill and _balanced(fill, limits),
            "languages": languages,
            "scripts": [
                {"name": name, "share": count / self._examples}
                for name, count in self._scripts.most_common()
            ],
        }

    def _show(self, settings: PipelineSettings) -> Iterator[dict]:
        """Yields examples that are left out or cut."""
        for fate, chunks in self._shown.items():
            for one in chunks:
                example = show(
                    self._mixture.tasks[int(one.tasks)].task,
                    list(Format)[int(one.formats)],
                    int(one.positions),
                    shots=self._mixture.shots,
                    seed=settings.seed,
                )
                inputs, targets = one.lengths.tolist()
                lengths = {"input_length": inputs, "target_length": targets}
                yield {"fate": fate.name, **example, **lengths}

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

    def _compare_languages(
        self, vocabulary: Vocabulary | HubVocabulary | None
    ) -> list[dict]:
        """Returns the shares of languages, and how they are cut."""
        drawn: Counter[str] = Counter()
        stated: defaultdict[str, float] = defaultdict(float)
        trained: defaultdict[str, float] = defaultdict(float)
        by_task: defaultdict[str, float] = defaultdict(float)
        for row in self._tally.rows():
            by_task[row["task"]] += row["trained"]
        parts = zip(self._languages, self._drawn, strict=True)
        for name, (part, count) in parts:
            drawn[name] += count
            stated[name] += part.rate
            trained[name] += by_task[part.task.name]
        rows = []
        for name, count in drawn.most_common():
            row = {"name": name, "share": count / int(self._tasks.sum())}
            row |= {"stated": stated[name], "trained": trained[name]}
            if vocabulary is not None and name in self._texts:
                row["fertility"] = fertility(self._texts[name], vocabulary)
            rows.append(row)
        return rows


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


def _warnings(languages: Sequence[Mapping]) -> Iterator[str]:
    """Yields a line for each stated language that can't be written well."""
    for row in languages:
        if "fertility" in row and row["name"] != NOT_STATED:
            line = script_warning(row["name"], row["fertility"])
            if line is not None:
                yield line


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


def _trained(
    rows: list[dict], fates: Sequence[Mapping], key: str
) -> list[dict]:
    """Adds the share of what is trained to rows that have a name."""
    shares: Counter[str] = Counter()
    for fate in fates:
        shares[fate[key]] += fate["trained"]
    return [row | {"trained": shares[row["name"]]} for row in rows]


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
