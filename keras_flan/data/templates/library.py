"""The library of template families, and the reading of their YAML files."""

import functools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import pydantic

from keras_flan.data.templates.families import (
    FewShotStyle,
    Format,
    PromptTemplate,
    TemplateFamily,
)
from keras_flan.data.templates.options import DERIVED_FIELDS
from keras_flan.data.templates.own import (
    FamilySource,
    is_python,
    python_family,
    registered_families,
    registered_family,
)
from keras_flan.data.templates.template import Template
from keras_flan.errors import InputError, did_you_mean
from keras_flan.schema import Strict, read_yaml, validate
from keras_flan.storage import as_path

LIBRARY = Path(__file__).parent / "template_library"


class _Entry(Strict):
    """A template.

    Args:
        input: The pattern of what the model reads; `{question}` stands for
            the record's field.
        target: The pattern of what it should write.
        style: Of a few-shot template, what stands around questions and
            answers: one of the library's styles, or of the file's own.
            Default: each in turn.
        header: Of a few-shot template, what stands once before the exemplars.
    """

    input: str
    target: str
    style: str | None = None
    header: str | None = None


class _Style(Strict):
    """The text around the parts of a few-shot prompt.

    An exemplar reads `inputs_prefix`, inputs, `x_y_delimiter`,
    `targets_prefix`, targets, `example_separator`.

    Args:
        inputs_prefix: Before a question, such as `Q: `.
        targets_prefix: Before an answer, such as `A: `.
        x_y_delimiter: Between the two.
        example_separator: After an answer.
    """

    inputs_prefix: str
    targets_prefix: str
    x_y_delimiter: str
    example_separator: str


_Entries = Annotated[
    tuple[_Entry, ...],
    # The name of another list is taken care of before.
    pydantic.BeforeValidator(
        lambda value: value, json_schema_input_type=list[_Entry] | str
    ),
]


class _Templates(Strict):
    """Lists of templates, by the way of asking.

    Args:
        zero_shot_direct: Templates that ask for the answer; or the name of
            another list of the file, as in all lists.
        zero_shot_cot: Templates whose target reasons before it answers.
        few_shot_direct: Those with exemplars before the question.
        few_shot_cot: Those with exemplars that reason.
        zero_shot_inverted: Templates that give the answer, and ask for the
            question.
        few_shot_inverted: Those with exemplars.
        one_shot_inline: Templates with one explained example in the
            instruction.
    """

    zero_shot_direct: _Entries = ()
    zero_shot_cot: _Entries = ()
    few_shot_direct: _Entries = ()
    few_shot_cot: _Entries = ()
    zero_shot_inverted: _Entries = ()
    few_shot_inverted: _Entries = ()
    one_shot_inline: _Entries = ()

    @pydantic.model_validator(mode="before")
    @classmethod
    def _take_named_lists(cls, data: Any) -> Any:
        """Puts a list in the place of its name."""
        if not isinstance(data, dict):
            return data
        taken = {}
        for key, value in data.items():
            if key not in _LISTS or not isinstance(value, str):
                continue
            if value not in _LISTS or not isinstance(data.get(value), list):
                raise ValueError(
                    f"{key}: expected a list of templates, or the name of "
                    f"another list of the file, found {value!r}"
                )
            taken[key] = data[value]
        return {**data, **taken}


_LISTS = tuple(_Templates.model_fields)


class FamilyFile(_Templates):
    """A family of templates: the ways in which a kind of task is asked.

    Args:
        family: Its name.
        fields: The record fields that the templates may use.
        include: `_inversion` adds the library's templates that turn
            chain-of-thought examples around.
        shots: The most exemplars of a few-shot prompt.
        shorten: The fields that may be shortened where a zero-shot prompt is
            too long, such as a passage; without any, all may be.
        styles: Styles of your own for few-shot prompts, by name.
    """

    family: str
    fields: list[str]
    include: str | None = None
    shots: pydantic.PositiveInt | None = None
    shorten: list[str] = pydantic.Field(default_factory=list)
    styles: dict[str, _Style] = pydantic.Field(default_factory=dict)


def load_family(source: FamilySource) -> TemplateFamily:
    """Returns a template family of the library, or one of your own.

    Args:
        source: The name of a family in the library, such as `"gsm8k"`, or one
            that was registered (see `register_family`); a `TemplateFamily`;
            a name in a Python file or module, as `"my.py:FAMILY"`; or the
            path of a YAML file with the keys `family`, `fields` and one
            or more of `zero_shot_direct`, `zero_shot_cot`,
            `few_shot_direct`, `few_shot_cot`, `zero_shot_inverted`,
            `few_shot_inverted`, `one_shot_inline`: lists of
            `{input, target}`, or the name of another of the lists, whose
            patterns are taken. In the few-shot lists `style` may name one of
            the library's styles or of the file's own `styles`, and `header`
            may give what stands once before the exemplars. `shots` bounds
            the number of exemplars, `shorten` names the fields that may be
            shortened where a prompt is too long, and `include: _inversion`
            adds the library's templates that turn chain-of-thought examples
            around. In Python a dict with these keys does as well.

    Raises:
        InputError: If there is no such family, or the file holds an unknown
            key, field or style, or a broken template.

    Example:
        >>> load_family("gsm8k").zero_shot_direct[0].input.fields
        ('question',)
    """
    if isinstance(source, TemplateFamily):
        return _checked(source)
    if isinstance(source, Mapping):
        place = str(source.get("family", "a template family"))
        return _FamilyReader(source, place).family()
    if is_python(source):
        return load_family(python_family(source))
    if is_library_name(source):
        own = registered_family(str(source))
        if own is not None and str(source) not in _library_paths():
            return load_family(own)
        return _library_family(str(source))
    path = as_path(source)
    return _FamilyReader(read_yaml(path), str(path)).family()


def is_library_name(source: str | os.PathLike) -> bool:
    """Whether this is a name for a library, not the path of a YAML file."""
    if is_python(source):
        return False
    path = as_path(source)
    return path.suffix not in (".yaml", ".yml") and len(path.parts) == 1


def _checked(family: TemplateFamily) -> TemplateFamily:
    """Checks what was made in Python as what is read from a file."""
    known = _known_fields(family.fields)
    for format in Format:
        for i, template in enumerate(family.templates(format)):
            place = f"{family.name}: {format.value}.{i}"
            for name in template.fields:
                if name not in known:
                    raise _unknown_field(place, name, known)
            if format.few_shot and template.style is None:
                raise InputError(
                    f"{place}: a few-shot template needs a `style`, a "
                    "`FewShotStyle`"
                )
    if not any(map(family.templates, Format)):
        raise InputError(f"{family.name}: no templates")
    return family


def _known_fields(fields: Iterable[str]) -> set[str]:
    """Returns fields, and those that templates make from them."""
    known = set(fields)
    derived = DERIVED_FIELDS.items()
    return known | {name for name, of in derived if known.issuperset(of)}


def _unknown_field(place: str, name: str, known: Iterable[str]) -> InputError:
    return InputError(
        f"{place}: unknown field {name!r}; it is not among the family's "
        "fields." + did_you_mean(name, known)
    )


def library_families() -> list[str]:
    """Returns the names of the families in the library.

    A family under `localised/` comes once per language of `_languages.yaml`,
    as `mgsm_sw` for Swahili.
    """
    return sorted(_library_paths())


def describe_families() -> list[dict]:
    """Returns each family of the library, with the fields it fills in.

    Returns:
        Dicts of `family`, `fields`, which every format needs, and
        `optional`, which some formats need. Sorted by name.

    Example:
        >>> describe_families()[1]
        {'family': 'aqua', 'fields': ['question', 'answer'],
         'optional': ['rationale']}
    """
    return [_describe(name) for name in library_families()]


def _describe(name: str) -> dict:
    family = load_family(name)
    needed = set.intersection(
        *(family.record_fields(f) for f in Format if family.templates(f))
    )
    return {
        "family": name,
        "fields": [f for f in family.fields if f in needed],
        "optional": [f for f in family.fields if f not in needed],
    }


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
            + did_you_mean(name, sorted([*paths, *registered_families()]))
            + " A file of your own is given by its path, ending in .yaml; an "
            "object in Python as FILE.py:NAME."
        )
    path, language = paths[name]
    return _FamilyReader(read_yaml(path), str(path), language).family()


@functools.cache
def _library_styles() -> dict[str, FewShotStyle]:
    data = read_yaml(LIBRARY / "_styles.yaml")
    return {name: FewShotStyle(name, **parts) for name, parts in data.items()}


class _FamilyReader:
    """Reads what is in a family's file.

    Args:
        content: The content.
        place: Where it is from, for messages.
        language: Of a localised family, the language.
    """

    def __init__(self, content: Any, place: str, language: str | None = None):
        self._path = place
        self._language = language
        self._file = validate(FamilyFile, content, place)
        parts = languages()[language] if language else {}
        self._parts = {k: Template.parse(v) for k, v in parts.items()}
        self._known = _known_fields([*self._file.fields, *self._parts])
        own = {
            name: FewShotStyle(
                name,
                **{
                    key: self._parse(
                        text, f"{place}: styles.{name}.{key}"
                    ).render({})
                    for key, text in style
                },
            )
            for name, style in self._file.styles.items()
        }
        self._styles = {**_library_styles(), **own}
        self._cycle = list(own or self._styles)

    def family(self) -> TemplateFamily:
        """Returns the family; InputError for a broken template, or none."""
        included = _Templates()
        if self._file.include:
            path = LIBRARY / f"{self._file.include}.yaml"
            if not path.is_file():
                raise InputError(
                    f"{self._path}: include: {self._file.include}: no such "
                    "library file; the library has _inversion"
                )
            included = validate(_Templates, read_yaml(path), str(path))
        for field in self._file.shorten:
            if field not in self._file.fields:
                raise InputError(
                    f"{self._path}: shorten: {field!r} is none of the fields."
                    + did_you_mean(field, self._file.fields)
                )
        lists = {}
        for name in _LISTS:
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
            shorten=tuple(self._file.shorten),
        )

    def _prompt_template(
        self, entry: _Entry, format: Format, index: int
    ) -> PromptTemplate:
        place = f"{self._path}: {format.value}.{index}"
        parsed = {
            key: self._parse(text, f"{place}.{key}")
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
            return PromptTemplate(parsed["input"], parsed["target"])
        if entry.style is not None and entry.style not in self._styles:
            raise InputError(
                f"{place}.style: unknown style {entry.style!r}."
                + did_you_mean(entry.style, self._styles)
            )
        name = entry.style or self._cycle[index % len(self._cycle)]
        return PromptTemplate(style=self._styles[name], **parsed)

    def _parse(self, text: str, place: str) -> Template:
        """Parses a pattern, and puts in the phrases of the language."""
        try:
            template = Template.parse(text)
            filled = template.substitute(self._parts)
        except InputError as error:
            raise InputError(f"{place}: {error}") from None
        for name in template.fields:
            if name not in self._known:
                raise _unknown_field(place, name, self._known)
        return filled
