"""Many prompts, k paths each, through a grid of fixed size: token ids only.

Prompts of like length share a compiled program. A path that is done frees
its place for the next path of its prompt, and a prompt whose paths are all
done frees its slot for the next prompt.
"""

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np

from keras_flan.generation.rounds import Bucket, Grid, program, programs
from keras_flan.generation.sampling_settings import Sampling
from keras_flan.models.language_model import LanguageModel
from keras_flan.models.path_attention import block_length
from keras_flan.runtime.memory import release_memory

# Prompts and paths have one of these lengths, or the next power of two: so
# there are few programs.
_SHORTEST = 32
_SHORTEST_INPUT = 64
# Paths of a prompt at a time; at most a fifth of the places is spare.
_LANES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64)
# Steps between two looks at the generated tokens.
_STEPS = 8

# By the tokens of a path and the number of them that it was asked about
# before: after which number of tokens the path ends, or `None`.
Stop: TypeAlias = Callable[[list[int], int], int | None]


@dataclasses.dataclass(frozen=True)
class TokenPath:
    """The generated tokens of a path.

    Args:
        token_ids: The tokens, with the end token if it was generated.
        log_probabilities: The log-probability of each.
        ended: Whether the last token is the end token.
        stopped: Whether `stop` ended it.
    """

    token_ids: list[int]
    log_probabilities: list[float]
    ended: bool
    stopped: bool


def decode(
    model: LanguageModel,
    prompts: Sequence[list[int]],
    sampling: Sampling,
    *,
    ends: Sequence[int],
    uniforms: Callable[[int, int], np.ndarray],
    batch_paths: int = 64,
    prompt_paths: int | None = None,
    stop: Stop | None = None,
    enough: Callable[[int], bool] | None = None,
) -> Iterator[tuple[int, int, TokenPath]]:
    """Yields each path when it is done.

    Args:
        model: A `keras_flan.models.T5` or `DecoderOnly`.
        prompts: Token ids, framed as the model knows prompts.
        sampling: How to sample; its seed and strings are left to `uniforms`
            and `stop`.
        ends: The tokens that end a path, at most eight.
        uniforms: The uniform numbers of a path, float32 `(max_new_tokens)`,
            by the index of the prompt and the number of the path.
        batch_paths: Paths that are decoded at a time.
        prompt_paths: The most of them that are of one prompt; default: all.
        stop: Says where a path ends early.
        enough: By the index of a prompt: whether it needs no more paths.
            Asked after each of its paths; the rest is dropped.

    Yields:
        The index of the prompt, the number of the path, and a `TokenPath`.
    """
    together = min(prompt_paths or batch_paths, sampling.samples, batch_paths)
    lanes = _at_least(together, _LANES)
    most = max(1, batch_paths // lanes)
    for input_length, group in _groups(prompts, most):
        slots = min(most, _power_of_four(len(group)))
        bucket = Bucket(
            slots, lanes, input_length, _power(sampling.max_new_tokens)
        )
        full = dataclasses.replace(bucket, slots=most)
        if full in programs(model) and most <= 4 * slots:
            bucket = full  # Cheaper than to compile a smaller one.
        run = _Run(model, bucket, prompts, group, sampling, ends, uniforms)
        yield from run.paths(stop, enough)


def _groups(
    prompts: Sequence[list[int]], most: int
) -> Iterator[tuple[int, list[int]]]:
    """Yields lengths to read, and the prompts that are read at each.

    Prompts too few to fill the `most` slots go with the next longer ones, up
    to four times as long: a program costs seconds to compile.
    """
    rows = collections.defaultdict(list)
    for row, ids in enumerate(prompts):
        rows[_power(len(ids), _SHORTEST_INPUT)].append(row)
    few: list[int] = []
    shortest, lengths = 0, sorted(rows)
    for length, longer in itertools.zip_longest(lengths, lengths[1:]):
        shortest = shortest if few else length
        few += rows[length]
        if len(few) >= most or longer is None or longer > 4 * shortest:
            yield length, few
            few = []


def _power(number: int, least: int = _SHORTEST) -> int:
    """The next power of two."""
    return max(least, 1 << (number - 1).bit_length())


def _power_of_four(number: int) -> int:
    """The next power of four."""
    return 4 ** (((number - 1).bit_length() + 1) // 2)


def _at_least(number: int, choices: Sequence[int]) -> int:
    return next((c for c in choices if c >= number), number)


@dataclasses.dataclass
class _Lane:
    """A path under way."""

    number: int
    uniform: np.ndarray
    token_ids: list[int] = dataclasses.field(default_factory=list)
    gains: list[float] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class _Slot:
    """A prompt that is held, the paths under way, and those to come."""

    row: int
    numbers: collections.deque[int]
    lanes: dict[int, _Lane] = dataclasses.field(default_factory=dict)

    @property
    def busy(self) -> bool:
        return bool(self.numbers or self.lanes)


class _Run:
    """The prompts of one bucket on their way through its program."""

    def __init__(
        self,
        model: LanguageModel,
        bucket: Bucket,
        prompts: Sequence[list[int]],
        rows: Sequence[int],
        sampling: Sampling,
        ends: Sequence[int],
        uniforms: Callable[[int, int], np.ndarray],
    ):
        self._program = program(model, bucket)
        self._first_token = model.decoding.first_token
        self._bucket = bucket
        self._prompts = prompts
        self._waiting = collections.deque(rows)
        self._sampling = sampling
        self._ends = frozenset(ends)
        self._uniforms = uniforms
        self._slots: list[_Slot | None] = [None] * bucket.slots
        self._grid = Grid.empty(bucket, sampling, ends)

    def paths(
        self, stop: Stop | None, enough: Callable[[int], bool] | None
    ) -> Iterator[tuple[int, int, TokenPath]]:
        """Yields the paths of all rows."""
        self._program.compile()
        release_memory()
        state = self._program.empty_state()
        while self._admit():
            state, tokens, gains, steps = self._program(state, self._grid)
            self._grid.clock = np.int32(self._grid.clock + steps)
            for place, slot, number, lane in self._lanes():
                seen = len(lane.token_ids)
                new = min(steps, self._grid.left[place, number])
                lane.token_ids += tokens[place, number, :new].tolist()
                lane.gains += gains[place, number, :new].tolist()
                path = self._finished(lane, seen, stop)
                if path is None or slot.lanes.pop(number, None) is None:
                    continue
                yield slot.row, lane.number, path
                if enough is not None and enough(slot.row):
                    self._drop(slot.row)

    def _lanes(self) -> list[tuple[int, _Slot, int, _Lane]]:
        return [
            (place, slot, number, lane)
            for place, slot in enumerate(self._slots)
            if slot is not None
            for number, lane in sorted(slot.lanes.items())
        ]

    def _admit(self) -> bool:
        """Fills free places, and the grid; returns whether there is work."""
        grid = self._grid
        fresh = [p for p, s in enumerate(self._slots) if not (s and s.busy)]
        if len(fresh) == len(self._slots):
            grid.clock = np.int32(0)
        grid.load = np.int32(0)
        for place in fresh:
            self._slots[place] = slot = self._next_slot()
            if slot is not None:
                ids = self._prompts[slot.row]
                grid.prompts[grid.load, : len(ids)] = ids
                grid.targets[grid.load] = place
                grid.lengths[place] = len(ids)
                grid.load = np.int32(grid.load + 1)
        for slot in filter(None, self._slots):
            for number in range(self._bucket.lanes):
                if slot.numbers and number not in slot.lanes:
                    path = slot.numbers.popleft()
                    uniform = self._uniforms(slot.row, path)
                    slot.lanes[number] = _Lane(path, uniform)
        grid.left[:] = 0
        for place, slot, number, lane in self._lanes():
            age = len(lane.token_ids)
            grid.ages[place, number] = age
            grid.left[place, number] = self._sampling.max_new_tokens - age
            grid.tokens[place, number] = (
                lane.token_ids[-1]
                if age
                else self._first_token(self._prompts[slot.row])
            )
            rest = lane.uniform[age:]
            grid.uniform[place, number, : len(rest)] = rest
        block = block_length(self._bucket.length)
        grid.steps = np.int32(
            min(_STEPS, grid.left.max(), block - grid.clock % block)
        )
        return bool(grid.steps)

    def _next_slot(self) -> _Slot | None:
        if self._waiting:
            numbers = range(self._sampling.samples)
            return _Slot(self._waiting.popleft(), collections.deque(numbers))
        # Nothing waits: help the prompt that has the most paths to come.
        held = [s for s in self._slots if s is not None]
        most = max(held, key=lambda s: len(s.numbers), default=None)
        if most is None or not most.numbers:
            return None
        half = (len(most.numbers) + 1) // 2
        return _Slot(
            most.row, collections.deque(most.numbers.pop() for _ in range(half))
        )

    def _finished(
        self, lane: _Lane, seen: int, stop: Stop | None
    ) -> TokenPath | None:
        """Returns the path, if one of its tokens from `seen` on ends it."""
        ids, most = lane.token_ids, self._sampling.max_new_tokens
        places = range(seen, len(ids))
        end = next((i for i in places if ids[i] in self._ends), None)
        ended = end is not None
        if end is not None:
            del ids[end + 1 :]
        text = ids[:-1] if ended else ids
        cut = stop(text, seen) if stop is not None else None
        if cut is not None and cut < len(ids):
            del ids[cut:]
            ended = False
        if not ended and cut is None and len(ids) < most:
            return None
        del lane.gains[len(ids) :]
        return TokenPath(ids, lane.gains, ended, cut is not None)

    def _drop(self, row: int) -> None:
        """Forgets the paths of a row that are not done."""
        for slot in filter(None, self._slots):
            if slot.row == row:
                slot.numbers.clear()
                slot.lanes.clear()
