"""A page of chains: each step's weight, truth, and the answer without it."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from keras_flan.evaluation.faithfulness.measures import Faithfulness, summary
from keras_flan.files import write_json, write_jsonl
from keras_flan.outputs import Kind, head_of, output_folder, replace_files
from keras_flan.pages import html as page

_CHAINS, _SUMMARY, _PAGE = "chains.jsonl", "faithfulness.json", "chains.html"
# Chains that the page shows.
_SHOWN = 50
_MEASURES = {
    "early_answering": "answers not there yet, over the first steps",
    "mistake_changes": "mistakes that change the answer",
    "mistake_followed": "mistakes after which it is what follows from them",
    "filler_changes": "answers that filler for the steps changes",
    "paraphrase_keeps": "answers that other words keep",
    "agrees": "chains whose answer is the most probable after them",
    "gradient_agrees": "chains of which gradients name the weightiest step",
}


# What takes up a folder of chains.
FAITHFULNESS = Kind(
    "chains of reasoning",
    lambda folder: {"chains", "agrees"} <= head_of(folder / _SUMMARY).keys(),
)


def write_faithfulness(
    folder: str | os.PathLike,
    results: Sequence[Faithfulness],
    settings: Mapping[str, object],
    overwrite: bool = False,
) -> dict[str, Any]:
    """Writes `chains.html`, `chains.jsonl` and `faithfulness.json`.

    Args:
        folder: The folder to write.
        results: What `measure` returned.
        settings: How the chains came about; shown as name and value.
        overwrite: Whether to write among files of other kinds.

    Returns:
        What `summary` says of the results.

    Raises:
        InputError: If `folder` holds something else.
    """
    told = summary(results)
    lead = (
        "What the answer does when its reasoning is cut short, altered or "
        "taken away. A step's weight is how much it raises the log-odds of "
        "the answer; without it they are lower by this. Gradient times input "
        "says the same to first order."
    )
    parts = [
        page.heading("Does the answer follow?", lead),
        page.card("Measures", _measures(told)),
        *(_chain(number, one) for number, one in enumerate(results[:_SHOWN])),
        page.card("Settings", page.pairs(settings)),
    ]
    with (
        output_folder(folder, FAITHFULNESS, overwrite) as output,
        replace_files(output, _SUMMARY) as made,
    ):
        write_jsonl(made / _CHAINS, map(to_dict, results))
        page.write(made / _PAGE, "Does the answer follow?", parts)
        write_json(made / _SUMMARY, told)
    return told


def to_dict(one: Faithfulness) -> dict[str, Any]:
    """Returns a result as a JSON-able object."""
    return {
        "prompt": one.chain.prompt,
        "answer": one.chain.answer,
        "whole": one.whole,
        "steps": [vars(step) for step in one.steps],
        "early": list(one.early),
        "mistakes": [
            {"step": place, "changed": changed, "followed": followed}
            for place, changed, followed in one.mistakes
        ],
        "filler": one.filler,
        "paraphrase": one.paraphrase,
    }


def measure_lines(told: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Returns of each measure what it is, its mean, interval and chains."""
    lines = []
    for name, what in _MEASURES.items():
        if name in told:
            row = told[name]
            low, high = row["interval"]
            span = f"{100 * low:.1f} to {100 * high:.1f}"
            lines.append(
                (what, page.percent(row["mean"]), span, f"{row['n']:,}")
            )
    return lines


def _measures(told: Mapping[str, Any]) -> str:
    header = ("Share of", "Mean", "95%", "Chains")
    return page.table(header, measure_lines(told))


def _most(values: Sequence[float]) -> float:
    return max(map(abs, values), default=0.0) or 1.0


def _strength(value: float, most: float) -> str:
    """Returns a number with a bar; what speaks against has none."""
    return f"{value:+.2f}{page.bar(max(0.0, value) / most)}"


def _chain(number: int, one: Faithfulness) -> str:
    mistakes = {place: rest for place, *rest in one.mistakes}
    most = _most([step.weight for step in one.steps])
    steepest = _most([step.gradient or 0.0 for step in one.steps])
    rows = []
    for place, step in enumerate(one.steps):
        right = {True: "right", False: "wrong", None: ""}[step.right]
        changed = ""
        if place in mistakes:
            was, followed = mistakes[place]
            changed = "follows" if followed else "changes" if was else "stays"
        rows.append(
            (
                page.text(step.text),
                right if right != "wrong" else '<b class="wrong">wrong</b>',
                _strength(step.weight, most),
                ""
                if step.gradient is None
                else _strength(step.gradient, steepest),
                page.text(step.without),
                page.text(one.whole if one.early[place] else "another"),
                changed,
            )
        )
    header = (
        *("Step", "Truth", "Weight", "Gradient", "Answer without it"),
        *("Answer before it", "With a mistake in it"),
    )
    filler = "the same" if one.filler else "another"
    facts = {"Answer": one.chain.answer, "After the chain": one.whole}
    facts |= {"With filler for the steps": filler}
    return page.card(
        f"Chain {number + 1}",
        page.prompt(one.chain.prompt)
        + page.facts(facts)
        + page.wide(page.table(header, rows)),
    )
