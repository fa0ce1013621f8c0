"""What is noted beside a model's config: its bits, and that zeros stay."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_flan.errors import InputError
from keras_flan.files import read_json_object, write_json
from keras_flan.models.compression.places import (
    FILE,
    Record,
    prepare,
    record_of,
)
from keras_flan.models.compression.pruning import note_pruned
from keras_flan.runtime.keras_hub import keras_hub


def note(backbone: Any, folder: Path) -> None:
    """Writes beside a model's config what is in few bits, and kept at 0."""
    note_pruned(backbone, folder)
    if record := record_of(backbone):
        write_json(folder / FILE, {"format": 1, "weights": record})


@contextlib.contextmanager
def as_noted(folder: Path) -> Iterator[Record]:
    """Has keras-hub read the weights of a folder in the bits they are in.

    Yields:
        What is in few bits.
    """
    record = _noted(folder / FILE)
    hub = keras_hub.models.Backbone
    load = hub.load_weights

    def load_weights(backbone: Any, *args: Any, **kwargs: Any) -> None:
        prepare(backbone, record)
        load(backbone, *args, **kwargs)

    if record:
        hub.load_weights = load_weights
    try:
        yield record
    finally:
        hub.load_weights = load


def _noted(path: Path) -> Record:
    if not path.is_file():
        return {}
    noted = read_json_object(path)
    try:
        record = {
            str(name): (int(bits), int(group))
            for name, (bits, group) in noted["weights"].items()
        }
        if noted["format"] != 1 or any(g < 1 for _, g in record.values()):
            raise ValueError("another format")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: not what this version writes ({error}); write the model "
            "again"
        ) from None
    return record
