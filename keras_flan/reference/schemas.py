"""JSON schemas of the files, with what the docstrings say about each key."""

import typing
from collections.abc import Iterator
from typing import Any, TypeAlias

import pydantic
from pydantic_core import PydanticUndefined, to_jsonable_python

from keras_flan.reference.docstrings import field_texts, summary
from keras_flan.reference.files import ConfigFile

ModelType: TypeAlias = type[pydantic.BaseModel]
# A JSON schema, or a part of one.
Schema: TypeAlias = dict[str, Any]


def model_of(file: ConfigFile) -> ModelType:
    """Returns the model that a file is read by."""
    if file is ConfigFile.train:
        from keras_flan.training.config import TrainConfig

        return TrainConfig
    if file is ConfigFile.mixture:
        from keras_flan.data.mixtures.entries import MixtureFile

        return MixtureFile
    if file is ConfigFile.template:
        from keras_flan.data.templates.library import FamilyFile

        return FamilyFile
    from keras_flan.evaluation.benchmarks.protocols import PromptProtocol

    return PromptProtocol


def json_schema(file: ConfigFile) -> Schema:
    """Returns the JSON schema (draft 2020-12) of a file.

    An editor with a YAML language server checks and completes a file that
    begins with `# yaml-language-server: $schema=train.schema.json`.

    Args:
        file: Which one.

    Example:
        >>> schema = json_schema(ConfigFile.train)
        >>> schema["properties"]["steps"]["default"]
        1000
    """
    model = model_of(file)
    schema = model.model_json_schema(mode="validation")
    told = {one.__name__: one for one in models_in(model)}
    _describe(schema, model)
    for name, part in schema.get("$defs", {}).items():
        if name in told:
            _describe(part, told[name])
        elif "enum" in part:
            part.pop("description", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def models_in(
    model: type[pydantic.BaseModel],
) -> list[type[pydantic.BaseModel]]:
    """Returns the models that the keys of a model hold, at any depth."""
    found: dict[ModelType, None] = {}
    open_ = [model]
    while open_:
        for field in open_.pop().model_fields.values():
            for one in _models(field.annotation):
                if one not in found and one is not model:
                    found[one] = None
                    open_.append(one)
    return list(found)


def _models(annotation: Any) -> Iterator[ModelType]:
    if isinstance(annotation, type) and issubclass(
        annotation, pydantic.BaseModel
    ):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _models(part)


def _describe(schema: Schema, model: ModelType) -> None:
    """Puts in what the docstring says, and defaults that are left out."""
    schema["title"] = model.__name__.lstrip("_")
    schema["description"] = summary(model)
    texts = field_texts(model)
    for name, field in model.model_fields.items():
        key = schema["properties"][name]
        key.pop("title", None)
        if name in texts:
            key["description"] = texts[name].replace("`None`", "`null`")
        default = field.get_default(call_default_factory=True)
        if default is not PydanticUndefined:
            key["default"] = to_jsonable_python(default)
