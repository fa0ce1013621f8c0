"""Templates of prompts, in formats and families."""

import dataclasses
import enum
import functools
from collections.abc import Iterable

from keras_flan.data.templates.options import DERIVED_FIELDS
from keras_flan.data.templates.template import Field, Literal, Template


class Format(enum.StrEnum):
    """The ways of asking.

    The first four are those of the Flan 2022 paper (section 2.1). The others
    are variants of its public release, which mixtures ask for by name:
    without the answer options, with exemplars in templates of their own,
    with the example turned around (the answer is given, the question is
    wanted), and with one explained example in the instruction. The localised
    ones ask in the language of the records (see `localised`).

    Example:
        >>> Format.few_shot_cot.value
        'few_shot_cot'
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
    zero_shot_localised = "zero_shot_localised"
    zero_shot_localised_cot = "zero_shot_localised_cot"
    few_shot_localised = "few_shot_localised"
    few_shot_localised_cot = "few_shot_localised_cot"

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
# What asks in the language of the records, and the format that it is in the
# family of that language.
LOCALISED_FORMATS = {
    Format.zero_shot_localised: Format.zero_shot_direct,
    Format.zero_shot_localised_cot: Format.zero_shot_cot,
    Format.few_shot_localised: Format.few_shot_direct,
    Format.few_shot_localised_cot: Format.few_shot_cot,
}

_NOTHING = Template(())
# Fields that tell no question from another.
_NOT_ASKED = {*DERIVED_FIELDS, "answer", "options", "rationale"}


@dataclasses.dataclass(frozen=True)
class FewShotStyle:
    """The text around the parts of a few-shot prompt.

    An exemplar reads `inputs_prefix`, inputs, `x_y_delimiter`,
    `targets_prefix`, targets, `example_separator`.

    Example:
        >>> FewShotStyle("plain", "Q: ", "A: ", " ", "; ").targets_prefix
        'A: '
    """

    name: str
    inputs_prefix: str
    targets_prefix: str
    x_y_delimiter: str
    example_separator: str


@dataclasses.dataclass(frozen=True)
class PromptTemplate:
    """An input pattern, a target pattern and, for few-shot, a style.

    The header stands once before all exemplars, such as the definition of the
    task; few-shot only.

    Example:
        >>> one = load_family("gsm8k").zero_shot_direct[0]
        >>> one.input.fields
        ('question',)
    """

    input: Template  # The pattern of what the model reads.
    target: Template  # The pattern of what it should write.
    style: FewShotStyle | None = None
    header: Template = _NOTHING

    @functools.cached_property
    def query(self) -> Template:
        """The question as the prompt ends with it."""
        if self.style is None:
            return self.input
        return self._asked(self.style) + self.style.targets_prefix.rstrip()

    @functools.cached_property
    def solved(self) -> Template:
        """An exemplar without the separator after it; few-shot only."""
        style = self.style
        if style is None:
            return _NOTHING
        return self._asked(style) + style.targets_prefix + self.target

    def _asked(self, style: FewShotStyle) -> Template:
        """Returns a few-shot question up to where its answer begins."""
        prefix = Template((Literal(style.inputs_prefix),))
        return prefix + self.input + style.x_y_delimiter

    @property
    def separator(self) -> str:
        """What follows every exemplar."""
        return self.style.example_separator if self.style else ""

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields of header, input and target."""
        parts = (self.header, self.input, self.target)
        return tuple(dict.fromkeys(n for part in parts for n in part.fields))

    @property
    def required(self) -> tuple[str, ...]:
        """Those of `fields` that stand outside of optional parts."""
        parts = (self.header, self.input, self.target)
        return tuple(dict.fromkeys(n for part in parts for n in part.required))

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
            target=self.target.substitute(text),
        )


@dataclasses.dataclass(frozen=True)
class TemplateFamily:
    """The templates of one kind of task.

    Args:
        name: The name of the family.
        fields: The record fields that the templates may use.
        zero_shot_direct: Templates of this `Format`, as the other lists of
            theirs.
        shots: The most exemplars of a few-shot prompt.
        shorten: The fields that may be shortened where a zero-shot prompt is
            too long, such as a passage; without any, all may be. Of those
            that a template shows the longest is. What stands around it, the
            question above all, is kept.

    Attributes:
        zero_shot_no_options: The templates of `zero_shot_direct` that show
            answer options, without them.
        few_shot_no_options: Those of `few_shot_direct` likewise.
        few_shot_mixed: The templates of `few_shot_direct` that may stand in
            one prompt: all write the target as the first one does.

    Example:
        >>> load_family("squad").shorten
        ('context',)
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
    shorten: tuple[str, ...] = ()
    zero_shot_localised: tuple[PromptTemplate, ...] = ()
    zero_shot_localised_cot: tuple[PromptTemplate, ...] = ()
    few_shot_localised: tuple[PromptTemplate, ...] = ()
    few_shot_localised_cot: tuple[PromptTemplate, ...] = ()

    @functools.cached_property
    def question_fields(self) -> frozenset[str]:
        """The record fields that make two examples the same question.

        These are what every template asks with, without the answer and what
        goes with it.

        Example:
            >>> sorted(load_family("squad").question_fields)
            ['context', 'question']
        """
        asked = [
            frozenset(template.input.fields) - _NOT_ASKED
            for format in BASIC_FORMATS
            for template in self.templates(format)
        ]
        return frozenset.intersection(*asked) if asked else frozenset()

    @functools.cached_property
    def zero_shot_no_options(self) -> tuple[PromptTemplate, ...]:
        return _without_options(self.zero_shot_direct)

    @functools.cached_property
    def few_shot_no_options(self) -> tuple[PromptTemplate, ...]:
        return _without_options(self.few_shot_direct)

    @functools.cached_property
    def few_shot_mixed(self) -> tuple[PromptTemplate, ...]:
        templates = self.few_shot_direct
        alike = tuple(t for t in templates if t.target == templates[0].target)
        return alike if len(alike) > 1 else ()

    def templates(self, format: Format | str) -> tuple[PromptTemplate, ...]:
        """Returns the templates of a format; empty if there are none."""
        return getattr(self, Format(format).value)

    def record_fields(self, format: Format | str) -> set[str]:
        """Returns the record fields that the templates of a format need.

        Those that only stand in optional parts are not needed.
        """
        return self._record_fields[Format(format)]

    @functools.cached_property
    def _record_fields(self) -> dict[Format, set[str]]:
        # Made once: a mixture asks for it in each of its many tasks.
        return {
            format: record_fields(
                name for one in self.templates(format) for name in one.required
            )
            for format in Format
        }


def _without_options(
    templates: Iterable[PromptTemplate],
) -> tuple[PromptTemplate, ...]:
    found = (template.without_options() for template in templates)
    # Templates that differ in the place of the options alone become one.
    return tuple(dict.fromkeys(one for one in found if one is not None))


def record_fields(names: Iterable[str]) -> set[str]:
    """Returns the record fields from which template fields are made."""
    return {
        source for name in names for source in DERIVED_FIELDS.get(name, (name,))
    }
