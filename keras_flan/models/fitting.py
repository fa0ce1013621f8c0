"""What is looked at before a model is fitted, evaluated or asked."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import keras

from keras_flan.errors import InputError


def check_devices(model: keras.Model, compiled: bool = True) -> None:
    """Refuses what lies on one device of a mesh of many.

    Args:
        model: Whose weights are looked at.
        compiled: Whether what `compile` made is looked at too.

    Raises:
        InputError: If one of them does so.
    """
    distribution = keras.distribution.distribution()
    if distribution is None or distribution.device_mesh.devices.size < 2:
        return
    state = []
    if compiled and model.compiled:
        made = getattr(model.optimizer, "variables", ())
        state = [*made, *model.metrics_variables]
    for variables, done, again in (
        (model.weights, "made", "make it afterwards"),
        (state, "compiled", "compile it afterwards, with a new optimizer"),
    ):
        for variable in variables:
            sharding = getattr(variable.value, "sharding", None)
            if len(getattr(sharding, "device_set", "  ")) < 2:
                raise InputError(
                    f"{variable.path}: lies on one device, and the "
                    f"distribution is of many: the model was {done} before "
                    f"`setup(...)`; {again}"
                )


def check_trained(model: keras.Model) -> None:
    """Refuses to train what is in few bits, and can't be trained."""
    if getattr(model, "adapters", ()):
        return
    for weight in model.weights:
        if weight.path.endswith("/codes"):
            raise InputError(
                f"{weight.path}: is in few bits, which can't be trained; add "
                "an adapter, such as by add_lora, or train before quantize"
            )


def by_parts(loss: Any) -> bool:
    """Whether a loss takes hidden states, and makes logits by parts."""
    return bool(getattr(loss, "projects", False))


@contextlib.contextmanager
def on_the_mesh(model: keras.Model) -> Iterator[None]:
    """Says what to do where JAX would speak of shardings.

    Raises:
        InputError: If the model lies on one device of many, or the mesh
            can't share out a batch.
    """
    check_devices(model)
    try:
        yield
    except ValueError as error:
        # JAX keeps the name to itself.
        if type(error).__name__ != "IndivisibleError":
            raise
        found = re.search(
            r"partitioned (\d+) times.*? size is (\d+)", str(error)
        )
        parts, rows = found.groups() if found else ("its devices", "another")
        raise InputError(
            f"a batch of {rows} rows: the mesh shares each batch out over "
            f"{parts}; leave a short last batch out (drop_remainder=True), or "
            f"take a batch size of which {parts} is a factor"
        ) from error
