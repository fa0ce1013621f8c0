"""Chat templates from the library, from YAML files and from model folders."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydantic

from keras_flan.data.records.turns import Role
from keras_flan.data.templates.chat import (
    BEFORE,
    CONTENT,
    END,
    REPLY,
    START,
    WRITTEN,
    ChatTemplate,
    Pattern,
)
from keras_flan.data.templates.chat_jinja import from_config, read_config
from keras_flan.errors import InputError, did_you_mean
from keras_flan.schema import Strict, read_yaml, validate
from keras_flan.storage import as_path

LIBRARY = Path(__file__).parent / "chat_library"


class _ChatFile(Strict):
    name: str
    markers: list[str]
    inside: list[str] = pydantic.Field(default_factory=list)
    trim: list[Role] = pydantic.Field(default_factory=list)
    start: str = ""
    turns: dict[str, str]
    model_config = pydantic.ConfigDict(extra="allow", frozen=True)


def load_chat_template(
    source: str | os.PathLike | Mapping[str, Any] | ChatTemplate,
) -> ChatTemplate:
    """Returns a chat template.

    Args:
        source: The name of one in the library, such as `"chatml"`; the path
            of a YAML file of one; a folder, or its `tokenizer_config.json`,
            whose Jinja template is read (see `chat_jinja`); or what
            `ChatTemplate.to_dict` returned.

    Raises:
        InputError: If there is none, or it is broken.

    Example:
        >>> load_chat_template("gemma").markers
        ('<start_of_turn>', '<end_of_turn>', '<bos>')
    """
    if isinstance(source, ChatTemplate):
        return source
    if isinstance(source, Mapping):
        if "chat_template" in source:
            return from_config(source)
        return _template(source, str(source.get("name")))
    path = as_path(source)
    if path.suffix in (".yaml", ".yml"):
        return _template(read_yaml(path), str(path))
    if path.suffix == ".json" or path.is_dir():
        return load_chat_template(read_config(path))
    file = LIBRARY / f"{source}.yaml"
    if len(path.parts) > 1 or not file.is_file():
        raise InputError(
            f"no chat template {str(source)!r}."
            + did_you_mean(str(source), library_chat_templates())
            + " One of your own is given by its path, ending in .yaml; that "
            "of a model by its folder."
        )
    return _template(read_yaml(file), str(file))


def library_chat_templates() -> list[str]:
    """Returns the names of the chat templates in the library."""
    return sorted(path.name.removesuffix(".yaml") for path in LIBRARY.iterdir())


_KEY = re.compile(
    rf"({'|'.join(map(re.escape, sorted(WRITTEN, key=len, reverse=True)))})"
    rf"( after ({'|'.join(BEFORE)}))?"
)


def _template(values: Any, place: str) -> ChatTemplate:
    """Returns the template that a file describes."""
    file = validate(_ChatFile, values, place)
    named = {**file.turns, **(file.model_extra or {})}
    anywhere: dict[str, Pattern] = {}
    patterns: dict[tuple[str, str], Pattern] = {}
    for key, text in named.items():
        match = _KEY.fullmatch(key)
        if match is None or not isinstance(text, str):
            raise InputError(
                f"{place}: {key}: unknown key; expected system, user, "
                "assistant, last assistant, tool, end or reply, each also "
                "with `after` and what stands before it, such as `user after "
                "start`"
            )
        written, before = match[1], match[3]
        parts = text.split(CONTENT)
        expected = 1 if written in (END, REPLY) else 2
        if len(parts) != expected:
            raise InputError(
                f"{place}: {key}: expected {CONTENT} "
                f"{('nowhere', 'once')[expected - 1]}, found {text!r:.60}"
            )
        pattern = Pattern(parts[0], parts[-1] if expected == 2 else "")
        if before is None:
            anywhere[written] = pattern
        else:
            patterns[before, written] = pattern
    for written, pattern in anywhere.items():
        for before in BEFORE:
            if (written, before) not in (("end", START), ("reply", START)):
                patterns.setdefault((before, written), pattern)
    return ChatTemplate(
        file.name,
        tuple(sorted(file.markers, key=len, reverse=True)),
        patterns,
        file.start,
        tuple(file.trim),
        tuple(sorted(file.inside, key=len, reverse=True)),
    )
