"""A logged example as a part of a page."""

from keras_flan.answers.cues import cut_at_stop
from keras_flan.evaluation.scores.predictions import Prediction
from keras_flan.pages import html as page


def render_prediction(row: Prediction, note: str = "") -> str:
    """Returns one example as HTML: prompt, verdict, votes, sampled paths.

    Args:
        row: A judged prediction.
        note: Plain text beside its name.
    """
    verdict = row.logged
    outputs = [cut_at_stop(text, row.stop) for text in row.outputs]
    shown = (
        '<span class="verdict right">✓ right</span>'
        if verdict.correct
        else '<span class="verdict wrong">✗ wrong</span>'
    )
    answer = verdict.answer
    facts = page.facts(
        {
            "Target": row.target,
            "Answer": "no answer found" if answer is None else answer,
        }
    )
    return page.example(
        f'<span class="task">{page.text(row.task)}</span>'
        f'<span class="id">{page.text(row.id)}</span>'
        f'<span class="id">{page.text(note)}</span>{shown}',
        row.prompt or "",
        facts
        + (
            page.votes(verdict.votes, answer, len(outputs))
            if len(outputs) > 1
            else ""
        ),
        (
            page.path(number, *path)
            for number, path in enumerate(
                zip(outputs, verdict.spans, verdict.rules, strict=True), 1
            )
        ),
    )
