"""What is looked at before a model is fitted, evaluated or asked."""

import contextlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import keras

from keras_flan.errors import InputError


def check_devices(weights: Iterable[Any]) -> None:
    """Refuses weights that lie on one device of a mesh of many."""
    distribution = keras.distribution.distribution()
    if distribution is None or distribution.device_mesh.devices.size < 2:
        return
    for weight in weights:
        sharding = getattr(weight.value, "sharding", None)
        if len(getattr(sharding, "device_set", "  ")) < 2:
            raise InputError(
                f"{weight.path}: lies on one device, and the distribution is "
                "of many: the model was made before `setup(...)`; make it "
                "afterwards"
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
def whole_batches() -> Iterator[None]:
    """Says of a batch that the mesh can't share out what to do about it."""
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
