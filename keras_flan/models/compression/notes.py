"""What is noted beside a model's config: bits, experts, that zeros stay."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from keras_flan.errors import InputError
from keras_flan.files import read_json_object, write_json
from keras_flan.models.backbones import copy_backbone
from keras_flan.models.compression import places
from keras_flan.models.compression.pruning import note_pruned
from keras_flan.models.experts import upcycling
from keras_flan.runtime.keras_hub import keras_hub


class _Kind(NamedTuple):
    """A way in which a backbone's weights are not those of its class.

    Args:
        file: Its record's, beside a model's config.
        key: Of the record in the file.
        record_of: Returns the record of a backbone; nothing if it is plain.
        parse: Makes a record of what was read.
        prepare: Has a plain backbone take such weights.
    """

    file: str
    key: str
    record_of: Callable[[Any], Mapping[str, Any]]
    parse: Callable[[Any], Mapping[str, Any]]
    prepare: Callable[[Any, Any], None]


# By their names in `.keras` files; a backbone is prepared in this order.
_KINDS = {
    "experts": _Kind(
        upcycling.FILE,
        "experts",
        upcycling.record_of,
        upcycling.parse,
        upcycling.prepare,
    ),
    "quantised": _Kind(
        places.FILE, "weights", places.record_of, places.parse, places.prepare
    ),
}
# Those that a backbone has, and their records.
Forms = dict[str, Mapping[str, Any]]


def forms_of(backbone: Any) -> Forms:
    """Returns in which ways a backbone's weights are not plain."""
    found = {name: kind.record_of(backbone) for name, kind in _KINDS.items()}
    return {name: record for name, record in found.items() if record}


def taken_forms(config: dict[str, Any]) -> Forms:
    """Takes what `forms_of` returned out of a larger dictionary."""
    return {name: config.pop(name) for name in _KINDS if name in config}


def prepare(backbone: Any, forms: Forms) -> None:
    """Makes a plain backbone take the weights of one with such forms."""
    for name, kind in _KINDS.items():
        if name in forms:
            kind.prepare(backbone, forms[name])


def prepare_fewer(backbone: Any, forms: Forms) -> None:
    """As `prepare`, of a backbone that has fewer layers than the other."""
    if held := forms.get("quantised"):
        known = places.places(backbone)
        held = {name: its for name, its in held.items() if name in known}
        forms = {**forms, "quantised": held}
    prepare(backbone, forms)


def copied(backbone: Any, **changes: Any) -> Any:
    """As `copy_backbone`, in the same forms."""
    forms = forms_of(backbone)
    return copy_backbone(backbone, lambda copy: prepare(copy, forms), **changes)


def note(backbone: Any, folder: Path) -> None:
    """Writes beside a model's config its forms, and that zeros are kept.

    What an earlier model of the folder had noted goes.
    """
    note_pruned(backbone, folder)
    forms = forms_of(backbone)
    for name, kind in _KINDS.items():
        if name in forms:
            noted = {"format": 1, kind.key: forms[name]}
            write_json(folder / kind.file, noted)
        else:
            (folder / kind.file).unlink(missing_ok=True)


@contextlib.contextmanager
def as_noted(folder: Path) -> Iterator[Forms]:
    """Has keras-hub read the weights of a folder in the forms they are in.

    Yields:
        The forms.
    """
    found = {n: _noted(folder / k.file, k) for n, k in _KINDS.items()}
    forms = {name: record for name, record in found.items() if record}
    hub = keras_hub.models.Backbone
    load = hub.load_weights

    def load_weights(backbone: Any, *args: Any, **kwargs: Any) -> None:
        prepare(backbone, forms)
        load(backbone, *args, **kwargs)

    if forms:
        hub.load_weights = load_weights
    try:
        yield forms
    finally:
        hub.load_weights = load


def _noted(path: Path, kind: _Kind) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    noted = read_json_object(path)
    try:
        if noted["format"] != 1:
            raise ValueError("another format")
        return kind.parse(noted[kind.key])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: not what this version writes ({error}); write the model "
            "again"
        ) from None
