"""Templates: patterns with fields, and the library's families of them.

`Template` is the only parser; `prompts_graph` renders the same parsed parts
inside a TensorFlow graph.
"""

import dataclasses
import enum
import functools
import os
import re
from collections.abc import Mapping
from pathlib import Path

from keras_flan.errors import InputError, did_you_mean
from keras_flan.schema import Strict, read_yaml, validate

LIBRARY = Path(__file__).parent / "template_library"

# Fields that are made from another field of the record.
DERIVED_FIELDS = {"options_": "options", "lettered_options_": "options"}

_TOKEN = re.compile(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_]*)\}|[{}]")


class Format(str, enum.Enum):
    """The four ways of asking (section 2.1 of the Flan 2022 paper)."""

    zero_shot_direct = "zero_shot_direct"
    zero_shot_cot = "zero_shot_cot"
    few_shot_direct = "few_shot_direct"
    few_shot_cot = "few_shot_cot"

    @property
    def few_shot(self) -> bool:
        """Whether solved examples stand before the question."""
        return self.value.startswith("few_shot")

    @property
    def cot(self) -> bool:
        """Whether the target reasons before it answers."""
        return self.value.endswith("cot")


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
            if part == Literal(""):
                continue
            if parts and isinstance(part, Literal):
                last = parts[-1]
                if isinstance(last, Literal):
                    parts[-1] = Literal(last.text + part.text)
                    continue
            parts.append(part)
        return Template(tuple(parts))


def _shorten(text: str, length: int = 60) -> str:
    return repr(text if len(text) <= length else text[: length - 3] + "...")


@dataclasses.dataclass(frozen=True)
class FewShotStyle:
    """The text around the parts of a few-shot prompt.

    An exemplar reads `inputs_prefix`, inputs, `x_y_delimiter`,
    `targets_prefix`, targets, `example_separator`.
    """

    name: str
    inputs_prefix: str
    targets_prefix: str
    x_y_delimiter: str
    example_separator: str


@dataclasses.dataclass(frozen=True)
class PromptTemplate:
    """An input pattern, a target pattern and, for few-shot, a style."""

    input: Template
    target: Template
    style: FewShotStyle | None = None

    @functools.cached_property
    def query(self) -> Template:
        """The question as the prompt ends with it."""
        if self.style is None:
            return self.input
        style = self.style
        return (
            Template((Literal(style.inputs_prefix),))
            + self.input
            + style.x_y_delimiter
            + style.targets_prefix.rstrip()
        )

    @functools.cached_property
    def exemplar(self) -> Template:
        """A solved example with all that stands around it; few-shot only."""
        if self.style is None:
            return Template(())
        style = self.style
        return (
            Template((Literal(style.inputs_prefix),))
            + self.input
            + style.x_y_delimiter
            + style.targets_prefix
            + self.target
            + style.example_separator
        )

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields of input and target."""
        return tuple(dict.fromkeys(self.input.fields + self.target.fields))


@dataclasses.dataclass(frozen=True)
class TemplateFamily:
    """The templates of one kind of task, in up to four formats.

    Args:
        name: The name of the family.
        fields: The record fields that the templates may use.
        zero_shot_direct: Templates of this format; so do the other three.
    """

    name: str
    fields: tuple[str, ...]
    zero_shot_direct: tuple[PromptTemplate, ...] = ()
    zero_shot_cot: tuple[PromptTemplate, ...] = ()
    few_shot_direct: tuple[PromptTemplate, ...] = ()
    few_shot_cot: tuple[PromptTemplate, ...] = ()

    def templates(self, format: Format | str) -> tuple[PromptTemplate, ...]:
        """Returns the templates of a format; empty if there are none."""
        return getattr(self, Format(format).value)

    def record_fields(self, format: Format | str) -> set[str]:
        """Returns the record fields that all templates of a format need."""
        return {
            DERIVED_FIELDS.get(name, name)
            for template in self.templates(format)
            for name in template.fields
        }


class _Entry(Strict):
    input: str
    target: str
    style: str | None = None


class _FamilyFile(Strict):
    family: str
    fields: list[str]
    zero_shot_direct: tuple[_Entry, ...] = ()
    zero_shot_cot: tuple[_Entry, ...] = ()
    few_shot_direct: tuple[_Entry, ...] = ()
    few_shot_cot: tuple[_Entry, ...] = ()


def load_family(source: str | os.PathLike) -> TemplateFamily:
    """Returns a template family of the library, or of a YAML file.

    Args:
        source: The name of a family in the library, such as `"gsm8k"`, or
            the path of a YAML file with the keys `family`, `fields` and
            `zero_shot_direct`, `zero_shot_cot`, `few_shot_direct`,
            `few_shot_cot`: lists of `{input, target}`; in the few-shot lists
            `style` may name one of the library's styles.

    Raises:
        InputError: If there is no such family, or the file holds an unknown
            key, field or style, or a broken template.

    Example:
        >>> load_family("gsm8k").zero_shot_direct[0].input.fields
        ('question',)
    """
    path = Path(source)
    if path.suffix in (".yaml", ".yml") or len(path.parts) != 1:
        return _read_family(path)
    return _library_family(str(source))


def library_families() -> list[str]:
    """Returns the names of the families in the library."""
    names = (path.stem for path in LIBRARY.glob("*.yaml"))
    return sorted(name for name in names if not name.startswith("_"))


@functools.cache
def _library_family(name: str) -> TemplateFamily:
    if name not in library_families():
        raise InputError(
            f"no template family {name!r} in the library."
            + did_you_mean(name, library_families())
            + " A file of your own is given by its path, ending in .yaml."
        )
    return _read_family(LIBRARY / f"{name}.yaml")


@functools.cache
def _styles() -> dict[str, FewShotStyle]:
    data = read_yaml(LIBRARY / "_styles.yaml")
    return {name: FewShotStyle(name, **parts) for name, parts in data.items()}


def _read_family(path: Path) -> TemplateFamily:
    file = validate(_FamilyFile, read_yaml(path), str(path))
    formats = {
        format.value: tuple(
            _prompt_template(
                entry, format, i, file, f"{path}: {format.value}.{i}"
            )
            for i, entry in enumerate(getattr(file, format.value))
        )
        for format in Format
    }
    if not any(formats.values()):
        raise InputError(
            f"{path}: no templates; give at least one under "
            f"{', '.join(formats)}"
        )
    return TemplateFamily(file.family, tuple(file.fields), **formats)


def _prompt_template(
    entry: _Entry, format: Format, index: int, file: _FamilyFile, place: str
) -> PromptTemplate:
    known = set(file.fields)
    known |= {new for new, old in DERIVED_FIELDS.items() if old in known}
    parsed = {}
    for key in ("input", "target"):
        try:
            parsed[key] = Template.parse(getattr(entry, key))
        except InputError as error:
            raise InputError(f"{place}.{key}: {error}") from None
        for name in parsed[key].fields:
            if name not in known:
                raise InputError(
                    f"{place}.{key}: unknown field {name!r}; it is not among "
                    f"the family's fields." + did_you_mean(name, known)
                )
    if not format.few_shot:
        if entry.style is not None:
            raise InputError(
                f"{place}.style: a zero-shot template has no style; remove it"
            )
        return PromptTemplate(**parsed)
    styles = _styles()
    if entry.style is not None and entry.style not in styles:
        raise InputError(
            f"{place}.style: unknown style {entry.style!r}."
            + did_you_mean(entry.style, styles)
        )
    name = entry.style or list(styles)[index % len(styles)]
    return PromptTemplate(**parsed, style=styles[name])
