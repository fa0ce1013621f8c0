"""A logged example as a part of a page."""

from collections.abc import Mapping

from keras_flan.evaluation.benchmarks.protocols import cut_at_stop
from keras_flan.pages import html as page


def render_prediction(row: Mapping, note: str = "") -> str:
    """Returns one example as HTML: prompt, verdict, votes, sampled paths.

    Args:
        row: A row of a `predictions.jsonl`.
        note: Plain text beside its name.
    """
    stop = row.get("stop") or ()
    outputs = [cut_at_stop(text, stop) for text in row["outputs"]]
    right = row["correct"]
    verdict = (
        '<span class="verdict right">✓ right</span>'
        if right
        else '<span class="verdict wrong">✗ wrong</span>'
    )
    answer = row["answer"]
    facts = page.facts(
        {
            "Target": row["target"],
            "Answer": "no answer found" if answer is None else answer,
        }
    )
    votes = ""
    if len(outputs) > 1:
        votes = page.votes(row["votes"], answer, len(outputs))
    paths = "\n".join(
        page.path(number, *path)
        for number, path in enumerate(
            zip(outputs, row["spans"], row["rules"], strict=True), 1
        )
    )
    return (
        '<article class="card example"><header>'
        f'<span class="task">{page.text(row["task"])}</span>'
        f'<span class="id">{page.text(row["id"])}</span>'
        f'<span class="id">{page.text(note)}</span>{verdict}</header>\n'
        f'<div class="split"><div>{page.prompt(row["prompt"])}</div>\n'
        f"<div>{facts}{votes}</div></div>\n"
        f'<div class="paths">\n{paths}\n</div></article>'
    )
