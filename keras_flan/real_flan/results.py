"""From the scores of all arms to means, intervals and verdicts."""

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_flan.evaluation.scores.predictions import read_predictions
from keras_flan.evaluation.scores.statistics import paired_difference
from keras_flan.real_flan.arms import cell_folder
from keras_flan.real_flan.asking import Scores, read_scores, usable_views
from keras_flan.real_flan.plan import BASE, Claim, FlanPlan, View

# The first questions of some tasks, to be shown.
_SHOWN = 8
_MOST_LETTERS = 500
# Its texts are asked, but not shown.
_UNSHOWN = "toxic language"


def collect_results(
    plan: FlanPlan,
    prepared: Mapping[str, Any],
    done: Sequence[tuple[str, int]],
    run: Path,
    state: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns what `results.json` holds.

    Args:
        plan: The plan.
        prepared: What `prepare` returned.
        done: Arms and seeds that were trained and asked.
        run: The folder of the run.
        state: Its state: steps, times, losses.

    Returns:
        `model` and its `licence`, `minutes`, `steps`, `machine`, the `data`
        and the `views`.
        Under `arms` each arm's `seeds`, what its `trainings` were, and by
        view and metric, in percent, `base` and `tuned` (means over tasks),
        their `difference`, its 95% intervals `examples` and `tasks` (see
        `paired_difference`), and the means of both by task. Scores of several
        seeds are averaged question by question. `claims` have a `verdict`:
        `agrees` or `disagrees` if the interval over examples lies on one side
        of the margin, else `undecided`. `shown` are some questions with the
        outputs before and after.
    """
    views = usable_views(plan.views, prepared)
    base = _scores(views, prepared, [run / BASE])
    seeds: dict[str, list[int]] = {}
    for arm, seed in done:
        seeds.setdefault(arm, []).append(seed)
    scores = {
        arm: _scores(
            views,
            prepared,
            [cell_folder(run, arm, seed) / "asked" for seed in its],
        )
        for arm, its in seeds.items()
    }
    return {
        "model": plan.train["model"],
        "licence": plan.licence,
        "train": plan.train,
        "minutes": state["minutes"],
        "steps": state["steps"],
        "machine": {"cores": os.cpu_count(), "system": platform.machine()},
        "data": prepared,
        "views": {name: view.model_dump() for name, view in views.items()},
        "arms": {
            arm: {
                "seeds": its,
                "trainings": [state["trained"][f"{arm}-{s}"] for s in its],
                "views": {
                    view: {
                        metric: _compared(base[view][metric], found)
                        for metric, found in scores[arm][view].items()
                    }
                    for view in views
                },
            }
            for arm, its in seeds.items()
        },
        "claims": [
            _verdict(claim, views, {BASE: base, **scores})
            for claim in plan.claims
            if claim.view in views
            and {claim.more, claim.less} <= {BASE, *seeds}
        ],
        "shown": _shown(views, prepared, run, done[0]),
    }


def _scores(
    views: Mapping[str, View], prepared: Mapping[str, Any], asked: list[Path]
) -> dict[str, Scores]:
    """Returns the scores by view, averaged over the folders of seeds."""
    found = {}
    for name, view in views.items():
        parts = [read_scores(folder / name, view, prepared) for folder in asked]
        found[name] = {
            metric: {
                task: {
                    question: sum(p[metric][task][question] for p in parts)
                    / len(parts)
                    for question in questions
                }
                for task, questions in tasks.items()
            }
            for metric, tasks in parts[0].items()
        }
    return found


def _compared(
    base: Mapping[str, Mapping[str, float]],
    tuned: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """Returns means and the paired difference of a metric, in percent."""
    tasks = {
        task: {
            "questions": len(scores),
            "base": _mean(base[task]),
            "tuned": _mean(scores),
        }
        for task, scores in tuned.items()
    }
    return {
        **{
            side: sum(t[side] for t in tasks.values()) / len(tasks)
            for side in ("base", "tuned")
        },
        **_difference(base, tuned),
        "questions": sum(t["questions"] for t in tasks.values()),
        "by_task": tasks,
    }


def _difference(
    less: Mapping[str, Mapping[str, float]],
    more: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    found = paired_difference(
        {task: list(scores.values()) for task, scores in less.items()},
        {task: list(scores.values()) for task, scores in more.items()},
    )
    over_tasks = found["tasks_interval"]
    return {
        "difference": 100 * found["difference"],
        "examples": [100 * edge for edge in found["interval"]],
        "tasks": over_tasks and [100 * edge for edge in over_tasks],
    }


def _mean(scores: Mapping[str, float]) -> float:
    return 100 * sum(scores.values()) / len(scores)


def _verdict(
    claim: Claim,
    views: Mapping[str, View],
    scores: Mapping[str, Mapping[str, Scores]],
) -> dict[str, Any]:
    metric = views[claim.view].metrics[0]
    found = _difference(
        scores[claim.less][claim.view][metric],
        scores[claim.more][claim.view][metric],
    )
    low, high = found["examples"]
    verdict = "undecided"
    if low > claim.margin:
        verdict = "agrees"
    elif high < claim.margin:
        verdict = "disagrees"
    return {**claim.model_dump(), **found, "metric": metric, "verdict": verdict}


def _shown(
    views: Mapping[str, View],
    prepared: Mapping[str, Any],
    run: Path,
    cell: tuple[str, int],
) -> list[dict[str, str]]:
    """Returns the first question of some tasks, with what was written."""
    view = next(iter(views))
    before = read_predictions(run / BASE / view)
    after = read_predictions(cell_folder(run, *cell) / "asked" / view)
    found: dict[str, dict[str, str]] = {}
    for old, new in zip(before, after, strict=True):
        prompt = old.prompt or ""
        cluster = prepared["asked"].get(old.task, {}).get("cluster")
        if len(prompt) <= _MOST_LETTERS and cluster != _UNSHOWN:
            found.setdefault(
                old.task or view,
                {
                    "task": old.task or view,
                    "prompt": prompt,
                    "target": old.target,
                    "before": old.outputs[0],
                    "after": new.outputs[0],
                },
            )
    tasks = sorted(found)
    return [found[task] for task in tasks[:: -(-len(tasks) // _SHOWN)]]
