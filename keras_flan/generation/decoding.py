"""Many prompts, k paths each, through a grid of fixed size: token ids only.

Prompts of like length share a compiled program. A path that is done frees
its place for the next path of its prompt, and a prompt whose paths are all
done frees its slot for the next prompt. Where one program leaves cores idle,
several of it run at a time, each with its own prompts.
"""

import collections
import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np

from keras_flan.generation.buckets import (
    compiled_bucket,
    groups,
    lanes_for,
    path_places,
)
from keras_flan.generation.compiling import power_of_four
from keras_flan.generation.rounds import Bucket, Grid, State, program
from keras_flan.generation.sampling_settings import Sampling
from keras_flan.models.language_model import LanguageModel
from keras_flan.models.path_attention import block_length
from keras_flan.runtime.memory import release_memory

# Steps between two looks at the generated tokens.
_STEPS = 8
# The fewest paths at a time that a program of its own is worth: with fewer
# the same weights are read more often than the second core gains.
_CREW_PATHS = 64
_NOTHING = -1  # No token's id.

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


@dataclasses.dataclass(frozen=True, eq=False)
class Wanted:
    """A prompt whose paths are to be decoded.

    Args:
        key: What the caller knows it by.
        prompt: Token ids, framed as the model knows prompts.
        numbers: The numbers of the paths.
        length: The most tokens of a path.
        uniforms: The uniform numbers of a path by its number, float32
            `(length)`.
        stop: Says where a path ends early.
    """

    key: Any
    prompt: list[int]
    numbers: Sequence[int]
    length: int
    uniforms: Callable[[int], np.ndarray]
    stop: Stop | None = None


class Made(NamedTuple):
    """What a round has made of a path.

    Args:
        wanted: The prompt.
        number: The number of the path.
        token_ids: Its tokens so far.
        path: The path, if it is done.
    """

    wanted: Wanted
    number: int
    token_ids: list[int]
    path: TokenPath | None


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
    lanes = lanes_for(together)
    crews = _crews(batch_paths)
    most = max(1, batch_paths // crews // lanes)

    def source(rows: Sequence[int]) -> Callable[[], Wanted | None]:
        wanted = (
            Wanted(
                row,
                prompts[row],
                range(sampling.samples),
                sampling.max_new_tokens,
                functools.partial(uniforms, row),
                stop,
            )
            for row in rows
        )
        return functools.partial(next, wanted, None)

    for input_length, group in groups(prompts, most):
        several = max(1, min(crews, len(group) * lanes // _CREW_PATHS))
        slots = min(most, power_of_four(-(-len(group) // several)))
        bucket = Bucket(
            slots, lanes, input_length, path_places(sampling.max_new_tokens)
        )
        bucket = compiled_bucket(model, bucket, most)
        runs = [
            Run(model, bucket, sampling, ends, source(group[crew::several]))
            for crew in range(several)
        ]
        for run, made in _by_turns(runs):
            if made.path is None:
                continue
            row = made.wanted.key
            yield row, made.number, made.path
            if enough is not None and enough(row):
                run.drop(row)


def _crews(paths: int) -> int:
    """Returns how many programs of so many paths in all may run at a time.

    On a CPU one core does most of a step, so each may have a program.
    Elsewhere a program has the whole device.
    """
    if keras.backend.backend() != "jax":
        return 1
    import jax

    if jax.default_backend() != "cpu" or jax.device_count() > 1:
        return 1
    return max(1, min(os.cpu_count() or 1, paths // _CREW_PATHS))


def _by_turns(runs: "list[Run]") -> "Iterator[tuple[Run, Made]]":
    """Yields what runs of one program make; each computes in its own thread.

    They are waited for in their order, whichever is done first: so what is
    yielded has the same order every time.
    """
    if len(runs) == 1:
        while runs[0].admit():
            for made in runs[0].advance():
                yield runs[0], made
        return
    under_way: collections.deque[tuple[Run, Future]] = collections.deque()
    with ThreadPoolExecutor(len(runs)) as threads:
        for run in filter(Run.admit, runs):
            future = threads.submit(run.compute)
            under_way.append((run, future))
            if not run.compiled:
                future.result()  # The others find the program.
        while under_way:
            run, future = under_way.popleft()
            for made in run.take(*future.result()):
                yield run, made
            if run.admit():
                under_way.append((run, threads.submit(run.compute)))


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

    wanted: Wanted
    numbers: collections.deque[int]
    lanes: dict[int, _Lane] = dataclasses.field(default_factory=dict)

    @property
    def busy(self) -> bool:
        return bool(self.numbers or self.lanes)


class Run:
    """Prompts on their way through the program of a bucket.

    Args:
        model: A `keras_flan.models.T5` or `DecoderOnly`.
        bucket: The bucket. All prompts and paths must have room in it.
        sampling: Temperature, top-k and top-p of all paths.
        ends: The tokens that end a path, at most eight.
        source: Called for the next prompt when a slot is free; `None` if
            there is none at the moment.
    """

    def __init__(
        self,
        model: LanguageModel,
        bucket: Bucket,
        sampling: Sampling,
        ends: Sequence[int],
        source: Callable[[], Wanted | None],
    ):
        self.bucket = bucket
        self._program = program(model, bucket)
        self._first_token = model.decoding.first_token
        self._source = source
        self._ends = frozenset(ends)
        self._slots: list[_Slot | None] = [None] * bucket.slots
        self._grid = Grid.empty(bucket, sampling, ends)
        # The prompts whose keys and values are in the slots' memory.
        self._held = np.full_like(self._grid.prompts, _NOTHING)
        self._state: State | None = None

    @property
    def held(self) -> list[Wanted]:
        """The prompts in the slots; of one that has several, it is doubled."""
        return [slot.wanted for slot in self._slots if slot and slot.busy]

    def advance(self) -> Iterator[Made]:
        """Runs a round of what was admitted; yields what it made."""
        return self.take(*self.compute())

    @property
    def compiled(self) -> bool:
        """Whether the program is compiled."""
        return self._program.compilations > 0

    def compute(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Runs a round on the device; returns what `take` takes."""
        if self._state is None:
            self._program.compile()
            release_memory()
            self._state = self._program.empty_state()
        self._state, *made = self._program(self._state, self._grid)
        tokens, gains, steps = made
        return tokens, gains, steps

    def take(
        self, tokens: np.ndarray, gains: np.ndarray, steps: np.ndarray
    ) -> Iterator[Made]:
        """Yields what a round made, of what `compute` returns."""
        self._grid.clock = np.int32(self._grid.clock + steps)
        for place, slot, number, lane in self._lanes():
            seen = len(lane.token_ids)
            new = min(steps, self._grid.left[place, number])
            lane.token_ids += tokens[place, number, :new].tolist()
            lane.gains += gains[place, number, :new].tolist()
            path = self._finished(lane, seen, slot.wanted)
            if number not in slot.lanes:
                continue  # dropped meanwhile
            if path is not None:
                del slot.lanes[number]
            yield Made(slot.wanted, lane.number, lane.token_ids, path)

    def drop(self, key: Any) -> None:
        """Forgets the paths of a prompt that are not done."""
        for slot in filter(None, self._slots):
            if slot.wanted.key == key:
                slot.numbers.clear()
                slot.lanes.clear()

    def _lanes(self) -> list[tuple[int, _Slot, int, _Lane]]:
        return [
            (place, slot, number, lane)
            for place, slot in enumerate(self._slots)
            if slot is not None
            for number, lane in sorted(slot.lanes.items())
        ]

    def admit(self) -> bool:
        """Fills free places, and the grid; returns whether there is work."""
        grid = self._grid
        fresh = [p for p, s in enumerate(self._slots) if not (s and s.busy)]
        if len(fresh) == len(self._slots):
            grid.clock = np.int32(0)
        grid.load = np.int32(0)
        for place in fresh:
            self._slots[place] = slot = self._next_slot()
            if slot is not None:
                self._load(place, slot.wanted.prompt)
        for slot in filter(None, self._slots):
            for number in range(self.bucket.lanes):
                if slot.numbers and number not in slot.lanes:
                    path = slot.numbers.popleft()
                    slot.lanes[number] = _Lane(path, slot.wanted.uniforms(path))
        grid.left[:] = 0
        for place, slot, number, lane in self._lanes():
            age = len(lane.token_ids)
            grid.ages[place, number] = age
            grid.left[place, number] = slot.wanted.length - age
            grid.tokens[place, number] = (
                lane.token_ids[-1]
                if age
                else self._first_token(slot.wanted.prompt)
            )
            rest = lane.uniform[age:]
            grid.uniform[place, number, : len(rest)] = rest
        block = block_length(self.bucket.length)
        grid.steps = np.int32(
            min(_STEPS, grid.left.max(), block - grid.clock % block)
        )
        return bool(grid.steps)

    def _load(self, place: int, ids: list[int]) -> None:
        """Has a prompt read into a slot, from where no slot holds it."""
        grid, number = self._grid, self._grid.load
        grid.prompts[number, : len(ids)] = ids
        grid.targets[number] = place
        grid.lengths[place] = len(ids)
        same = self._held[:, : len(ids)] == grid.prompts[number, : len(ids)]
        known = np.where(same.all(1), len(ids), same.argmin(1))
        grid.sources[number] = known.argmax()
        grid.known[number] = known.max()
        self._held[place] = _NOTHING
        self._held[place, : len(ids)] = ids
        grid.load = np.int32(number + 1)

    def _next_slot(self) -> _Slot | None:
        wanted = self._source()
        if wanted is not None:
            return _Slot(wanted, collections.deque(wanted.numbers))
        # Nothing waits: help the prompt that has the most paths to come.
        held = [s for s in self._slots if s is not None]
        most = max(held, key=lambda s: len(s.numbers), default=None)
        if most is None or not most.numbers:
            return None
        half = (len(most.numbers) + 1) // 2
        return _Slot(
            most.wanted,
            collections.deque(most.numbers.pop() for _ in range(half)),
        )

    def _finished(
        self, lane: _Lane, seen: int, wanted: Wanted
    ) -> TokenPath | None:
        """Returns the path, if one of its tokens from `seen` on ends it."""
        ids, stop = lane.token_ids, wanted.stop
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
        if not ended and cut is None and len(ids) < wanted.length:
            return None
        del lane.gains[len(ids) :]
        return TokenPath(ids, lane.gains, ended, cut is not None)
