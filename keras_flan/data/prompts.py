"""Prompts: {zero-shot, few-shot} x {direct, chain of thought}.

This is the readable form, one example at a time, for previews, evaluation
and tests; `prompts_graph` does the same for batches inside `tf.data`.
"""

import dataclasses
import string
from collections.abc import Callable, Mapping, Sequence

from keras_flan.data.records import Example
from keras_flan.data.tasks import Task
from keras_flan.data.templates import Format, TemplateFamily

__all__ = ["Format", "Prompt", "render_prompt"]

OPTIONS_HEADER = "OPTIONS:"
LETTERS = string.ascii_uppercase


@dataclasses.dataclass(frozen=True)
class Prompt:
    """A rendered example.

    Args:
        inputs: What the model reads.
        targets: What the model should write.
        template: Which of the format's templates was used.
        shots: How many exemplars stand in `inputs`. A few-shot prompt with
            none has lost them to the budget; training leaves it out.
    """

    inputs: str
    targets: str
    template: int
    shots: int = 0


def template_values(fields: Mapping[str, str]) -> dict[str, str]:
    r"""Adds the fields that are derived from others.

    `options`, one option a line, gives two blocks that prompts show:
    `options_`, for answers that repeat an option, and `lettered_options_`,
    for answers that name its letter (after Z, its number). Without options
    both are empty.

    Example:
        >>> values = template_values({"options": "red\nblue"})
        >>> values["options_"]
        'OPTIONS:\n- red\n- blue'
        >>> values["lettered_options_"]
        '(A) red\n(B) blue'
    """
    options = fields.get("options", "")
    lines = options.split("\n") if options else []
    lettered = [
        f"({LETTERS[i] if i < len(LETTERS) else i + 1}) {line}"
        for i, line in enumerate(lines)
    ]
    plain = [OPTIONS_HEADER, *(f"- {line}" for line in lines)]
    return {
        **fields,
        "options_": "\n".join(plain) if lines else "",
        "lettered_options_": "\n".join(lettered),
    }


def render_prompt(
    source: Task | TemplateFamily,
    example: Example,
    format: Format | str,
    index: int,
    exemplars: Sequence[Example] = (),
    budget: int | None = None,
    length: Callable[[str], int] = len,
) -> Prompt:
    r"""Renders an example with the template that its place assigns to it.

    Example number `index` takes template `index` mod T, and so do all its
    exemplars ("x-shot"). Trailing blanks are cut from the prompt.

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

    Returns:
        The prompt.

    Raises:
        InputError: If the source lacks the format, or the example a field.

    Example:
        >>> render_prompt(load_family("gsm8k"), example, "zero_shot_cot", 0)
        Prompt(inputs="...\nLet's think step by step.", targets='...', ...)

    Source: arXiv:2210.11416, section 2.1; arXiv:2301.13688, section 3.
    """
    format = Format(format)
    if isinstance(source, Task):
        source.require(format)
        family, fields = source.family, dict.fromkeys(source.fields, "")
    else:
        family, fields = source, {}
    number = index % len(family.templates(format))
    template = family.templates(format)[number]

    def values(example: Example) -> dict[str, str]:
        return template_values({**fields, **example.fields})

    query = template.query.render(values(example)).rstrip(" ")
    blocks = [
        template.exemplar.render(values(exemplar))
        for exemplar in (exemplars if format.few_shot else ())
    ]

    def prompt() -> str:
        return ("".join(blocks) + query).rstrip(" ")

    # The whole prompt is measured: tokens of its parts need not add up.
    while blocks and budget is not None and length(prompt()) > budget:
        blocks.pop()
    return Prompt(
        inputs=prompt(),
        targets=template.target.render(values(example)),
        template=number,
        shots=len(blocks),
    )
