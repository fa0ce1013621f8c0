"""Asking held-out questions: every view of a plan, by `evaluate`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from keras_flan.evaluation.benchmarks.protocols import (
    PromptProtocol,
    load_protocol,
)
from keras_flan.evaluation.runs.evaluate import TIMING_FILE, evaluate
from keras_flan.evaluation.scores.comparing import example_scores
from keras_flan.files import read_json_object
from keras_flan.real_flan.plan import View

if TYPE_CHECKING:
    from keras_flan.models.language_model import LanguageModel

RECORDS = ("instructions", "options")
# An answer is one line: a base model goes on with more of them, which are
# not counted against it.
_STOP = ("\n",)
# Paths at a time: enough for two programs side by side.
_PATHS = 128
# Scores by metric, task and question.
Scores: TypeAlias = dict[str, dict[str, dict[str, float]]]


def ask_views(
    model: "LanguageModel",
    views: Mapping[str, View],
    prepared: Mapping[str, Any],
    data: Path,
    run: Path,
    output: Path,
    quiet: bool = True,
) -> float:
    """Asks a model in every way; goes on where it was cut short.

    Args:
        model: The model.
        views: Ways of asking, by name.
        prepared: What `prepare` returned.
        data: The folder of public data.
        run: The folder of the run, which has the questions.
        output: The folder to write: `<view>/` each.
        quiet: Whether to show no progress.

    Returns:
        The seconds that all of it takes, also what was done before.
    """
    seconds = 0.0
    for name, view in usable_views(views, prepared).items():
        own = run / "asked" / view.asked
        evaluate(
            model,
            _protocol(view),
            own if view.asked in RECORDS else data,
            output=output / name,
            resume=True,
            mode=view.mode,
            shots=view.shots,
            limit=view.limit,
            tasks=view.tasks,
            max_new_tokens=view.new_tokens,
            batch_paths=_PATHS,
            progress=not quiet,
        )
        timing = read_json_object(output / name / TIMING_FILE)
        share = 1 + timing["resumed"] / max(1, timing["examples"])
        seconds += timing["seconds"] * share
    return seconds


def usable_views(
    views: Mapping[str, View], prepared: Mapping[str, Any]
) -> dict[str, View]:
    """Returns the views whose questions are there."""
    kinds = {task["asked"] for task in prepared["asked"].values()}
    here = {*kinds, *prepared["benchmarks"]}
    return {n: view for n, view in views.items() if view.asked in here}


def read_scores(
    folder: Path, view: View, prepared: Mapping[str, Any]
) -> Scores:
    """Returns the scores of a view by metric, task and question."""
    scores: Scores = {}
    for metric in view.metrics:
        if metric != "normalised":
            own = None if metric == "accuracy" else metric
            scores[metric] = example_scores(folder, own)
            continue
        scores[metric] = {
            task: {
                question: (score - guess) / (1 - guess)
                for question, score in found.items()
            }
            for task, found in example_scores(folder).items()
            for guess in [_guessing(view, task, prepared)]
        }
    return scores


def _protocol(view: View) -> PromptProtocol:
    if view.asked not in RECORDS:
        return load_protocol(view.asked)
    return load_protocol("records").model_copy(update={"stop": _STOP})


def _guessing(view: View, task: str, prepared: Mapping[str, Any]) -> float:
    """Returns what guessing scores, between 0 and 1."""
    if view.asked in RECORDS:
        return float(prepared["asked"][task].get("guessing", 0.0))
    return load_protocol(view.asked).baseline_of(task) / 100
