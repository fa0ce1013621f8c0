"""Compiled rounds of decoding: a few steps of a fixed grid of paths.

One program a bucket does everything that is done on the device: it reads new
prompts, and feeds and chooses tokens. What differs from call to call
(temperature, top-k, top-p, the paths and where they stand) is an argument.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
from keras import ops

from keras_flan.generation.compiling import compiled, shaped
from keras_flan.generation.sampling import choose
from keras_flan.generation.sampling_settings import Sampling
from keras_flan.models.activation_layouts import constrain
from keras_flan.models.decoding import Decoding, Fed
from keras_flan.models.language_model import LanguageModel
from keras_flan.models.path_attention import (
    block_length,
    cache_shapes,
    each_layer,
    turn,
)
from keras_flan.models.programs import programs_of
from keras_flan.progress import left_out
from keras_flan.runtime.memory import release_memory
from keras_flan.tensors import Tensor

# The caches: `"memory"` of prompts, and `"past"` of paths, in blocks.
State: TypeAlias = dict[str, Any]
# Places for the tokens that end a path, of which few tokenizers have two.
_ENDS = 8
# Tokens of a prompt that are read at a time: few leave little to read in
# vain, many fill an accelerator. Powers of two, as the places of a prompt.
_BLOCK, _DEVICE_BLOCK = 64, 512


@dataclasses.dataclass(frozen=True)
class Bucket:
    """What a program is compiled for.

    Args:
        slots: Prompts that are held at a time.
        lanes: Paths of each prompt at a time.
        input_length: Places for a prompt.
        length: Places for the tokens of a path.
    """

    slots: int
    lanes: int
    input_length: int
    length: int


@dataclasses.dataclass
class Grid:
    """What the host tells the device before a round.

    Args:
        prompts: int32 `(slots, input_length)`; the first `load` rows are new.
        targets: int32 `(slots)`, the slot that each new prompt goes to.
        sources: int32 `(slots)`, the slot that holds what it begins with, when
            the new prompts before it are in their slots.
        known: int32 `(slots)`, how many of its tokens these are.
        load: int32.
        lengths: int32 `(slots)`, tokens of the prompt in each slot.
        tokens: int32 `(slots, lanes)`, what each path is fed first.
        ages: int32 `(slots, lanes)`, tokens that it was fed before.
        left: int32 `(slots, lanes)`, tokens that are still to come; 0: no path.
        uniform: float32 `(slots, lanes, length)`, numbers for its tokens.
        clock: int32, steps since the caches were empty.
        steps: int32, the most steps of this round.
        ends: int32 `(8)`, the tokens that end a path.
        temperature: float32, see `keras_flan.generation.sampling.choose`.
        top_k: int32.
        top_p: float32.
    """

    prompts: np.ndarray
    targets: np.ndarray
    sources: np.ndarray
    known: np.ndarray
    load: np.int32
    lengths: np.ndarray
    tokens: np.ndarray
    ages: np.ndarray
    left: np.ndarray
    uniform: np.ndarray
    clock: np.int32
    steps: np.int32
    ends: np.ndarray
    temperature: np.float32
    top_k: np.int32
    top_p: np.float32

    @classmethod
    def empty(
        cls, bucket: Bucket, sampling: Sampling, ends: Sequence[int]
    ) -> "Grid":
        """Returns a grid without prompts and paths."""
        grid = (bucket.slots, bucket.lanes)
        return cls(
            prompts=np.zeros((bucket.slots, bucket.input_length), "int32"),
            targets=np.zeros(bucket.slots, "int32"),
            sources=np.zeros(bucket.slots, "int32"),
            known=np.zeros(bucket.slots, "int32"),
            load=np.int32(0),
            lengths=np.zeros(bucket.slots, "int32"),
            tokens=np.zeros(grid, "int32"),
            ages=np.zeros(grid, "int32"),
            left=np.zeros(grid, "int32"),
            uniform=np.zeros((*grid, bucket.length), "float32"),
            clock=np.int32(0),
            steps=np.int32(0),
            ends=np.resize(np.array(ends, "int32"), _ENDS),
            temperature=np.float32(sampling.temperature),
            top_k=np.int32(sampling.top_k),
            top_p=np.float32(sampling.top_p),
        )


class DecodingProgram:
    """The compiled program of a bucket.

    Args:
        model: A `keras_flan.models.T5` or `DecoderOnly`.
        bucket: The `Bucket`.

    Attributes:
        compilations: How often it was compiled; once, unless the weights
            change their dtype or place. 0 on PyTorch, which runs eagerly.
    """

    def __init__(self, model: LanguageModel, bucket: Bucket):
        self.compilations = 0
        self._model = model
        self._bucket = bucket
        self._decoding = model.decoding
        self._run, self._lower = compiled(model, self.trace, uses_up=True)

    def compile(self) -> None:
        """Compiles on JAX, if that is still to be done.

        Compiling takes memory for a moment: before there are caches, the
        peak is lower. With a distribution the first call compiles, which
        knows where the caches lie.
        """
        if self.compilations or self._lower is None:
            return
        if keras.distribution.distribution() is not None:
            return
        import jax

        caches = self.empty_state(
            lambda _, shape, dtype: jax.ShapeDtypeStruct(shape, dtype)
        )
        with left_out("compiling"):
            lowered = self._lower(caches, self._empty_grid())
            # What making the model and tracing have freed isn't needed here.
            release_memory()
            lowered.compile()

    def empty_state(
        self, make: Callable[[str, tuple[int, ...], str], Any] | None = None
    ) -> State:
        """Returns caches without content.

        Args:
            make: A function of `"memory"` or `"past"`, a shape and a dtype,
                to make something else than zeros.
        """
        make, dtype = make or _zeros, self._shapes["dtype"]

        def filled(name: str, shapes: Any) -> Any:
            return each_layer(
                lambda pair: tuple(make(name, s, dtype) for s in pair), shapes
            )

        return {
            "memory": filled("memory", self._shapes["memory"]),
            "past": [filled("past", block) for block in self._shapes["past"]],
        }

    def __call__(
        self, state: State, grid: Grid
    ) -> tuple[State, np.ndarray, np.ndarray, np.ndarray]:
        """Runs a round.

        Args:
            state: The caches; on JAX the round uses them up.
            grid: A `Grid`; no block of the past may be full before its last
                step.

        Returns:
            The new caches; and as NumPy arrays int32 tokens and float32
            log-probabilities `(slots, lanes, length)`, and how many steps
            were taken.
        """
        if grid.clock % block_length(self._bucket.length) == 0:
            state = {**state, "past": turn(state["past"])}
        state, *made = self._run(state, vars(grid))
        tokens, gains, steps = map(ops.convert_to_numpy, made)
        return state, tokens, gains, steps

    @functools.cached_property
    def _shapes(self) -> dict[str, Any]:
        """Shapes of the caches, and their dtype."""
        bucket = self._bucket
        read = shaped(
            self._model,
            lambda grid: self._decoding.read(
                grid["prompts"][:1], grid["lengths"][:1]
            ),
        )(self._empty_grid())
        memory = each_layer(
            lambda pair: tuple(tuple(x.shape) for x in pair), read
        )
        shapes = cache_shapes(memory, bucket.slots, bucket.lanes, bucket.length)
        [dtype] = {
            keras.backend.standardize_dtype(x.dtype)
            for x in keras.tree.flatten(read)
        }
        return {**shapes, "dtype": dtype}

    def _empty_grid(self) -> dict[str, Any]:
        return vars(Grid.empty(self._bucket, Sampling(), ends=[0]))

    def trace(
        self, state: State, grid: dict[str, Tensor]
    ) -> tuple[State, Tensor, Tensor, Tensor]:
        """Runs a round as it is traced, to be compiled.

        Args:
            state: As for calling the program.
            grid: The fields of a `Grid`, tensors, by name.
        """
        if keras.backend.backend() != "torch":
            self.compilations += 1  # This is Python: it runs to be compiled.
        state, tokens, gains, steps = _round(
            self._decoding, self._bucket, state, grid
        )
        return _lay_out(state), tokens, gains, steps


def programs(model: LanguageModel) -> dict[Bucket, DecodingProgram]:
    """Returns the programs of a model so far; they are kept with it."""
    return programs_of(model, "decoding")


def program(model: LanguageModel, bucket: Bucket) -> DecodingProgram:
    """Returns the program of a bucket."""
    kept = programs(model)
    if bucket not in kept:
        kept[bucket] = DecodingProgram(model, bucket)
    return kept[bucket]


def compilations(model: LanguageModel) -> dict[Bucket, int]:
    """Returns how often each program of a model was compiled.

    A program serves every temperature, top-k, top-p, seed, stop string and
    number of new tokens that its bucket has room for.

    Example:
        >>> generate(model, ["What is 2 + 2?"], samples=4, temperature=0.7)
        >>> compilations(model)
        {Bucket(slots=1, lanes=4, input_length=32, length=128): 1}
    """
    return {
        bucket: program.compilations
        for bucket, program in programs(model).items()
    }


def _round(
    decoding: Decoding, bucket: Bucket, state: State, grid: dict[str, Tensor]
) -> tuple[State, Tensor, Tensor, Tensor]:
    """Reads the new prompts, then decodes; see `DecodingProgram.__call__`."""
    memory = ops.fori_loop(
        0,
        grid["load"],
        lambda i, memory: _read(decoding, memory, grid, i),
        state["memory"],
    )
    prepared = decoding.prepare(bucket.length)
    newest, *older = state["past"]

    def unfinished(step: Tensor, *carried: Any) -> Tensor:
        _, _, _, left, _, _ = carried
        return ops.logical_and(step < grid["steps"], ops.any(left > 0))

    def advance(step: Tensor, *carried: Any) -> tuple[Any, ...]:
        newest, tokens, ages, left, made, gains = carried
        logits, newest = decoding.step(
            {"memory": memory, "past": [newest, *older]},
            prepared,
            Fed(grid["lengths"], tokens, ages, grid["clock"] + step),
        )
        tokens, gain = choose(
            logits,
            ops.take(grid["uniform"], step, axis=2),
            *(grid[name] for name in ("temperature", "top_k", "top_p")),
        )
        where = (0, 0, step)
        made = ops.slice_update(made, where, tokens[..., None])
        gains = ops.slice_update(gains, where, gain[..., None])
        running = left > 0
        goes_on = ops.all(tokens[..., None] != grid["ends"], axis=-1)
        goes_on = ops.logical_and(running, goes_on)
        ages = ages + ops.cast(running, "int32")
        left = ops.where(goes_on, left - 1, 0)
        return step + 1, newest, tokens, ages, left, made, gains

    shape = (bucket.slots, bucket.lanes, bucket.length)
    steps, newest, _, _, _, made, gains = ops.while_loop(
        unfinished,
        advance,
        (
            ops.zeros((), "int32"),
            newest,
            grid["tokens"],
            grid["ages"],
            grid["left"],
            ops.zeros(shape, "int32"),
            ops.zeros(shape, "float32"),
        ),
    )
    return {"memory": memory, "past": [newest, *older]}, made, gains, steps


def _zeros(name: str, shape: tuple[int, ...], dtype: str) -> Tensor:
    return constrain(ops.zeros(shape, dtype), name)


def _lay_out(state: State) -> State:
    """Lays the caches out as the distribution in use says."""
    return {
        name: keras.tree.map_structure(
            lambda x, name=name: constrain(x, name), caches
        )
        for name, caches in state.items()
    }


def _read(
    decoding: Decoding, memory: Any, grid: dict[str, Tensor], number: Tensor
) -> Any:
    """Reads one prompt into its slot.

    One at a time: what is done is what there is to read. Of a causal model
    that is what no slot holds.
    """
    prompt = ops.take(grid["prompts"], number, axis=0)[None]
    slot = ops.take(grid["targets"], number, axis=0)
    length = ops.take(grid["lengths"], slot, axis=0)

    def put(held: Tensor, new: Tensor) -> Tensor:
        where = [0] * len(held.shape)
        where[-4] = slot
        return ops.slice_update(held, where, new)

    if decoding.causal:
        source = ops.take(grid["sources"], number, axis=0)
        known = ops.take(grid["known"], number, axis=0)
        new = _read_on(decoding, memory, prompt, length, source, known)
    else:
        new = decoding.read(prompt, length[None])
    return each_layer(lambda held, new: tuple(map(put, held, new)), memory, new)


def _read_on(
    decoding: Decoding,
    memory: Any,
    prompt: Tensor,
    length: Tensor,
    source: Tensor,
    known: Tensor,
) -> Any:
    """Reads a prompt from where a slot's begins to be another one.

    Block by block, which begin at the same places in all prompts: so a
    prompt's keys and values are the same whatever slot they come from.
    """
    places = prompt.shape[1]
    block = min(places, _read_block())

    def taken(held: Tensor) -> Tensor:
        where, shape = [0] * len(held.shape), list(held.shape)
        where[-4], shape[-4] = source, 1
        return ops.slice(held, where, shape)

    return ops.fori_loop(
        known // block,
        (length + block - 1) // block,
        lambda i, held: decoding.read_block(
            held, ops.slice(prompt, (0, i * block), (1, block)), i * block
        ),
        each_layer(lambda pair: tuple(map(taken, pair)), memory),
    )


def _read_block() -> int:
    """Returns how many tokens of a prompt are read at a time."""
    if keras.backend.backend() != "jax":
        return _BLOCK
    import jax

    return _BLOCK if jax.default_backend() == "cpu" else _DEVICE_BLOCK
