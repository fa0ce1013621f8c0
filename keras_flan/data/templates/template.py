"""Patterns: text with places for the fields of a record.

`Template` is the only parser; `prompts_graph` renders the same parsed parts
inside a TensorFlow graph.
"""

import dataclasses
import itertools
import re
from collections.abc import Container, Mapping

from keras_flan.errors import InputError, did_you_mean

# What a field is called; a pattern of columns allows more.
NAME = r"[^\W\d]\w*"
# Of an optional part: `?}` is its end unless its brace is one of a doubled one.
_END = r"\?\}(?=(?:\}\})*(?!\}))"
# What counts as an empty field, in Python and in the graph alike.
BLANK = r"[ \t\n\v\f\r]*"


@dataclasses.dataclass(frozen=True)
class Literal:
    """Text that stands in the prompt as it is.

    With `when`, only where this field is not empty.
    """

    text: str
    when: str | None = None


@dataclasses.dataclass(frozen=True)
class Field:
    """A place that takes the text of a record's field.

    With `when`, only where that field is not empty.
    """

    name: str
    when: str | None = None


@dataclasses.dataclass(frozen=True)
class Template:
    r"""A pattern with `{field}` places; `{{` and `}}` are literal braces.

    `{field?...?}` is an optional part, which is left out where the field is
    empty or blank. The text of a field is put in as it is and never parsed
    again, so braces in the data are harmless.

    Example:
        >>> template = Template.parse("Q: {question}{hint? ({hint})?}\nA:")
        >>> template.fields
        ('question', 'hint')
        >>> template.render({"question": "What is {x}?", "hint": ""})
        'Q: What is {x}?\nA:'
    """

    parts: tuple[Literal | Field, ...]

    @classmethod
    def parse(cls, text: str, name: str = NAME) -> "Template":
        """Returns the template that `text` describes.

        Args:
            text: The pattern.
            name: What a field may be called, a regular expression.

        Raises:
            InputError: If a brace is single or encloses no field name, or an
                optional part has no end or another one inside.
        """
        token = re.compile(rf"\{{\{{|{_END}|\}}\}}|\{{({name})(\}}|\?)|[{{}}]")
        parts: list[Literal | Field] = []
        literal, end, when = "", 0, None
        for match in token.finditer(text):
            literal += text[end : match.start()]
            end = match.end()
            place = f"at character {match.start()} of {_shorten(text)}"
            closes = match[0] == "?}"
            if match[1] and match[2] == "}":
                parts += [Literal(literal, when), Field(match[1], when)]
                literal = ""
            elif match[1] and when is not None:
                raise InputError(
                    f"{match[0]!r} {place} begins an optional part inside "
                    f"that of {when!r}; end that one before, by '?}}'"
                )
            elif match[1] or (closes and when is not None):
                parts.append(Literal(literal, when))
                literal, when = "", match[1]
            elif len(match[0]) == 2 and not closes:
                literal += match[0][0]
            else:
                raise InputError(
                    f"single {match[0][-1]!r} {place}; write a field as "
                    "{name}, a part that is left out where a field is empty "
                    "as {name?...?}, or double the brace to have it in the "
                    "text"
                )
        if when is not None:
            raise InputError(
                f"the optional part of {when!r} in {_shorten(text)} has no "
                "end; end it by '?}'"
            )
        parts.append(Literal(literal + text[end:]))
        return cls(tuple(parts)).joined()

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields, each once, in order of appearance."""
        names = (
            name
            for part in self.parts
            for name in (part.when, getattr(part, "name", None))
        )
        return tuple(dict.fromkeys(name for name in names if name is not None))

    @property
    def shown(self) -> tuple[str, ...]:
        """Those of `fields` whose texts are shown, each once."""
        names = [p.name for p in self.parts if isinstance(p, Field)]
        return tuple(dict.fromkeys(names))

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the fields that a record needs.

        The others stand only in parts that are left out without them.

        Example:
            >>> Template.parse("{question}{hint? ({hint})?}").required
            ('question',)
        """
        names = [
            part.name
            for part in self.parts
            if isinstance(part, Field) and part.when != part.name
        ]
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
                if part.when is None or is_filled(values.get(part.when, ""))
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

        Raises:
            InputError: If one with an optional part comes into another's.
        """
        parts: list[Literal | Field] = []
        for part in self.parts:
            if not isinstance(part, Field) or part.name not in values:
                parts.append(part)
                continue
            for one in values[part.name].parts:
                if one.when and part.when not in (None, one.when):
                    raise InputError(
                        f"{{{part.name}}} has the optional part of "
                        f"{one.when!r}, so that it can't stand inside that of "
                        f"{part.when!r}"
                    )
                when = one.when or part.when
                parts.append(dataclasses.replace(one, when=when))
        return Template(tuple(parts)).joined()

    def without(self, names: Container[str]) -> "Template":
        r"""Returns the template without some fields and their line breaks.

        The line breaks before such a field go with it; where nothing else
        stands before it, those after it do. An optional part that shows such
        a field goes as a whole.

        Example:
            >>> template = Template.parse("Q: {question}\n{options_}\nA:")
            >>> str(template.without({"options_"}))
            'Q: {question}\nA:'
        """
        shown = [
            part
            for part in self.parts
            if isinstance(part, Field) and part.name in names
        ]
        optional = {part.when for part in shown if part.when is not None}
        parts: list[Literal | Field] = []
        leading = False
        for part in self.parts:
            if part in shown or part.when in optional:
                last = parts[-1] if parts else None
                if isinstance(last, Literal) and part in shown:
                    text = last.text.rstrip("\n")
                    parts[-1] = dataclasses.replace(last, text=text)
                leading = all(getattr(p, "text", None) == "" for p in parts)
                continue
            if leading and isinstance(part, Literal):
                part = dataclasses.replace(part, text=part.text.lstrip("\n"))
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
        place = next(
            place
            for place, part in enumerate(self.parts)
            if isinstance(part, Field) and part.name == name
        )
        before, after = self.parts[:place], self.parts[place + 1 :]
        return Template(before), name, Template(after)

    def __add__(self, other: "Template | str") -> "Template":
        """Returns the template that renders `self` and then `other`."""
        if isinstance(other, str):
            other = Template((Literal(other),))
        return Template(self.parts + other.parts).joined()

    def __str__(self) -> str:
        texts = []
        for when, parts in itertools.groupby(self.parts, lambda p: p.when):
            inside = "".join(
                "{" + part.name + "}"
                if isinstance(part, Field)
                else part.text.replace("{", "{{").replace("}", "}}")
                for part in parts
            )
            texts.append(inside if when is None else f"{{{when}?{inside}?}}")
        return "".join(texts)

    def joined(self) -> "Template":
        """Merges neighbouring literals and drops empty ones."""
        parts: list[Literal | Field] = []
        for part in self.parts:
            last = parts[-1] if parts else None
            if isinstance(part, Field):
                parts.append(part)
            elif isinstance(last, Literal) and last.when == part.when:
                parts[-1] = Literal(last.text + part.text, part.when)
            elif part.text:
                parts.append(part)
        return Template(tuple(parts))


def is_filled(text: str) -> bool:
    """Whether a field's text is more than blanks."""
    return not re.fullmatch(BLANK, text)


def _shorten(text: str, length: int = 60) -> str:
    return repr(text if len(text) <= length else text[: length - 3] + "...")
