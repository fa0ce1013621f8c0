"""Patterns: text with places for the fields of a record.

`Template` is the only parser; `prompts_graph` renders the same parsed parts
inside a TensorFlow graph.
"""

import dataclasses
import re
from collections.abc import Container, Mapping

from keras_flan.errors import InputError, did_you_mean

_TOKEN = re.compile(r"\{\{|\}\}|\{([^\W\d]\w*)\}|[{}]")


@dataclasses.dataclass(frozen=True)
class Literal:
    """Text that stands in the prompt as it is."""

    text: str


@dataclasses.dataclass(frozen=True)
class Field:
    """A place that takes the text of a record's field."""

    name: str


@dataclasses.dataclass(frozen=True)
class Template:
    r"""A pattern with `{field}` places; `{{` and `}}` are literal braces.

    The text of a field is put in as it is and never parsed again, so braces
    in the data are harmless.

    Example:
        >>> template = Template.parse("Q: {question}\nA:")
        >>> template.fields
        ('question',)
        >>> template.render({"question": "What is {x}?"})
        'Q: What is {x}?\nA:'
    """

    parts: tuple[Literal | Field, ...]

    @classmethod
    def parse(cls, text: str) -> "Template":
        """Returns the template that `text` describes.

        Raises:
            InputError: If a brace is single or encloses no field name.
        """
        parts: list[Literal | Field] = []
        literal, end = "", 0
        for match in _TOKEN.finditer(text):
            literal += text[end : match.start()]
            end = match.end()
            if match[1]:
                parts += [Literal(literal), Field(match[1])]
                literal = ""
            elif len(match[0]) == 2:
                literal += match[0][0]
            else:
                raise InputError(
                    f"single {match[0]!r} at character {match.start()} of "
                    f"{_shorten(text)}; write a field as {{name}}, or double "
                    "the brace to have it in the text"
                )
        parts.append(Literal(literal + text[end:]))
        return cls(tuple(parts)).joined()

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields, each once, in order of appearance."""
        names = [p.name for p in self.parts if isinstance(p, Field)]
        return tuple(dict.fromkeys(names))

    def render(self, values: Mapping[str, str]) -> str:
        """Returns the text with `values` in the places of the fields.

        Raises:
            InputError: If a field of the template has no value.
        """
        try:
            return "".join(
                part.text if isinstance(part, Literal) else values[part.name]
                for part in self.parts
            )
        except KeyError as error:
            raise InputError(
                f"the template {_shorten(str(self))} needs the field "
                f"{error.args[0]!r}, which the example lacks."
                + did_you_mean(error.args[0], values)
            ) from None

    def substitute(self, values: Mapping[str, "Template"]) -> "Template":
        """Returns the template with other templates in place of fields.

        Example:
            >>> phrase = Template.parse("It is {answer}.")
            >>> template = Template.parse("{why} {phrase}")
            >>> str(template.substitute({"phrase": phrase}))
            '{why} It is {answer}.'
        """
        parts: list[Literal | Field] = []
        for part in self.parts:
            if isinstance(part, Field) and part.name in values:
                parts += values[part.name].parts
            else:
                parts.append(part)
        return Template(tuple(parts)).joined()

    def without(self, names: Container[str]) -> "Template":
        r"""Returns the template without some fields and their line breaks.

        The line breaks before such a field go with it; where nothing else
        stands before it, those after it do.

        Example:
            >>> template = Template.parse("Q: {question}\n{options_}\nA:")
            >>> str(template.without({"options_"}))
            'Q: {question}\nA:'
        """
        parts: list[Literal | Field] = []
        leading = False
        for part in self.parts:
            if isinstance(part, Field) and part.name in names:
                if parts and isinstance(parts[-1], Literal):
                    parts[-1] = Literal(parts[-1].text.rstrip("\n"))
                leading = all(p == Literal("") for p in parts)
                continue
            if leading and isinstance(part, Literal):
                part = Literal(part.text.lstrip("\n"))
            leading = False
            parts.append(part)
        return Template(tuple(parts)).joined()

    def around(self, name: str) -> tuple["Template", str, "Template"]:
        """Returns what is before a field, its name, and what is after it.

        Example:
            >>> template = Template.parse("Sum up: {text} In short:")
            >>> before, name, after = template.around("text")
            >>> str(before), name, str(after)
            ('Sum up: ', 'text', ' In short:')
        """
        place = self.parts.index(Field(name))
        before, after = self.parts[:place], self.parts[place + 1 :]
        return Template(before), name, Template(after)

    def __add__(self, other: "Template | str") -> "Template":
        """Returns the template that renders `self` and then `other`."""
        if isinstance(other, str):
            other = Template((Literal(other),))
        return Template(self.parts + other.parts).joined()

    def __str__(self) -> str:
        return "".join(
            "{" + part.name + "}"
            if isinstance(part, Field)
            else part.text.replace("{", "{{").replace("}", "}}")
            for part in self.parts
        )

    def joined(self) -> "Template":
        """Merges neighbouring literals and drops empty ones."""
        parts: list[Literal | Field] = []
        for part in self.parts:
            last = parts[-1] if parts else None
            if isinstance(last, Literal) and isinstance(part, Literal):
                parts[-1] = Literal(last.text + part.text)
            elif part != Literal(""):
                parts.append(part)
        return Template(tuple(parts))


def _shorten(text: str, length: int = 60) -> str:
    return repr(text if len(text) <= length else text[: length - 3] + "...")
