"""What the projections of a model are given, for batches of text."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_flan.errors import InputError
from keras_flan.models.adapters.equations import ends_of, equation_of
from keras_flan.models.adapters.targets import projections
from keras_flan.models.stacking import StackedKernel, unrolled

# What is read of a mixture: tokens of a row, rows of a batch, and batches.
_INPUT, _TARGET, _ROWS, _BATCHES = 512, 128, 4, 8
# As tf.data says it of a dataset.
_ENDLESS = -1


class Block(NamedTuple):
    """The projections of a layer.

    Args:
        names: As in `projections`.
        number: The layer's place in a stack; `None` if it stands alone.
    """

    names: tuple[str, ...]
    number: int | None


def blocks_of(backbone: Any) -> list[Block]:
    """Returns the layers of a backbone, in the order in which they run."""
    layers: dict[str, list[str]] = {}
    depth: dict[str, int] = {}
    for name, layer in projections(backbone).items():
        parts = name.split(".")
        key = ".".join(parts[: 1 + parts[1].isdigit()])
        layers.setdefault(key, []).append(name)
        if isinstance(layer, StackedKernel):
            depth[key] = layer.kernel.shape[0]
    return [
        Block(tuple(names), number)
        for key, names in layers.items()
        for number in (range(depth[key]) if key in depth else [None])
    ]


def packed_batches(mixture: str, model: Any) -> list[Any]:
    """Returns batches of a mixture to calibrate a model by.

    Args:
        mixture: As `Mixture.from_yaml` takes it.
        model: With its vocabulary.

    Raises:
        InputError: If the model has no vocabulary, or the mixture is broken.
    """
    from keras_flan.data.mixtures.mixture import Mixture
    from keras_flan.data.pipeline.pipeline import build_dataset

    if model.vocabulary is None:
        raise InputError("calibration: the model has no vocabulary")
    dataset = build_dataset(
        Mixture.from_yaml(mixture),
        model.vocabulary,
        input_length=_INPUT,
        target_length=_TARGET,
        batch_size=_ROWS,
        decoder_only=model.decoder_only,
    )
    return list(dataset.take(_BATCHES).as_numpy_iterator())


def finite(calibration: Iterable[Any] | None) -> list[Any]:
    """Returns the batches of a calibration, `None` for none.

    Raises:
        InputError: If they have no end, as a dataset for `fit` has none.
    """
    cardinality = getattr(calibration, "cardinality", None)
    if cardinality is not None and int(cardinality()) == _ENDLESS:
        raise InputError(
            "calibration: found a dataset without an end; take some batches "
            "of it, as dataset.take(8)"
        )
    return list(calibration or ())


class _Enough(Exception):
    """The layer has been run; those behind it need not be."""


def block_inputs(
    model: Any, batches: list[Any], block: Block
) -> dict[str, np.ndarray]:
    """Returns X^T X of what each projection of a layer is given.

    The model runs as far as the layer, operation by operation, without
    dropout. Padding counts as what it is to the model; give packed rows.

    Args:
        model: A language model.
        batches: What `fit` takes: inputs, or tuples that begin with them.
        block: The layer.

    Returns:
        float64 `(inputs, inputs)` by name, the axes of inputs in one, in the
        order of the kernel.

    Raises:
        InputError: If there are no batches.
    """
    if not batches:
        raise InputError("calibration: found no batches, expected at least one")
    layers = projections(model.backbone)
    sums: dict[str, np.ndarray] = {}
    left: set[str] = set()

    def see(name: str, number: int | None, x: Any) -> None:
        if number != block.number:
            return
        flat = flat_inputs(equation_of(layers[name]), x)
        sums[name] = sums.get(name, 0) + flat.T @ flat
        left.discard(name)

    def passed() -> None:
        if not left:
            raise _Enough

    watched = {name: layers[name] for name in block.names}
    for batch in batches:
        left |= set(block.names)
        inputs = batch[0] if isinstance(batch, tuple | list) else batch
        with (
            _watched(watched, see, passed),
            _kept(model),
            unrolled(),
            contextlib.suppress(_Enough),
        ):
            model.hidden(inputs, training=False)
    return sums


def flat_inputs(equation: str, x: Any) -> np.ndarray:
    """Returns the inputs of a projection as `(examples, inputs)`, float64."""
    array = np.asarray(ops.convert_to_numpy(ops.cast(x, "float32")), "float64")
    axes = equation.split(",")[0]
    inputs, _ = ends_of(equation)
    if axes.startswith("..."):
        return array.reshape(-1, array.shape[-1])
    order = [i for i, axis in enumerate(axes) if axis not in inputs]
    sizes = [array.shape[axes.index(axis)] for axis in inputs]
    order += [axes.index(axis) for axis in inputs]
    return array.transpose(order).reshape(-1, int(np.prod(sizes)))


@contextlib.contextmanager
def _watched(
    layers: dict[str, Any],
    see: Callable[[str, int | None, Any], None],
    passed: Callable[[], None],
) -> Iterator[None]:
    """Shows the inputs of layers, and tells when each has run."""
    with contextlib.ExitStack() as undo:
        for name, layer in layers.items():
            method = "call"
            if isinstance(layer, StackedKernel):
                method = "project"
            own = layer.__dict__.get(method)
            inner, runs = getattr(layer, method), [0]

            def watching(
                x: Any,
                *args: Any,
                name: str = name,
                layer: Any = layer,
                inner: Any = inner,
                runs: list[int] = runs,
                **kwargs: Any,
            ) -> Any:
                stacked = isinstance(layer, StackedKernel)
                see(name, runs[0] if stacked else None, x)
                runs[0] += 1
                passed()
                return inner(x, *args, **kwargs)

            layer.__dict__[method] = watching

            def restore(
                layer: Any = layer, method: str = method, own: Any = own
            ) -> None:
                layer.__dict__.pop(method)
                if own is not None:
                    layer.__dict__[method] = own

            undo.callback(restore)
        yield


@contextlib.contextmanager
def _kept(model: Any) -> Iterator[None]:
    """Runs a model without computing anything again, which hides numbers."""
    before = model.remat
    model.remat = False
    try:
        yield
    finally:
        model.remat = before
