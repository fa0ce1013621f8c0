"""What becomes of the examples that are drawn, by task and format."""

import enum
import threading
from typing import NamedTuple

import numpy as np

from keras_flan.data.mixtures.mixture import Mixture
from keras_flan.data.templates.families import Format
from keras_flan.errors import InputError

_FORMATS = list(Format)
# Draws of which the lengths are kept, to say what lengths would do.
_SAMPLE = 1 << 14
# Shares of the examples of which advice is given.
_MANY_LEFT_OUT, _MANY_CUT = 0.01, 0.05
# The share that an advised length holds.
_HELD = 0.99


class Fate(enum.IntFlag):
    """What became of an example; none of these if it is trained whole."""

    no_exemplar = 1  # Left out: a few-shot prompt without an exemplar.
    long_inputs = 2  # Left out: the input is too long.
    long_targets = 4  # Left out: the target is too long.
    unwritable = 8  # Left out: the chat template can't write it.
    cut_inputs = 16  # A part of the input is missing.
    cut_targets = 32  # A part of the target is missing.


LEFT_OUT = (
    Fate.no_exemplar | Fate.long_inputs | Fate.long_targets | Fate.unwritable
)
_WHAT = {
    Fate.no_exemplar: "leave no place for an exemplar within {limit}, and are "
    "left out",
    Fate.long_inputs: "have inputs longer than {limit}, and are left out",
    Fate.long_targets: "have targets longer than {limit}, and are left out",
    Fate.unwritable: "are conversations that the chat template can't write, "
    "or of which no answer fits into {limit}, and are left out",
    Fate.cut_inputs: "have inputs longer than {limit}, and lose a part",
    Fate.cut_targets: "have targets longer than {limit}, and lose a part",
}
_KINDS = ("drawn", "left_out", *(fate.name or "" for fate in Fate))


class Limit(NamedTuple):
    """A setting that bounds a side of the examples."""

    name: str  # As the user knows it, such as `data.input_length`.
    value: int
    budget: int  # The most tokens of a text.


class Chunk(NamedTuple):
    """What a chunk of `n` draws came to."""

    tasks: np.ndarray  # Places among the mixture's tasks, `[n]`
    positions: np.ndarray  # In the tasks, `[n]`
    formats: np.ndarray  # Places in `list(Format)`, `[n]`
    fates: np.ndarray  # Each a `Fate`, `[n]`
    # Tokens that the input and the target take: of few-shot prompts that are
    # left out, with one exemplar; before anything is cut; -1 if unknown.
    lengths: np.ndarray  # `[n, 2]`


class Tally:
    """Counts what becomes of the examples of a mixture.

    Example:
        >>> tally = Tally(mixture)
        >>> tally.add(chunk)
        >>> tally.rows()[0]["left_out"]
        3
    """

    def __init__(self, mixture: Mixture):
        self._tasks = mixture.tasks
        shape = (len(mixture.tasks), len(_FORMATS), len(_KINDS))
        self._counts = np.zeros(shape, np.int64)
        self._sample: list[Chunk] = []
        self._lock = threading.Lock()

    def add(self, chunk: Chunk) -> None:
        """Counts a chunk; any thread may."""
        shape = self._counts.shape[:2]
        place = chunk.tasks * shape[1] + chunk.formats
        kinds = [np.ones_like(chunk.fates), chunk.fates & LEFT_OUT]
        kinds += [chunk.fates & fate for fate in Fate]
        with self._lock:
            for number, kind in enumerate(kinds):
                found = np.bincount(place[kind != 0], minlength=np.prod(shape))
                self._counts[..., number] += found.reshape(shape)
            if sum(len(part.tasks) for part in self._sample) < _SAMPLE:
                self._sample.append(chunk)

    def totals(self) -> dict[str, int]:
        """Returns the counts over all tasks and formats, by kind.

        The kinds are `drawn`, `left_out` and the names of `Fate`.
        """
        sums = self._counts.sum(axis=(0, 1)).tolist()
        return dict(zip(_KINDS, sums, strict=True))

    def rows(self) -> list[dict]:
        """Returns what became of each task and format, ready for JSON.

        Returns:
            Dicts of `task`, `group`, `format`, `share` as the mixture states
            it, the share of what is `trained`, and the counts of `totals`.
        """
        drawn = self._counts[..., _KINDS.index("drawn")]
        trained = drawn - self._counts[..., _KINDS.index("left_out")]
        whole = max(int(trained.sum()), 1)
        return [
            {
                "task": part.task.name,
                "group": part.group,
                "format": format.value,
                "share": part.rate * share,
                "trained": float(trained[i, _FORMATS.index(format)] / whole),
            }
            | self._named(i, format)
            for i, part in enumerate(self._tasks)
            for format, share in part.formats.items()
        ]

    def _named(self, task: int, format: Format) -> dict[str, int]:
        counts = self._counts[task, _FORMATS.index(format)].tolist()
        return dict(zip(_KINDS, counts, strict=True))

    def advice(self, inputs: Limit, targets: Limit) -> list[str]:
        """Says of which examples many are left out or cut, and what helps.

        Args:
            inputs: What bounds the inputs.
            targets: What bounds the targets.

        Returns:
            A line for each reason; none if nearly all examples are whole.

        Example:
            >>> tally.advice(Limit("input_length", 256, 255), targets)
            ['2,041 of 8,192 examples (24.9%) leave no place for an exemplar
            within input_length 256, and are left out (gsm8k, few_shot_cot:
            99.2%); 99% of these would fit into input_length 832']
        """
        totals, lines = self.totals(), []
        for fate in Fate:
            many = _MANY_LEFT_OUT if fate & LEFT_OUT else _MANY_CUT
            count, drawn = totals[fate.name or ""], totals["drawn"]
            if count > many * drawn:
                is_target = fate in (Fate.long_targets, Fate.cut_targets)
                limit = targets if is_target else inputs
                what = _WHAT[fate].format(limit=f"{limit.name} {limit.value}")
                lines.append(
                    f"{count:,} of {drawn:,} examples ({count / drawn:.1%}) "
                    f"{what}" + self._remedy(fate, limit, int(is_target))
                )
        return lines

    def _remedy(self, fate: Fate, limit: Limit, side: int) -> str:
        """Names the task and format that lose most, and a length for them."""
        lost = self._counts[..., _KINDS.index(fate.name or "")]
        task, format = np.unravel_index(int(lost.argmax()), lost.shape)
        share = lost[task, format] / self._counts[task, format, 0]
        worst = (
            f" ({self._tasks[task].task.name}, {_FORMATS[format].value}: "
            f"{share:.1%})"
        )
        needs = np.concatenate(
            [
                part.lengths[lost[part.tasks, part.formats] > 0, side]
                for part in self._sample
            ]
        )
        needs = needs[needs >= 0]  # Others are unknown.
        if not len(needs) or fate is Fate.unwritable:
            return worst
        enough = int(np.ceil(np.quantile(needs, _HELD)))
        enough += limit.value - limit.budget
        if enough <= limit.value:
            return worst
        # A multiple of 32.
        return worst + (
            f"; {_HELD:.0%} of these would fit into {limit.name} "
            f"{-(-enough // 32) * 32}"
        )

    def fail(self, chunk: Chunk, inputs: Limit, targets: Limit) -> InputError:
        """Returns the error of the first text of a chunk that is too long."""
        is_long = chunk.fates & (Fate.long_inputs | Fate.long_targets)
        number = int(np.flatnonzero(is_long)[0])
        side = 0 if chunk.fates[number] & Fate.long_inputs else 1
        limit = (inputs, targets)[side]
        name = ("input", "target")[side]
        task = self._tasks[int(chunk.tasks[number])].task.name
        format = _FORMATS[int(chunk.formats[number])].value
        return InputError(
            f"example {int(chunk.positions[number])} of {task!r}, asked "
            f"{format}: its {name} has {int(chunk.lengths[number, side])} "
            f"tokens, {limit.name} {limit.value} allows {limit.budget}; raise "
            f"it, or choose another `long` than `{{{name}s: fail}}`"
        )
