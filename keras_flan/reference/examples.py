"""Files with every key, its default, and what it means."""

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from keras_flan.reference.files import ConfigFile
from keras_flan.reference.schemas import Schema, json_schema
from keras_flan.reference.words import inner_of, text_of, words_of

# What a file needs, and has no default.
_GIVEN: Mapping[ConfigFile, Mapping[str, Any]] = {
    ConfigFile.train: {"output": "runs/mine", "mixture": "mixture.yaml"},
    ConfigFile.mixture: {
        "records": "records",
        "groups": {"mine": {"tasks": [{"name": "gsm8k"}]}},
    },
    ConfigFile.template: {
        "family": "mine",
        "fields": ["question", "answer"],
        "zero_shot_direct": [{"input": "{question}", "target": "{answer}"}],
    },
    ConfigFile.protocol: {
        "name": "mine",
        "version": 1,
        "source": "our own",
        "reader": "csv",
        "columns": {"question": "Question", "answer": "Answer"},
        "formats": {
            "zero_shot_direct": {"query": "Q: {question}\nA:", "stop": ["\nQ:"]}
        },
    },
}
_HEAD = """\
# {file}.yaml: every key, with its default; keys without one come first.
# What begins with # and no blank is off: remove the # to set it.
# yaml-language-server: $schema={file}.schema.json
"""
_WIDTH = 79
_WORD = re.compile(r"[A-Za-z_*][\w./+-]*|\*")
# Words that YAML reads as something else.
_TAKEN = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "*"}


def commented(file: ConfigFile) -> str:
    """Returns an example of a file that has every key, with comments.

    It is valid as it is; what it gives is the default, or needs to be given.

    Args:
        file: Which one.

    Example:
        >>> print(commented(ConfigFile.train)[:50])
        # train.yaml: every key, with its default; keys
    """
    schema = json_schema(file)
    lines = _Writer(schema).keys(schema, _GIVEN[file], "", off=False)
    return _HEAD.format(file=file) + "\n".join(lines) + "\n"


class _Writer:
    """Writes the keys of a schema; those of each part once in full."""

    def __init__(self, schema: Schema):
        self._defs = schema.get("$defs", {})
        self._told: set[str] = set()

    def keys(
        self, part: Schema, values: Mapping[str, Any], pad: str, off: bool
    ) -> list[str]:
        """Returns the lines of an object.

        Args:
            part: Its schema.
            values: What is given; the rest has its default.
            pad: The blanks before each line.
            off: Whether all of it is commented out.
        """
        required = part.get("required", ())
        again = part["title"] in self._told
        self._told.add(part["title"])
        lines: list[str] = []
        for name in sorted(
            part["properties"], key=lambda name: name not in required
        ):
            if again and name not in values:
                continue
            key = part["properties"][name]
            lines += [""] * (not pad)
            lines += self._comment(key, name in required, pad)
            value = values.get(name, key.get("default"))
            lines += self._key(name, key, value, pad, off)
        return lines

    def _comment(self, key: Schema, required: bool, pad: str) -> list[str]:
        text = f"{text_of(key, self._defs)} [{words_of(key, self._defs)}]"
        text += " Has to be given." if required else ""
        return textwrap.wrap(
            text,
            _WIDTH,
            initial_indent=f"{pad}# ",
            subsequent_indent=f"{pad}# ",
            break_long_words=False,
            break_on_hyphens=False,
        )

    def _key(
        self, name: str, key: Schema, value: Any, pad: str, off: bool
    ) -> list[str]:
        start = f"{pad}{'#' * off}{name}:"
        form, inner = inner_of(key, self._defs)
        if inner is None:
            return [f"{start} {in_yaml(value)}"]
        deeper = pad + "  "
        if not value:
            # Its keys are shown, commented out.
            lines = [f"{start} {in_yaml(value)}"]
            if inner["title"] in self._told:
                return lines
            if form == "named":
                lines.append(f"{deeper}#NAME:")
            elif form == "listed":
                lines.append(f"{deeper}#-")
            nested = deeper if form == "one" else deeper + "  "
            return lines + self.keys(inner, {}, nested, off=True)
        if form == "one":
            return [start, *self.keys(inner, value, deeper, off)]
        entries = value.items() if form == "named" else enumerate(value)
        lines = [start]
        for place, entry in entries:
            mark = f"{place}:" if form == "named" else "-"
            lines.append(f"{deeper}{'#' * off}{mark}")
            lines += self.keys(inner, entry, deeper + "  ", off)
        return lines


def in_yaml(value: Any) -> str:
    r"""Returns a value as YAML in one line.

    Example:
        >>> in_yaml({"query": "Q: {question}\nA:", "stop": []})
        '{query: "Q: {question}\\nA:", stop: []}'
    """
    if isinstance(value, Mapping):
        pairs = (f"{in_yaml(k)}: {in_yaml(v)}" for k, v in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(in_yaml, value)) + "]"
    if isinstance(value, str):
        plain = _WORD.fullmatch(value) and value.lower() not in _TAKEN
        return value if plain else json.dumps(value, ensure_ascii=False)
    if isinstance(value, float):
        # YAML takes 1e-05 for a word.
        mantissa, e, power = repr(value).partition("e")
        point = ".0" * bool(e and "." not in mantissa)
        return f"{mantissa}{point}{e}{power}"
    return json.dumps(value)
