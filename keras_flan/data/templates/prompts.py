"""Prompts: {zero-shot, few-shot} x {direct, chain of thought}.

This is the readable form, one example at a time, for previews, evaluation
and tests; `prompts_graph` does the same for batches inside `tf.data`.
"""

import dataclasses
from collections.abc import Callable, Sequence

from keras_flan.data.records.example import Example
from keras_flan.data.templates.draws import choose
from keras_flan.data.templates.families import (
    Format,
    PromptTemplate,
    TemplateFamily,
)
from keras_flan.data.templates.options import draw_style, option_values
from keras_flan.data.templates.task import Task

__all__ = ["Format", "Prompt", "render_prompt"]

_ANSWERS = {"choice_", "letter_", "styled_choice_"}
# Tells the draw of an exemplar's template from other draws of the seed; the
# exemplar's number is added.
EXEMPLAR_DRAW = 2


@dataclasses.dataclass(frozen=True)
class Prompt:
    """A rendered example.

    Args:
        inputs: What the model reads.
        targets: What the model should write.
        template: Which of the format's templates was used.
        shots: How many exemplars stand in `inputs`. A few-shot prompt with
            none has lost them to the budget; training leaves it out.
        answer: The answer in the form that the template asks for: the
            record's own, or an option's text, letter or marker.
    """

    inputs: str
    targets: str
    template: int
    shots: int = 0
    answer: str = ""


def render_prompt(
    source: Task | TemplateFamily,
    example: Example,
    format: Format | str,
    index: int,
    exemplars: Sequence[Example] = (),
    budget: int | None = None,
    length: Callable[[str], int] = len,
    seed: int = 0,
    letters: bool = False,
) -> Prompt:
    r"""Renders an example with the template that its place assigns to it.

    Example number `index` takes template `index` mod T, and so do all its
    exemplars ("x-shot"); in the mixed format each exemplar has a template of
    its own, and only what stands between them is the same. Trailing blanks
    are cut from the prompt.

    Args:
        source: A task, or its templates alone. Fields that only some of a
            task's records have are empty texts in the others.
        example: The example to ask.
        format: One of `Format`.
        index: Position of the example in the order of reading.
        exemplars: Solved examples to show first; few-shot formats only.
        budget: Longest prompt, in units of `length`. Whole exemplars are
            dropped from the end until the rest fits; none is cut.
        length: Measures a text, for instance in tokens.
        seed: Draws the style of the options and mixed templates, together
            with `index`.
        letters: Whether an answer that is both the letter of an option and
            the text of one is meant as the letter. A task knows itself.

    Raises:
        InputError: If the source lacks the format, or the example a field.

    Example:
        >>> render_prompt(load_family("gsm8k"), example, "zero_shot_cot", 0)
        Prompt(inputs="...\nLet's think step by step.", targets='...', ...)

    Source: arXiv:2210.11416, section 2.1; arXiv:2301.13688, section 3.
    """
    renderer = _Renderer(source, Format(format), index, seed, letters)
    prompt = renderer.render(example, exemplars)
    # The whole prompt is measured: tokens of its parts need not add up.
    if budget is not None:
        while prompt.shots and length(prompt.inputs) > budget:
            prompt = renderer.render(example, exemplars[: prompt.shots - 1])
    return prompt


class _Renderer:
    """Renders what a place assigns; arguments as for `render_prompt`."""

    def __init__(
        self,
        source: Task | TemplateFamily,
        format: Format,
        index: int,
        seed: int,
        letters: bool,
    ):
        self._missing: dict[str, str] = {}
        if isinstance(source, Task):
            source.require(format)
            self._missing = dict.fromkeys(source.fields, "")
            letters, source = source.answers_are_letters, source.family
        self._templates = source.templates(format)
        self._most = source.shots if format.few_shot else 0
        self._mixed = format is Format.few_shot_mixed
        self._style = draw_style(seed, index)
        self._index, self._seed, self._letters = index, seed, letters

    def render(self, example: Example, exemplars: Sequence[Example]) -> Prompt:
        number = self._index % len(self._templates)
        template = self._templates[number]
        values = self._values(example)
        blocks = [
            self._template_of(place, template).solved.render(self._values(one))
            + template.separator
            for place, one in enumerate(exemplars[: self._most])
        ]
        header = template.header.render(values)
        query = template.query.render(values).rstrip(" ")
        wanted = [name for name in template.target.shown if name in _ANSWERS]
        return Prompt(
            inputs="".join([header, *blocks, query]).rstrip(" "),
            targets=template.target.render(values),
            template=number,
            shots=len(blocks),
            answer=values.get(wanted[0] if wanted else "answer", ""),
        )

    def _template_of(self, place: int, own: PromptTemplate) -> PromptTemplate:
        """Returns the template of the exemplar at a place in the prompt."""
        if not self._mixed:
            return own
        parts = (EXEMPLAR_DRAW + place, self._seed, self._index)
        return self._templates[choose(len(self._templates), *parts)]

    def _values(self, example: Example) -> dict[str, str]:
        known = {**self._missing, **example.fields}
        return {**known, **option_values(known, self._style, self._letters)}
