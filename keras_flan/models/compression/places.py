"""Where a model's kernels and embeddings are, and which are in few bits."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from keras_flan.errors import InputError
from keras_flan.models.adapters.equations import axes_of, ends_of, equation_of
from keras_flan.models.adapters.targets import projections
from keras_flan.models.compression.codes import Form
from keras_flan.models.compression.quantised import (
    Quantised,
    attribute_of,
    cover,
    made_like,
    swap,
    variables_of,
)

# Beside a model's config.
FILE = "quantised.json"
_EMBEDDINGS = ("token_embedding", "decoder_token_embedding")
# Name of a weight to its bits and the size of its groups.
Record = Mapping[str, tuple[int, int]]


class Place(NamedTuple):
    """Where a kernel or an embedding is.

    Args:
        layer: Its owner.
        attribute: Its name there.
        axis: Along which its groups lie, counted from its end.
        coarse: Whether 4 bits are too few.
    """

    layer: Any
    attribute: str
    axis: int
    coarse: bool = False

    @property
    def value(self) -> Any:
        """The variable, or the `Quantised`."""
        return getattr(self.layer, self.attribute)


def places(backbone: Any) -> dict[str, Place]:
    """Returns the projections and embeddings of a backbone, by name."""
    found = {}
    for name, layer in projections(backbone).items():
        equation = equation_of(layer)
        inputs, kernel = ends_of(equation)[0], axes_of(equation)[1]
        axis = kernel.index(inputs[-1]) - len(kernel)
        found[name] = Place(layer, attribute_of(layer), axis)
    for name in _EMBEDDINGS:
        layer = getattr(backbone, name, None)
        if layer is None:
            continue
        found[name] = Place(layer, "_embeddings", -1, coarse=True)
        if hasattr(layer, "reverse_embeddings"):
            head = Place(layer, "reverse_embeddings", -2, coarse=True)
            found[f"{name}.reverse"] = head
    return found


def put(place: Place, form: Form) -> Quantised:
    """Makes room for few bits in the place of a variable."""
    made = made_like(place.value, form)
    swap(place.layer, place.attribute, made)
    if place.attribute != "kernel":  # `StackedKernel` knows by itself.
        cover(place.layer)
    return made


def record_of(backbone: Any) -> dict[str, tuple[int, int]]:
    """Returns bits and groups of what is in few bits, by name."""
    return {
        name: (kernel.form.bits, kernel.form.group)
        for name, kernel in _quantised(backbone).items()
    }


def in_few_bits(backbone: Any) -> dict[int, Quantised]:
    """Returns what is in few bits, by the ids of its variables."""
    return {
        id(variable): kernel
        for kernel in _quantised(backbone).values()
        for variable in variables_of(kernel)
    }


def _quantised(backbone: Any) -> dict[str, Quantised]:
    try:
        found = places(backbone)
    except InputError:  # A family without a table of projections.
        return {}
    return {
        name: place.value
        for name, place in found.items()
        if isinstance(place.value, Quantised)
    }


def refuse_experts(backbone: Any, what: str) -> None:
    """Refuses a model for what knows nothing of experts.

    They are most of its weights, and would be left as they are.

    Args:
        backbone: Any backbone.
        what: The function that is asked, for the message.

    Raises:
        InputError: If there are experts.
    """
    if any("expert" in variable.path for variable in backbone.variables):
        raise InputError(
            f"{what}: the layers of this {type(backbone).__name__} have "
            f"experts, which {what} can't take; take a model without experts"
        )


def parse(values: Any) -> dict[str, tuple[int, int]]:
    """Returns a record of what its JSON holds; `ValueError` if it is none."""
    record = {
        str(name): (int(bits), int(group))
        for name, (bits, group) in values.items()
    }
    if any(group < 1 for _, group in record.values()):
        raise ValueError("groups of none")
    return record


def prepare(backbone: Any, record: Record) -> None:
    """Makes a backbone's weights take few bits, which are read next.

    Args:
        backbone: One whose weights are whole.
        record: Of `record_of`.

    Raises:
        InputError: If the record is of another model.
    """
    found = places(backbone)
    for name, (bits, group) in record.items():
        place = found.get(name)
        size = 0 if place is None else place.value.shape[place.axis]
        if place is None or size % group or bits not in (4, 8):
            raise InputError(
                f"{FILE}: names {name!r} in {bits} bits and groups of {group}, "
                f"which this {type(backbone).__name__} can't have; write the "
                "model again"
            )
        put(place, Form(bits, group, place.axis))


def stacked_record(record: Record) -> dict[str, tuple[int, int]]:
    """Returns a record of layers one by one as that of stacked layers.

    Raises:
        InputError: If the layers differ.
    """
    found: dict[str, tuple[int, int]] = {}
    for name, held in record.items():
        side, *rest = name.split(".")
        if rest and rest[0].isdigit():
            name = ".".join([side, *rest[1:]])
        if found.setdefault(name, held) != held:
            raise InputError(
                f"scan: the layers of {name} are in different bits, and can't "
                "be stacked; load without scan"
            )
    return found


def whole_record(record: Record, layers: int) -> dict[str, tuple[int, int]]:
    """Undoes `stacked_record`."""
    return {
        key: held
        for name, held in record.items()
        for key in (
            [name]
            if name.startswith(_EMBEDDINGS)
            else [
                name.replace(".", f".{number}.", 1) for number in range(layers)
            ]
        )
    }
