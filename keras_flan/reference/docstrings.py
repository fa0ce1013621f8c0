"""What docstrings say about a class and its fields."""

import inspect
import re

_SECTION = re.compile(r"^(Args|Attributes):$")
_BREAK = re.compile(r"(Args|Attributes|Raises|Example|Source|Reference)\b.*:")
_ENTRY = re.compile(r"^    (\w+): (.*)$")


def summary(owner: type) -> str:
    """Returns the text of a class before what it says of its fields.

    Example:
        >>> summary(AdapterConfig)
        "An adapter to train instead of the model's weights."
    """
    lines = []
    for line in inspect.cleandoc(owner.__doc__ or "").split("\n"):
        if re.match(
            r"^(Args|Attributes|Raises|Example|Source|Reference)", line
        ):
            break
        lines.append(line)
    paragraphs = "\n".join(lines).strip().split("\n\n")
    return "\n\n".join(" ".join(text.split()) for text in paragraphs)


def field_texts(owner: type) -> dict[str, str]:
    """Returns what a class and its bases say about each of their fields.

    Example:
        >>> field_texts(AdapterConfig)["rank"]
        "LoRA's rank."
    """
    texts: dict[str, str] = {}
    for base in reversed(owner.__mro__):
        texts |= _own_texts(base)
    return texts


def _own_texts(owner: type) -> dict[str, str]:
    if "__doc__" not in vars(owner):
        return {}
    found: dict[str, list[str]] = {}
    inside, entry = False, None
    for line in inspect.cleandoc(owner.__doc__ or "").split("\n"):
        if _SECTION.match(line):
            inside, entry = True, None
        elif inside and (match := _ENTRY.match(line)):
            entry = found.setdefault(match[1], [match[2]])
        elif inside and entry is not None and line.startswith("        "):
            entry.append(line.strip())
        elif line and not line.startswith(" "):
            inside = False
    return {name: " ".join(lines) for name, lines in found.items()}
