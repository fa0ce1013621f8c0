"""Reading YAML into pydantic models, with errors a person can act on."""

import os
import re
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pydantic
import yaml
from pydantic_core import ErrorDetails, PydanticCustomError

from keras_flan.errors import InputError, did_you_mean
from keras_flan.files import read_text
from keras_flan.storage import as_path

Model = TypeVar("Model", bound=pydantic.BaseModel)
# Of a YAML file: its length, and its values with the aliases written out.
_MAX_LENGTH, _MAX_VALUES = 1_000_000, 200_000
_MAX_BITS = 1024  # of a whole number: what is larger is no float either
_MAX_FAULTS = 10  # that are told at once
_SIXTIES = re.compile(r"[-+]?[0-9][0-9_]*(:[0-9]+)+(\.[0-9_]*)?$")


def _path(value: Any) -> Path:
    if isinstance(value, str | os.PathLike):
        return as_path(value)
    raise PydanticCustomError("path_type", "Input is not a valid path")


# The type of a key that holds a path, local or in a bucket.
AnyPath = Annotated[
    Path,
    pydantic.PlainValidator(
        _path,
        json_schema_input_type=Annotated[
            str, pydantic.WithJsonSchema({"type": "string", "format": "path"})
        ],
    ),
    pydantic.PlainSerializer(str, when_used="json"),
]


class Strict(pydantic.BaseModel):
    """A model that refuses keys it doesn't know, and numbers without end."""

    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False
    )


class _Loader(yaml.SafeLoader):
    """`yaml.SafeLoader` that refuses a key given twice, and reads no sixties.

    YAML takes the last of two equal keys in silence, which loses half of a
    mixture when two groups are given the same name; and `10:20` as a number
    to the base of 60, 620. Its aliases let a few lines stand for billions.
    """

    def get_single_data(self) -> Any:
        try:
            node = self.get_single_node()
            if node is None:
                return None
            if _written_out(node, {}) > _MAX_VALUES:
                raise _fault(
                    f"its aliases stand for more than {_MAX_VALUES:,} values",
                    node,
                )
            return self.construct_document(node)
        except RecursionError:
            raise yaml.YAMLError("nested too deeply") from None

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
            if type(value) is int and value.bit_length() > _MAX_BITS:
                raise ValueError("a number of more digits than any setting")
            return value
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            # Of a number or a date, such as 2024-13-01.
            raise _fault(f"{error}", node) from None

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise _fault(f"the key {key.value!r} is given twice", key)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


# What comes first is tried first.
_Loader.yaml_implicit_resolvers = {
    start: [("tag:yaml.org,2002:str", _SIXTIES), *resolvers]
    for start, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _fault(problem: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(
        problem=problem, problem_mark=node.start_mark
    )


def _written_out(node: yaml.Node, known: dict[yaml.Node, int]) -> int:
    """Returns how many values a node is when its aliases are written out."""
    if node in known:
        if not known[node]:
            raise _fault("it holds itself", node)
        return known[node]
    known[node] = 0
    number = 1
    if isinstance(node, yaml.SequenceNode):
        number += sum(_written_out(part, known) for part in node.value)
    elif isinstance(node, yaml.MappingNode):
        for pair in node.value:
            number += sum(_written_out(part, known) for part in pair)
    known[node] = number
    return number


def read_yaml(path: str | os.PathLike) -> Any:
    """Returns the content of a YAML file.

    Raises:
        InputError: With line and column, if the file is missing, isn't YAML,
            gives a key twice or is larger than any config.
    """
    text = read_text(path)
    if len(text) > _MAX_LENGTH:
        raise InputError(
            f"{path}: expected up to {_MAX_LENGTH:,} characters of YAML, found "
            f"{len(text):,}; give the right file, or split it"
        )
    try:
        return parse_yaml(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or " ".join(
            str(error).split()
        )
        raise InputError(f"{path}{place}: not valid YAML: {problem}") from None


def parse_yaml(text: str) -> Any:
    """Returns a YAML value, as `read_yaml` reads it.

    Raises:
        yaml.YAMLError: If it is none.

    Example:
        >>> parse_yaml("[1, 10:20]")
        [1, '10:20']
    """
    return _Loader(text).get_single_data()


def validate(model: type[Model], data: Any, place: str) -> Model:
    """Returns `data` as a `model`.

    Args:
        model: A pydantic model class.
        data: What `read_yaml` returned.
        place: Where the data come from, to begin the message with.

    Raises:
        InputError: A line per wrong key, with the place, the path of the key,
            what was found and what was expected.

    Example:
        >>> class Config(Strict):
        ...     steps: int = 100
        >>> validate(Config, {"stesp": 3}, "train.yaml")
        InputError: train.yaml: stesp: unknown key. Did you mean 'steps'?
    """
    if not isinstance(data, dict):
        found = "nothing" if data is None else f"a {type(data).__name__}"
        raise InputError(
            f"{place}: expected keys and values ("
            f"{', '.join(model.model_fields)}), found {found}"
        )
    try:
        return model.model_validate(data)
    except pydantic.ValidationError as error:
        faults = error.errors(include_url=False)
    except (RecursionError, OverflowError) as error:
        raise InputError(f"{place}: nested too deeply ({error})") from None
    told = [
        f"{place}: {_describe(model, fault)}"
        for fault in _distinct(faults, data)
    ]
    if len(told) > _MAX_FAULTS:
        rest = len(told) - _MAX_FAULTS
        told[_MAX_FAULTS:] = [f"{place}: and {rest} more"]
    raise InputError("\n".join(told))


def _distinct(faults: Sequence[ErrorDetails], data: Any) -> list[ErrorDetails]:
    """Returns one fault per key, misspelt ones first."""
    by_key: dict[tuple[int | str, ...], ErrorDetails] = {}
    for fault in faults:
        by_key.setdefault(_key(fault, data), fault)
    misspelt = [k for k, f in by_key.items() if f["type"] == "extra_forbidden"]

    def is_told(key: tuple[int | str, ...]) -> bool:
        # A value that may be of several kinds is wrong as each of them; and a
        # misspelt key is often also a missing one.
        inside = any(k[: len(key)] == key and k != key for k in by_key)
        return inside or (
            by_key[key]["type"] == "missing"
            and any(
                k[:-1] == key[:-1] and did_you_mean(str(k[-1]), [str(key[-1])])
                for k in misspelt
            )
        )

    others = [k for k in by_key if k not in misspelt and not is_told(k)]
    return [{**by_key[k], "loc": k} for k in [*misspelt, *others]]


def _key(fault: ErrorDetails, data: Any) -> tuple[int | str, ...]:
    """Returns where a fault is in the data; pydantic adds names of types."""
    key: list[int | str] = []
    *before, last = fault["loc"] or [""]
    for part in before:
        if isinstance(part, int):  # A single value may stand for a list.
            data = data[part] if isinstance(data, list) else data
        elif isinstance(data, dict) and part in data:
            data = data[part]
        else:
            continue
        key.append(part)
    known = isinstance(last, int) or (isinstance(data, dict) and last in data)
    return (*key, last) if known or fault["type"] == "missing" else tuple(key)


def _describe(model: type[pydantic.BaseModel], error: ErrorDetails) -> str:
    location = error["loc"]
    key = ".".join(str(part) for part in location if part != "[key]")
    if error["type"] == "extra_forbidden":
        known = _model_at(model, location[:-1]).model_fields
        return f"{key}: unknown key." + did_you_mean(str(location[-1]), known)
    if error["type"] == "missing":
        return f"{key}: this key is missing; add it"
    if error["type"] == "value_error":
        # The check of a whole file has no key.
        return f"{key}: {error['ctx']['error']}".removeprefix(": ")
    found = repr(error["input"])
    found = found if len(found) <= 60 else found[:57] + "..."
    if error["type"] == "enum":
        names = error["ctx"]["expected"].replace(" or ", ", ").split(", ")
        hint = did_you_mean(str(error["input"]), [n.strip("'") for n in names])
        return f"{key}: {found} is not one of the allowed names.{hint}"
    if error["type"] == "model_type":
        keys = ", ".join(_model_at(model, location).model_fields)
        return f"{key}: found {found}; expected keys and values ({keys})"
    message = error["msg"][0].lower() + error["msg"][1:]
    return f"{key}: found {found}; {message}"


def _model_at(
    model: type[pydantic.BaseModel], location: Sequence[int | str]
) -> type[pydantic.BaseModel]:
    """Follows a location through lists and mappings to the model there."""
    for part in location:
        if part in model.model_fields:
            field = model.model_fields[part].annotation
            model = _find_model(field) or model
    return model


def _find_model(annotation: Any) -> type[pydantic.BaseModel] | None:
    if isinstance(annotation, type) and issubclass(
        annotation, pydantic.BaseModel
    ):
        return annotation
    found = map(_find_model, typing.get_args(annotation))
    return next((model for model in found if model), None)
