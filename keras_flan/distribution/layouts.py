"""Which weight lies on which device: presets for the model families."""

import dataclasses
import math
from collections.abc import Callable, Iterable

import keras

from keras_flan.distribution.abstract import build_abstract
from keras_flan.distribution.mesh import BATCH, MODEL, PRESETS, Axes, Mesh
from keras_flan.errors import InputError, did_you_mean
from keras_flan.models.roles import Roles

# Activations by the names that the models give to `constrain`: what goes from
# layer to layer and what a block reads, both `(batch, length, embed)`; queries
# `(batch, length, heads, head)`, and those that all share one key head, whose
# attention is split by length; what is in front of the last projection, by
# heads or, if they can't be divided, by the width of each; the inside of a
# feed-forward block; tokens at their experts `(batch, experts, places, embed)`;
# logits `(batch, length, vocab)`; and, in decoding, the
# keys and values of prompts `(slots, heads, ...)` and of generated tokens
# `(slots, lanes, heads, ...)`.
_ACTIVATIONS = {
    "residual": (None, None),
    "block_input": (None, None),
    "queries": (None, "heads", None),
    "heads": (None, "heads", None),
    "head": (None, None, "heads"),
    "hidden": (None, "mlp"),
    "dispatched": ("experts", None, None),
    "one_key_queries": (None, None, None),
    "logits": (None, "vocab"),
    "memory": ("heads", None, None),
    "past": (None, "heads", None, None),
}


@dataclasses.dataclass(frozen=True)
class WeightLayout:
    """Where one weight lies.

    Attributes:
        path: The variable's path.
        shape: Its shape.
        dtype: Its dtype.
        axes: For each axis of the weight the axis of the mesh that it is
            split over, or `None`.
        note: Why something is not split that the preset would split.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    axes: tuple[str | None, ...]
    note: str = ""

    def bytes(self) -> int:
        """Returns the bytes of the whole weight."""
        item = keras.backend.standardize_dtype(self.dtype)
        return math.prod(self.shape) * _BYTES.get(item, 4)

    def bytes_per_device(self, mesh: Mesh) -> int:
        """Returns the bytes that each device holds."""
        return self.bytes() // math.prod(mesh.size(a) for a in self.axes if a)


_BYTES = {"bfloat16": 2, "float16": 2, "int8": 1, "uint8": 1, "float64": 8}


class Layouts(keras.distribution.LayoutMap):
    """A layout map that knows what each axis of a weight means.

    Works wherever `keras.distribution.LayoutMap` does. Entries that are
    added (`layouts["my_head/kernel"] = (None, "model")`, a regular
    expression) win over the preset. What has no role is on every device:
    counters, seeds, and weights that `check` will name.

    Args:
        mesh: A `keras.distribution.DeviceMesh`, or whatever `Mesh` takes;
            without real devices the layouts can be looked at, not used.
        preset: See `layout_map`.
        family: See `layout_map`.
        sequence: See `layout_map`.

    Attributes:
        mesh: The `Mesh`.
        preset: The preset's name.
        found: Path to `WeightLayout`, of all weights that were looked up.
        unknown: Path to shape, of weights that `check` found no role for.

    Example:
        >>> layouts = Layouts("batch=4,model=2", "fsdp+model")
        >>> layouts["my_head/kernel"] = (None, "model")
    """

    def __init__(
        self,
        mesh: Axes,
        preset: str = "fsdp",
        family: str | None = None,
        sequence: bool = False,
    ):
        real = isinstance(mesh, keras.distribution.DeviceMesh)
        super().__init__(mesh if real else None)
        self.mesh = Mesh(mesh)
        if preset not in PRESETS:
            raise InputError(
                f"preset {preset!r} is not known."
                f"{did_you_mean(preset, PRESETS)}"
            )
        self.preset = preset
        self.found: dict[str, WeightLayout] = {}
        self.unknown: dict[str, tuple[int, ...]] = {}
        self._roles = Roles(family)
        # Axes of the mesh that don't exist split nothing.
        self._split = {
            axis: over
            for axis, over in PRESETS[preset].items()
            if over in self.mesh
        }
        batch = BATCH if BATCH in self.mesh else None
        for name, named in _ACTIVATIONS.items():
            axes = tuple(axis and self._split.get(axis) for axis in named)
            by_length = name == "one_key_queries" or (
                name == "residual" and sequence
            )
            if by_length and self.uses(MODEL):
                axes = (MODEL, *axes[1:])
            self[f"activations/{name}"] = (batch, *axes)

    def uses(self, axis: str) -> bool:
        """Whether weights are split over an axis of the mesh."""
        return axis in self._split.values()

    def layout_of(
        self, path: str, shape: Iterable[int], dtype: str = "float32"
    ) -> WeightLayout | None:
        """Returns where a weight lies; `None` if its role is unknown.

        Args:
            path: The variable's `path`.
            shape: The variable's `shape`.
            dtype: The variable's `dtype`.

        Raises:
            InputError: If the path is known but not with so many axes.
        """
        shape = tuple(shape)
        given = super().__getitem__(path)
        if given is not None:
            layout = WeightLayout(path, shape, dtype, given.axes, "given")
        else:
            axes = self._roles.axes(path, shape)
            if axes is None:
                return None
            layout = WeightLayout(path, shape, dtype, *self._place(axes, shape))
        # T5 has two weights of one path; they also share a layout.
        self.found[path] = layout
        return layout

    def _place(
        self, axes: Iterable[str], shape: tuple[int, ...]
    ) -> tuple[tuple[str | None, ...], str]:
        """Returns the mesh axes of a weight, and what couldn't be split."""
        sizes = dict(zip(axes, shape, strict=True))
        split, notes = {}, []
        for axis, size in sizes.items():
            over = self._split.get(axis)
            if over is None:
                continue
            parts = self.mesh.size(over)
            if size % parts == 0:
                split[axis] = over
                continue
            note = f"{axis} {size} not divisible by {over}={parts}"
            # The largest kernels are not left whole: PaLM 540B has 48 heads.
            if axis == "heads" and sizes.get("head", 1) % parts == 0:
                split["head"] = over
                note += ", head split instead"
            notes.append(note)
        return tuple(split.get(axis) for axis in axes), "; ".join(notes)

    def __getitem__(self, path: str) -> keras.distribution.TensorLayout:
        given = super().__getitem__(path)
        if given is not None or path not in self.found:
            return given
        return keras.distribution.TensorLayout(
            self.found[path].axes, self.device_mesh
        )

    def check(self, model: keras.layers.Layer) -> "Layouts":
        """Looks up every weight of a model; returns itself.

        Args:
            model: A built model; its weights need not exist (see
                `layout_map`).

        Raises:
            InputError: If a weight that is trained has no role.
        """
        self.unknown = {
            variable.path: tuple(variable.shape)
            for variable in model.variables
            if _is_weight(variable)
            and not self.layout_of(
                variable.path, variable.shape, variable.dtype
            )
        }
        if self.unknown:
            path, shape = next(iter(self.unknown.items()))
            raise InputError(
                f"{path}: no layout is known for this weight of shape "
                f"{shape} ({len(self.unknown)} in all); give it one: "
                f"layouts[{path!r}] = {(None,) * len(shape)}"
            )
        return self


def layout_map(
    model: keras.layers.Layer | Callable[[], keras.layers.Layer] | str,
    mesh: Axes,
    preset: str = "fsdp",
    *,
    sequence: bool = False,
) -> Layouts:
    """Returns where the weights of a model lie on a mesh.

    | preset | weights | optimizer | when |
    |---|---|---|---|
    | `data` | on every device | on every device | the model fits a chip |
    | `fsdp` | their width over `batch` | the same | it doesn't, alone |
    | `model` | heads, feed-forward, vocabulary over `model` | the same | |
    | `fsdp+model` | both | the same | the largest |
    | `experts` | experts over `model`, the rest on every device | the same | \
experts alone are too many |

    `model` and `fsdp+model` split experts over `model` too: a device has some
    whole experts, and the tokens of its part of the batch go to all.

    The batch is split over `batch` in all of them. An axis that can't be
    divided is not split, which the table says (`print_layouts`). Weights of
    LoRA lie as the weights that they are for.

    Args:
        model: A model (`keras_flan.models.T5`, `DecoderOnly`), a keras-hub
            backbone, a function that builds one, or a family's name: `"t5"`,
            `"palm"`, `"llama"`, `"mistral"`, `"qwen"`, `"gemma"`. A function
            is called without making any weights, so models of any size can
            be looked at. A family's weights are looked up, and their shapes
            checked, when `keras_flan.distribution.ModelParallel` makes them.
        mesh: A `keras.distribution.DeviceMesh` or, only to look at,
            whatever `Mesh` takes.
        preset: See above.
        sequence: Whether what goes from layer to layer is split over `model`
            too, along the length. Saves memory in training.

    Returns:
        A `keras.distribution.LayoutMap`.

    Raises:
        InputError: If mesh or preset are wrong, or a weight has no role.

    Example:
        >>> build = lambda: T5.from_config_values(**sizes)
        >>> layouts = layout_map(build, "batch=4,model=2", "fsdp+model")
        >>> print_layouts(layouts)
        >>> layouts.layout_of("token_embedding/embeddings", (32128, 512)).axes
        ('model', 'batch')

    Source: the axes are split as in T5X and PaLM (arXiv:2204.02311, section
    4), where `batch` is called data.
    """
    if isinstance(model, str):
        return Layouts(mesh, preset, family=model, sequence=sequence)
    if not isinstance(model, keras.layers.Layer):
        model = build_abstract(model)
    return Layouts(mesh, preset, sequence=sequence).check(model)


def _is_weight(variable: keras.Variable) -> bool:
    """Whether it is no counter or seed, which are on every device."""
    numbers = keras.backend.is_float_dtype(variable.dtype)
    codes = variable.path.endswith("/codes")  # Of a kernel in few bits.
    return (numbers or codes) and len(variable.shape) > 0
