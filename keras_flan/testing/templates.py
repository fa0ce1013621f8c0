"""What a family of templates promises."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_flan.data.records.example import Example
from keras_flan.data.templates.families import Format, TemplateFamily
from keras_flan.data.templates.library import load_family
from keras_flan.data.templates.prompts import Prompt, render_prompt
from keras_flan.data.templates.prompts_graph import PromptRenderer, Questions
from keras_flan.data.templates.task import Task


def check_templates(
    family: TemplateFamily | str | os.PathLike,
    examples: Sequence[Mapping[str, str]],
    *,
    prompts: Mapping[str, tuple[str, str]] | None = None,
    seed: int = 0,
) -> None:
    """Checks that templates ask in Python as they do in the pipeline.

    Every template of every format is rendered, and every example, few-shot
    ones with the other examples as exemplars. Both renderers give the same
    texts, and neither inputs nor targets are empty.

    Args:
        family: The family, its name or its YAML file.
        examples: The fields of at least two examples.
        prompts: Golden prompts: by a format's name the inputs and targets of
            the first example with its first template.
        seed: Seed of the options' styles.

    Raises:
        AssertionError: If a promise is broken.
        InputError: If the family is no valid one, or a field is missing.

    Example:
        >>> check_templates(
        ...     "my_family.yaml",
        ...     [{"word": "oui", "answer": "yes"}, {"word": "non", "answer":
        ...     "no"}],
        ...     prompts={"zero_shot_direct": ("What is oui?", "yes")},
        ... )
    """
    if not isinstance(family, TemplateFamily):
        family = load_family(family)
    records = [Example(dict(fields), "check") for fields in examples]
    names = tuple(sorted({name for e in records for name in e.fields}))
    task = Task("check", Path("check"), family, "train", len(records), names)
    assert task.formats, f"{family.name}: no format suits the fields {names}"
    golden = dict(prompts or {})
    for format in task.formats:
        count = max(len(records), task.num_templates(format))
        pairs = render_in_graph(task, format, records, count, seed)
        for index, pair in enumerate(pairs):
            query, shown = _asked(records, index)
            prompt = render_prompt(
                task, query, format, index, shown * format.few_shot, seed=seed
            )
            place = f"{family.name}: {format.value} {prompt.template}"
            found = (prompt.inputs, prompt.targets)
            assert pair == found, f"{place}: graph {pair}, Python {found}"
            assert all(found), f"{place}: an empty text in {found}"
            if index == 0 and format.value in golden:
                _check_golden(place, prompt, golden.pop(format.value))
    assert not golden, f"{family.name}: no format {', '.join(golden)}"


def render_in_graph(
    task: Task,
    format: Format,
    examples: Sequence[Example],
    count: int,
    seed: int = 0,
) -> list[tuple[str, str]]:
    """Returns inputs and targets as the pipeline renders them.

    Args:
        task: The task.
        format: The format.
        examples: The examples, asked by turns, each with the others as its
            exemplars.
        count: How many prompts.
        seed: Seed of the options' styles.
    """
    renderer = PromptRenderer([task], seed)
    asked = [_asked(examples, index) for index in range(count)]

    def columns(values: Sequence[Any]) -> dict[str, Any]:
        return {
            name: [
                value.fields.get(name, "")
                if isinstance(value, Example)
                else [e.fields.get(name, "") for e in value]
                for value in values
            ]
            for name in renderer.field_names
        }

    made = renderer.render(
        Questions(
            [0] * count,
            list(range(count)),
            [list(Format).index(format)] * count,
        ),
        columns([query for query, _ in asked]),
        columns([shown if format.few_shot else [] for _, shown in asked]),
    )
    texts = [[t.decode("utf-8") for t in side.numpy()] for side in made]
    return list(zip(*texts, strict=True))


def _asked(
    examples: Sequence[Example], index: int
) -> tuple[Example, list[Example]]:
    """Returns the example to ask, and the others."""
    place = index % len(examples)
    return examples[place], [*examples[:place], *examples[place + 1 :]]


def _check_golden(place: str, prompt: Prompt, golden: tuple[str, str]) -> None:
    found = (prompt.inputs, prompt.targets)
    assert found == tuple(golden), f"{place}: {found}, expected {golden}"
