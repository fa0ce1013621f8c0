"""Templates of prompts, and the library's families of them."""

import dataclasses
import enum
import functools
import os
from pathlib import Path

import pydantic

from keras_flan.data.options import DERIVED_FIELDS
from keras_flan.data.patterns import Field, Literal, Template
from keras_flan.errors import InputError, did_you_mean
from keras_flan.schema import Strict, read_yaml, validate

__all__ = [
    "BASIC_FORMATS",
    "LIBRARY",
    "FewShotStyle",
    "Field",
    "Format",
    "Literal",
    "PromptTemplate",
    "Template",
    "TemplateFamily",
    "library_families",
    "load_family",
]

LIBRARY = Path(__file__).parent / "template_library"


class Format(str, enum.Enum):
    """The ways of asking.

    The first four are those of the Flan 2022 paper (section 2.1). The others
    are variants of its public release, which mixtures ask for by name:
    without the answer options, with exemplars in templates of their own,
    with the example turned around (the answer is given, the question is
    wanted), and with one explained example in the instruction.
    """

    zero_shot_direct = "zero_shot_direct"
    zero_shot_cot = "zero_shot_cot"
    few_shot_direct = "few_shot_direct"
    few_shot_cot = "few_shot_cot"
    zero_shot_no_options = "zero_shot_no_options"
    few_shot_no_options = "few_shot_no_options"
    few_shot_mixed = "few_shot_mixed"
    zero_shot_inverted = "zero_shot_inverted"
    few_shot_inverted = "few_shot_inverted"
    one_shot_inline = "one_shot_inline"

    @property
    def few_shot(self) -> bool:
        """Whether solved examples stand before the question."""
        return self.value.startswith("few_shot")

    @property
    def cot(self) -> bool:
        """Whether the target reasons before it answers."""
        return self.value.endswith("cot")


# The four of the paper, in the order of `Format`.
BASIC_FORMATS = tuple(Format)[:4]

_NOTHING = Template(())


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
    """An input pattern, a target pattern and, for few-shot, a style.

    Args:
        input: The pattern of what the model reads.
        target: The pattern of what it should write.
        style: What stands around exemplars and question; few-shot only.
        header: What stands once before all exemplars, such as the definition
            of the task; few-shot only.
    """

    input: Template
    target: Template
    style: FewShotStyle | None = None
    header: Template = _NOTHING

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
    def solved(self) -> Template:
        """An exemplar without the separator after it; few-shot only."""
        if self.style is None:
            return _NOTHING
        style = self.style
        return (
            Template((Literal(style.inputs_prefix),))
            + self.input
            + style.x_y_delimiter
            + style.targets_prefix
            + self.target
        )

    @property
    def separator(self) -> str:
        """What follows every exemplar."""
        return self.style.example_separator if self.style else ""

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields of header, input and target."""
        parts = (self.header, self.input, self.target)
        return tuple(dict.fromkeys(n for part in parts for n in part.fields))

    def without_options(self) -> "PromptTemplate | None":
        """Returns the template without its answer options.

        The target becomes the text of the right option. `None` without a
        slot for options, or where the answer is a letter that means nothing
        once they are gone.
        """
        slots = {"options_", "styled_options_"}
        if not slots & set(self.input.fields) or "letter_" in self.fields:
            return None
        text = {"styled_choice_": Template((Field("choice_"),))}
        return dataclasses.replace(
            self,
            input=self.input.without(slots),
            target=self.target.fill(text),
        )


@dataclasses.dataclass(frozen=True)
class TemplateFamily:
    """The templates of one kind of task.

    Args:
        name: The name of the family.
        fields: The record fields that the templates may use.
        zero_shot_direct: Templates of this `Format`; so do the other lists.
        shots: Few-shot prompts show at most so many exemplars.

    Attributes:
        zero_shot_no_options: The templates of `zero_shot_direct` that show
            answer options, without them.
        few_shot_no_options: Those of `few_shot_direct` likewise.
        few_shot_mixed: The templates of `few_shot_direct` that may stand in
            one prompt: all write the target as the first one does.
    """

    name: str
    fields: tuple[str, ...]
    zero_shot_direct: tuple[PromptTemplate, ...] = ()
    zero_shot_cot: tuple[PromptTemplate, ...] = ()
    few_shot_direct: tuple[PromptTemplate, ...] = ()
    few_shot_cot: tuple[PromptTemplate, ...] = ()
    zero_shot_inverted: tuple[PromptTemplate, ...] = ()
    few_shot_inverted: tuple[PromptTemplate, ...] = ()
    one_shot_inline: tuple[PromptTemplate, ...] = ()
    shots: int | None = None

    @functools.cached_property
    def zero_shot_no_options(self) -> tuple[PromptTemplate, ...]:
        return _without_options(self.zero_shot_direct)

    @functools.cached_property
    def few_shot_no_options(self) -> tuple[PromptTemplate, ...]:
        return _without_options(self.few_shot_direct)

    @functools.cached_property
    def few_shot_mixed(self) -> tuple[PromptTemplate, ...]:
        first = self.few_shot_direct[:1]
        alike = tuple(
            template
            for template in self.few_shot_direct
            if template.target == first[0].target
        )
        return alike if len(alike) > 1 else ()

    def templates(self, format: Format | str) -> tuple[PromptTemplate, ...]:
        """Returns the templates of a format; empty if there are none."""
        return getattr(self, Format(format).value)

    def record_fields(self, format: Format | str) -> set[str]:
        """Returns the record fields that all templates of a format need."""
        return record_fields(
            name
            for template in self.templates(format)
            for name in template.fields
        )


def _without_options(templates) -> tuple[PromptTemplate, ...]:
    found = (template.without_options() for template in templates)
    return tuple(template for template in found if template is not None)


def record_fields(names) -> set[str]:
    """Returns the record fields from which template fields are made."""
    return {
        source for name in names for source in DERIVED_FIELDS.get(name, (name,))
    }


class _Entry(Strict):
    input: str
    target: str
    style: str | None = None
    header: str | None = None


class _Style(Strict):
    inputs_prefix: str
    targets_prefix: str
    x_y_delimiter: str
    example_separator: str


_Lists = {
    format.value: (tuple[_Entry, ...], ())
    for format in Format
    if format.value in {f.name for f in dataclasses.fields(TemplateFamily)}
}
_Templates = pydantic.create_model("_Templates", __base__=Strict, **_Lists)


class _FamilyFile(_Templates):
    family: str
    fields: list[str]
    include: str | None = None
    shots: pydantic.PositiveInt | None = None
    styles: dict[str, _Style] = pydantic.Field(default_factory=dict)


def load_family(source: str | os.PathLike) -> TemplateFamily:
    """Returns a template family of the library, or of a YAML file.

    Args:
        source: The name of a family in the library, such as `"gsm8k"`, or
            the path of a YAML file with the keys `family`, `fields` and one
            or more of `zero_shot_direct`, `zero_shot_cot`,
            `few_shot_direct`, `few_shot_cot`, `zero_shot_inverted`,
            `few_shot_inverted`, `one_shot_inline`: lists of
            `{input, target}`. In the few-shot lists `style` may name one of
            the library's styles or of the file's own `styles`, and `header`
            may give what stands once before the exemplars. `shots` bounds
            the number of exemplars, and `include: _inversion` adds the
            library's templates that turn chain-of-thought examples around.

    Raises:
        InputError: If there is no such family, or the file holds an unknown
            key, field or style, or a broken template.

    Example:
        >>> load_family("gsm8k").zero_shot_direct[0].input.fields
        ('question',)
    """
    path = Path(source)
    if path.suffix in (".yaml", ".yml") or len(path.parts) != 1:
        return _FamilyReader(path).family()
    return _library_family(str(source))


def library_families() -> list[str]:
    """Returns the names of the families in the library.

    A family under `localised/` comes once per language of `_languages.yaml`,
    as `mgsm_sw` for Swahili.
    """
    return sorted(_library_paths())


@functools.cache
def _library_paths() -> dict[str, tuple[Path, str | None]]:
    """Returns the file and the language of each family."""
    paths: dict[str, tuple[Path, str | None]] = {
        path.stem: (path, None)
        for path in LIBRARY.glob("*.yaml")
        if not path.stem.startswith("_")
    }
    for path in (LIBRARY / "localised").glob("*.yaml"):
        for language in languages():
            paths[f"{path.stem}_{language}"] = (path, language)
    return paths


@functools.cache
def languages() -> dict[str, dict[str, str]]:
    """Returns the phrases of each language of the library, by its code.

    Example:
        >>> languages()["de"]["phrase"]
        'Die Antwort ist {answer}.'
    """
    return read_yaml(LIBRARY / "_languages.yaml")


@functools.cache
def _library_family(name: str) -> TemplateFamily:
    paths = _library_paths()
    if name not in paths:
        raise InputError(
            f"no template family {name!r} in the library."
            + did_you_mean(name, sorted(paths))
            + " A file of your own is given by its path, ending in .yaml."
        )
    path, language = paths[name]
    return _FamilyReader(path, language).family()


@functools.cache
def _library_styles() -> dict[str, FewShotStyle]:
    data = read_yaml(LIBRARY / "_styles.yaml")
    return {name: FewShotStyle(name, **parts) for name, parts in data.items()}


class _FamilyReader:
    """Reads a family's file, for a language if it is a localised one."""

    def __init__(self, path: Path, language: str | None = None):
        self._path = path
        self._language = language
        self._file = validate(_FamilyFile, read_yaml(path), str(path))
        parts = languages()[language] if language else {}
        self._parts = {k: Template.parse(v) for k, v in parts.items()}
        self._known = {*self._file.fields, *self._parts}
        self._known |= {
            name
            for name, sources in DERIVED_FIELDS.items()
            if self._known.issuperset(sources)
        }
        own = {
            name: FewShotStyle(
                name,
                **{
                    key: self._parse(text, f"{path}: styles.{name}.{key}")
                    .fill(self._parts)
                    .render({})
                    for key, text in style
                },
            )
            for name, style in self._file.styles.items()
        }
        self._styles = {**_library_styles(), **own}
        self._cycle = list(own or self._styles)

    def family(self) -> TemplateFamily:
        included = _Templates()
        if self._file.include:
            path = LIBRARY / f"{self._file.include}.yaml"
            included = validate(_Templates, read_yaml(path), str(path))
        lists = {}
        for name in _Lists:
            entries = getattr(self._file, name) + getattr(included, name)
            lists[name] = tuple(
                self._prompt_template(entry, Format(name), i)
                for i, entry in enumerate(entries)
            )
        if not any(lists.values()):
            raise InputError(
                f"{self._path}: no templates; give at least one under "
                f"{', '.join(lists)}"
            )
        name = self._file.family
        return TemplateFamily(
            f"{name}_{self._language}" if self._language else name,
            tuple(self._file.fields),
            **lists,
            shots=self._file.shots,
        )

    def _prompt_template(
        self, entry: _Entry, format: Format, index: int
    ) -> PromptTemplate:
        place = f"{self._path}: {format.value}.{index}"
        parsed = {
            key: self._parse(text, f"{place}.{key}").fill(self._parts)
            for key in ("input", "target", "header")
            if (text := getattr(entry, key)) is not None
        }
        if not format.few_shot:
            for key in ("style", "header"):
                if getattr(entry, key) is not None:
                    raise InputError(
                        f"{place}.{key}: only few-shot templates have a "
                        f"{key}; remove it"
                    )
            return PromptTemplate(**parsed)
        if entry.style is not None and entry.style not in self._styles:
            raise InputError(
                f"{place}.style: unknown style {entry.style!r}."
                + did_you_mean(entry.style, self._styles)
            )
        name = entry.style or self._cycle[index % len(self._cycle)]
        return PromptTemplate(**parsed, style=self._styles[name])

    def _parse(self, text: str, place: str) -> Template:
        try:
            template = Template.parse(text)
        except InputError as error:
            raise InputError(f"{place}: {error}") from None
        for name in template.fields:
            if name not in self._known:
                raise InputError(
                    f"{place}: unknown field {name!r}; it is not among the "
                    "family's fields." + did_you_mean(name, self._known)
                )
        return template
