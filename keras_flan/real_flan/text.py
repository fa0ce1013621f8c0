"""What of the results stands in tables, for the page and for Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from keras_flan.pages.tables import Table

METRICS = {
    "exact_match": "exact match",
    "rouge_l": "ROUGE-L",
    "accuracy": "accuracy",
    "normalised": "above guessing",
}
VIEWS = {
    "instructions": "held-out tasks of Natural Instructions",
    "options": "held-out classification sets",
    "mgsm": "MGSM, English",
    "bbh": "BIG-Bench Hard",
}
_MODES = {"direct": "", "cot": ", CoT", "rank": ", ranked by likelihood"}


def view_name(view: Mapping[str, Any]) -> str:
    """Returns how a view asks, in words.

    Example:
        >>> view_name({"asked": "options", "mode": "rank", "shots": 0})
        'held-out classification sets, ranked by likelihood'
    """
    shots = f", {view['shots']} exemplars" if view["shots"] else ""
    name = VIEWS.get(view["asked"], view["asked"])
    return name + _MODES[view["mode"]] + shots


def interval(edges: Sequence[float] | None) -> str:
    """Returns an interval in points.

    Example:
        >>> interval([-1.04, 12.3])
        '-1.0 to +12.3'
    """
    return f"{edges[0]:+.1f} to {edges[1]:+.1f}" if edges else ""


def headline(results: Mapping[str, Any], arm: str | None = None) -> Table:
    """Returns the table of an arm, before and after.

    Args:
        results: What `collect_results` returns.
        arm: The arm; default: the first.
    """
    arm = arm or next(iter(results["arms"]))
    rows = [
        {
            "asked": view_name(results["views"][view]),
            "measured": METRICS[metric],
            "before": f"{found['base']:.1f}",
            "after": f"{found['tuned']:.1f}",
            "difference": f"{found['difference']:+.1f}",
            "over questions": interval(found["examples"]),
            "over tasks": interval(found["tasks"]),
        }
        for view, metrics in results["arms"][arm]["views"].items()
        for metric, found in metrics.items()
    ]
    return Table.of("Before and after", rows, _note(results))


def _note(results: Mapping[str, Any]) -> str:
    first = next(iter(results["arms"].values()))
    counts = [
        f"{found['questions']:,} questions of {len(found['by_task'])} "
        f"{view_name(results['views'][view])}"
        for view, metrics in first["views"].items()
        for found in list(metrics.values())[:1]
    ]
    return (
        "In percent, means over tasks; differences in points with their 95% "
        "intervals by a paired bootstrap: over the questions within the tasks, "
        f"and over the tasks. {'; '.join(counts)}."
    )


def by_task(results: Mapping[str, Any], view: str) -> Table:
    """Returns the scores of each task of a view, of the first arm."""
    metrics = next(iter(results["arms"].values()))["views"][view]
    tasks = next(iter(metrics.values()))["by_task"]
    rows = []
    for task, found in sorted(tasks.items()):
        row = {"task": task, "questions": str(found["questions"])}
        for metric, scores in metrics.items():
            for when in ("base", "tuned"):
                name = {"base": "before", "tuned": "after"}[when]
                column = f"{METRICS[metric]} {name}"
                row[column] = f"{scores['by_task'][task][when]:.1f}"
        rows.append(row)
    return Table.of(view_name(results["views"][view]).capitalize(), rows)


def arms(results: Mapping[str, Any]) -> Table:
    """Returns a row per arm, with the headline metric of each view."""
    views = results["views"]
    firsts = {view: about["metrics"][0] for view, about in views.items()}
    one = next(iter(results["arms"].values()))["views"]
    base = {"arm": "base", "seeds": ""}
    base |= {
        view_name(views[v]): f"{one[v][metric]['base']:.1f}"
        for v, metric in firsts.items()
    }
    rows = [base]
    for arm, found in results["arms"].items():
        row = {"arm": arm.replace("_", " "), "seeds": str(len(found["seeds"]))}
        for view, metric in firsts.items():
            its = found["views"][view][metric]
            row[view_name(views[view])] = (
                f"{its['tuned']:.1f} ({interval(its['examples'])})"
            )
        rows.append(row)
    measured = ", ".join(
        f"{view_name(views[view])}: {METRICS[metric]}"
        for view, metric in firsts.items()
    )
    note = (
        f"In percent. {measured}. In brackets: 95% interval of the difference "
        "from the base, over questions."
    )
    return Table.of("All arms, at equal tokens", rows, note)


def claims(results: Mapping[str, Any]) -> Table:
    """Returns a row per claim of the paper."""
    rows = [
        {
            "claim": one["claim"],
            "arms": f"{one['more']} against {one['less']}".replace("_", " "),
            "difference": f"{one['difference']:+.1f}",
            "95% interval": interval(one["examples"]),
            "verdict": one["verdict"],
        }
        for one in results["claims"]
    ]
    return Table.of("Claims of the paper", rows)


def data_lines(data: Mapping[str, Any]) -> dict[str, str]:
    """Returns what was trained on and held out, in words."""
    trained = {n: t for n, t in data["trained"].items() if t["examples"]}
    gone = [n for n, t in data["trained"].items() if not t["examples"]]
    held = {task["cluster"] for task in data["asked"].values()}
    return {
        "trained on": f"{len(trained)} tasks of "
        f"{len({t['cluster'] for t in trained.values()})} clusters, "
        f"{sum(t['examples'] for t in trained.values()):,} examples",
        "held-out clusters": _listed(sorted(held)),
        "rows left out": f"{data['removed']:,}, which share {data['ngram']} "
        "words in a row with a text that is asked"
        + (
            f"; of these tasks nothing is left: {_listed(gone)}" if gone else ""
        ),
        "too long to be trained on": f"{len(data['not_trained'])} tasks",
        "held out, not asked": f"{len(data['not_asked'])} tasks",
        "missing data sets": _listed(data["missing"]) or "none",
    }


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
