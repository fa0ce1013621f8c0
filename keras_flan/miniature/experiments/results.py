"""From the scores of all runs to means, intervals and verdicts."""

import math
from collections.abc import Mapping, Sequence

from keras_flan.miniature.experiments.cells import Bench, CellScores
from keras_flan.miniature.experiments.plan import Check, ExperimentPlan
from keras_flan.miniature.experiments.scores import group_scores


def student_interval(
    values: Sequence[float], confidence: float = 0.95
) -> tuple[float, float, float]:
    """Returns the mean and its interval by Student's t.

    Args:
        values: One per seed. The interval of a single one is infinite.
        confidence: Between 0 and 1.

    Example:
        >>> [round(value, 2) for value in student_interval([1.0, 2.0, 3.0])]
        [2.0, -0.48, 4.48]
    """
    from scipy.special import stdtrit

    number = len(values)
    mean = sum(values) / number
    if number == 1:
        return mean, -math.inf, math.inf
    variance = sum((value - mean) ** 2 for value in values) / (number - 1)
    reach = float(stdtrit(number - 1, (1 + confidence) / 2))
    reach *= math.sqrt(variance / number)
    return mean, mean - reach, mean + reach


def collect_results(
    plan: ExperimentPlan,
    scores: Mapping[tuple[str, str, int], CellScores],
    bench: Bench,
) -> dict:
    """Returns what `results.json` holds.

    Args:
        plan: The plan.
        scores: Those of each experiment, arm and seed, by view.
        bench: Knows which tasks were asked, and what pretraining took.

    Returns:
        Under `experiments` each experiment's `title`, `paper`, `seeds`,
        `x`, `arms` and `checks`. An arm has its `changes` and, by view,
        group and measure (`exact`, `normalised`, in percent), `mean`, `low`,
        `high` and the `values` of the seeds. A check has the paired
        difference and a `verdict`: `agrees` or `disagrees` if the interval
        of the seeds lies on one side of the margin, else `undecided`.
    """
    experiments = {}
    for name, experiment in plan.experiments.items():
        arms = {}
        seeds = plan.seeds_of(name)
        for arm, changes in experiment.all_arms().items():
            by_seed = [scores[name, arm, seed] for seed in seeds]
            arms[arm] = {
                "changes": changes,
                "views": {
                    view: _view([one[view] for one in by_seed], bench)
                    for view in experiment.views
                },
            }
        experiments[name] = {
            "title": experiment.title,
            "paper": experiment.paper,
            "seeds": seeds,
            "x": experiment.x,
            "arms": arms,
            "checks": [_verdict(check, arms) for check in experiment.checks],
        }
    return {
        "defaults": plan.defaults.model_dump(mode="json"),
        "evaluation": plan.evaluation.model_dump(mode="json"),
        "asked": bench.asked,
        "pretraining": {
            base: bench.compute(base)
            for base in sorted({c.base for c, _ in plan.cells().values()})
        },
        "experiments": experiments,
    }


def _view(by_seed: Sequence[dict], bench: Bench) -> dict:
    """Returns groups and measures of one view, over the seeds."""
    found = [group_scores(one["tasks"], bench.asked) for one in by_seed]
    result: dict = {
        "groups": {
            group: {
                measure: _spread([one[group][measure] for one in found])
                for measure in measures
            }
            for group, measures in found[0].items()
        }
    }
    if "by_paths" in by_seed[0]:
        result["by_paths"] = {
            k: _spread([100 * one["by_paths"][k] for one in by_seed])
            for k in by_seed[0]["by_paths"]
        }
        result["calibration"] = [one["calibration"] for one in by_seed]
    return result


def _spread(values: Sequence[float]) -> dict:
    mean, low, high = student_interval(values)
    known = math.isfinite(low)
    return {
        "mean": round(mean, 4),
        "low": round(low, 4) if known else None,
        "high": round(high, 4) if known else None,
        "values": [round(value, 4) for value in values],
    }


def _verdict(check: Check, arms: Mapping[str, dict]) -> dict:
    more = arms[check.more]["views"][check.view]
    less = arms[check.less]["views"][check.less_view or check.view]
    if check.one_path:
        *_, more = more["by_paths"].values()
        less = less["by_paths"]["1"]
    else:
        more, less = (
            view["groups"][check.group]["normalised"] for view in (more, less)
        )
    # Arms share the seeds: the order of the data and the draw of the tasks.
    difference = _spread(
        [a - b for a, b in zip(more["values"], less["values"], strict=True)]
    )
    verdict = "undecided"
    if difference["low"] is not None:
        if difference["low"] > check.margin:
            verdict = "agrees"
        elif difference["high"] < check.margin:
            verdict = "disagrees"
    return {**check.model_dump(), "difference": difference, "verdict": verdict}
