"""Parts of a JSON schema in plain words."""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from keras_flan.reference.schemas import Schema

Defs: TypeAlias = Mapping[str, Schema]
Form: TypeAlias = Literal["", "one", "named", "listed"]

_EMPTY = '`""`'
_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "null": "null",
}
_BOUNDS = {
    "exclusiveMinimum": "above",
    "minimum": "from",
    "exclusiveMaximum": "below",
    "maximum": "up to",
}


def words_of(key: Schema, defs: Defs) -> str:
    """Returns what values a key takes, in words.

    Example:
        >>> words_of({"type": "integer", "exclusiveMinimum": 0}, {})
        'whole number above 0'
    """
    key = _resolved(key, defs)
    if "anyOf" in key:
        parts = (words_of(part, defs) for part in key["anyOf"])
        return " or ".join(dict.fromkeys(parts))
    if "const" in key:
        return f"`{key['const']}`"
    if "enum" in key:
        return ", ".join(
            f"`{value}`" if value else _EMPTY for value in key["enum"]
        )
    if key.get("type") == "array":
        items = words_of(key.get("items", {}), defs)
        return f"list of ({items})" if " or " in items else f"list of {items}"
    if key.get("type") == "object":
        return _object(key, defs)
    words = _TYPES.get(key.get("type", ""), "any value")
    if key.get("format") == "path":
        words = "path"
    limits = [f"{w} {key[k]:g}" for k, w in _BOUNDS.items() if k in key]
    return " ".join([words, *limits])


def _object(key: Schema, defs: Defs) -> str:
    if "properties" in key:
        return f"keys of {key['title']}"
    held = key.get("additionalProperties")
    # `true` stands for any value.
    values = words_of(held if isinstance(held, dict) else {}, defs)
    names = _resolved(key.get("propertyNames") or {}, defs)
    return f"{values} by {names.get('title', 'name').lower()}"


def text_of(key: Schema, defs: Defs) -> str:
    """Returns what a key is for: its own text, or that of what it holds."""
    text = key.get("description", "")
    _, inner = inner_of(key, defs)
    if inner is not None and text.startswith("See `"):
        rest = text.partition("; ")[2]
        return " ".join([inner["description"], _capital(rest)]).strip()
    return text


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def inner_of(key: Schema, defs: Defs) -> tuple[Form, Schema | None]:
    """Returns the object that a key holds, if it holds one.

    Returns:
        The schema of the object, and whether the key holds `one`, several
        that are `named`, or several that are `listed`.
    """
    key = _resolved(key, defs)
    for part in key.get("anyOf", ()):
        form, inner = inner_of(part, defs)
        if inner is not None:
            return form, inner
    if "properties" in key:
        return "one", key
    for name, form in _HOLDS.items():
        inside = key.get(name)
        if isinstance(inside, dict):
            found, inner = inner_of(inside, defs)
            if found == "one":
                return form, inner
    return "", None


_HOLDS: Mapping[str, Form] = {
    "additionalProperties": "named",
    "items": "listed",
}


def _resolved(key: Any, defs: Defs) -> Schema:
    """Follows a reference."""
    if "$ref" not in key:
        return key
    return defs[key["$ref"].rpartition("/")[2]]
