"""Printing what was scored."""

from collections.abc import Mapping, Sequence
from typing import Any

from keras_flan.cli.printing import names_and_numbers

# Further columns of the table of metrics, which has to fit a terminal.
_MORE = ("f1", "rouge_l", "per_token", "single", "weighted", "abstained", "ece")
# Of more tasks or classes, only --json and metrics.json have the figures.
_MOST_CLASS_TABLES, _MOST_CLASSES = 3, 20


def print_metrics(metrics: Mapping[str, Any]) -> None:
    """Prints a table of metrics, with the unparsed share at each accuracy."""
    from rich.console import Console

    from keras_flan.evaluation.scores.scoring import way_of

    forms = metrics.get("measured", {})
    extra = [key for key in dict.fromkeys((*forms, *_MORE)) if key in metrics]
    way = f" {way_of(metrics['run'])}" if "run" in metrics else ""
    table = names_and_numbers(
        "task",
        ("n", "accuracy", "95%", "unparsed", *extra),
        f"{metrics['benchmark']}{way}",
        min_width=8,
    )
    for name, task in metrics["tasks"].items():
        table.add_row(name, *_cells(task, extra, forms))
    levels = {**metrics.get("groups", {}), "mean": metrics}
    languages = metrics.get("languages", {})
    # Where tasks are languages, their rows say it already.
    if not languages.keys() <= metrics["tasks"].keys():
        levels |= {f"in {name}": row for name, row in languages.items()}
    if len(metrics["tasks"]) > 1:
        table.add_section()
        for name, level in levels.items():
            table.add_row(name, *_cells(level, extra, forms))
    console = Console(highlight=False)
    if not console.is_terminal:  # A file need not be as narrow as one.
        wide = console.options.update_width(1000)
        widest = console.measure(table, options=wide).maximum
        console.width = max(console.width, widest)
    console.print(table)
    for name, task in metrics["tasks"].items():
        if "classes" in task and len(metrics["tasks"]) <= _MOST_CLASS_TABLES:
            console.print(_classes_table(name, task["classes"]))
    micro = metrics.get("averages", {}).get("micro", {}).get("accuracy")
    if len(metrics["tasks"]) > 1 and micro is not None:
        console.print(f"over all examples alike: {micro:.1%}")
    if "rouge_l_tokens" in metrics:
        console.print(f"rouge_l: tokens of {metrics['rouge_l_tokens']}")
    if metrics.get("normalised") is not None:
        console.print(
            f"normalised (0 is guessing): {metrics['normalised']:.1%}"
        )
    if "adaptive" in metrics:
        console.print(
            f"adaptive vote: {metrics['adaptive']:.1%} with "
            f"{metrics['drawn']:.0%} of the paths"
        )
    for line in _risk_lines(metrics.get("selective", {})):
        console.print(line)
    if "calibration" in metrics:
        console.print(
            "calibration on {n} held-out votes: ECE {ece_before:.3f} -> "
            "{ece_after:.3f}, Brier {brier_before:.3f} -> "
            "{brier_after:.3f}".format(**metrics["calibration"])
        )


def print_confidence(found: Mapping[str, Any]) -> None:
    """Prints what `fit_confidence` returned."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    weights = ", ".join(f"{n} {w:+.2f}" for n, w in found["weights"].items())
    console.print(f"fitted on {found['questions']:,} questions: {weights}")
    told = {name: found[name] for name in ("share", "fitted")}
    for line in _risk_lines(told):
        console.print(line)


def _risk_lines(selective: Mapping[str, Any]) -> list[str]:
    """Returns what is wrong if only the surest answers are given."""
    lines = []
    for name, told in selective.items():
        risks = ", ".join(
            f"{row['risk']:.1%} of the surest {row['coverage']:.0%}"
            for row in told["risk"]
        )
        what = "votes" if name == "share" else "fitted confidence"
        lines.append(f"wrong by {what} (ECE {told['ece']:.3f}): {risks}")
    return lines


def _classes_table(task: str, found: Mapping[str, Mapping[str, Any]]) -> Any:
    """Returns the figures of the classes of a task, as a table."""
    columns = ("n", "found", "precision", "recall", "F1")
    table = names_and_numbers("class", columns, f"classes of {task}", 8)
    for name, row in list(found.items())[:_MOST_CLASSES]:
        shares = (f"{row[key]:.1%}" for key in ("precision", "recall", "f1"))
        table.add_row(name, str(row["n"]), str(row["found"]), *shares)
    if len(found) > _MOST_CLASSES:
        table.add_row(f"and {len(found) - _MOST_CLASSES} more")
    return table


def _cells(
    row: Mapping[str, Any], extra: Sequence[str], forms: Mapping[str, str]
) -> list[str]:
    low, high = row["interval"]
    cells = [
        str(row["n"]),
        f"{row['accuracy']:.1%}",
        f"{100 * low:.1f}-{100 * high:.1f}",
        f"{row['unparsed'] / row['n']:.1%}",
    ]
    for key in extra:
        value = row.get(key)
        number = key == "ece" or forms.get(key) == "number"
        form = ".3f" if number else ".1%"
        cells.append("" if value is None else f"{value:{form}}")
    return cells


def print_changes(
    found: Sequence[Mapping[str, Any]], number: int, most: int = 20
) -> None:
    """Prints what `changes` returned of `number` rows, at most `most`."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    gained = sum(
        row["after"]["correct"] and not row["before"]["correct"]
        for row in found
    )
    lost = sum(
        row["before"]["correct"] and not row["after"]["correct"]
        for row in found
    )
    console.print(
        f"{len(found):,} of {number:,} answers changed: {gained:,} are right "
        f"now and were wrong, {lost:,} are wrong now and were right"
    )
    for row in found[:most]:
        before, after = row["before"], row["after"]
        console.print(
            Text(
                f"  line {row['row']} ({row['task']}): {before['answer']!r} -> "
                f"{after['answer']!r}, target {row['target']!r}"
            )
        )
    if len(found) > most:
        console.print(f"  ... {len(found) - most:,} more")


def print_comparison(found: Mapping[str, Any]) -> None:
    """Prints what `compare_runs` returned."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    low, high = found["interval"]
    if metric := found.get("metric"):
        first, second = found["scores"]
        console.print(
            f"{found['benchmark']}, {metric}: {first:.4g} ({found['first']}) "
            f"-> {second:.4g} ({found['second']})"
        )
        console.print(
            f"difference {found['difference']:+.4g}, 95% interval {low:+.4g} "
            f"to {high:+.4g}; {found['gained']:,} examples higher, "
            f"{found['lost']:,} lower"
        )
        return
    first, second = found["accuracy"]
    console.print(
        f"{found['benchmark']}: {first:.1%} ({found['first']}) -> "
        f"{second:.1%} ({found['second']})"
    )
    console.print(
        f"difference {100 * found['difference']:+.1f} points, 95% interval "
        f"{100 * low:+.1f} to {100 * high:+.1f}; {found['gained']:,} examples "
        f"gained, {found['lost']:,} lost; McNemar p = {found['mcnemar']:.3g}"
    )


def print_prompts(shown: Sequence[Mapping[str, Any]]) -> None:
    """Prints what `golden_prompts` returned."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    for row in shown:
        facts = [row["task"], row["id"], f"{row['shots']} exemplars"]
        console.rule(Text(f"{row['form']}: {', '.join(facts)}"), style="dim")
        console.print(Text(row["prompt"]))
        console.print(
            Text(
                f"-> {row['target']!r}, read as {row['answer_kind']}"
                + (f", up to {row['stop']}" if row["stop"] else "")
                + (f", of {row['choices']}" if row["choices"] else "")
            ),
            style="bold",
        )


def print_toxicity(found: Mapping[str, Any]) -> None:
    """Prints what `measure_toxicity` returned."""
    from rich.console import Console

    columns = ("prompts", "any toxic", "95%", "toxic", "mean", "q75")
    table = names_and_numbers("group", columns, min_width=8)
    for name, row in [*found["groups"].items(), ("all", found["all"])]:
        low, high = row["interval"]
        table.add_row(
            name,
            str(row["prompts"]),
            f"{row['any_toxic']:.1%}",
            f"{100 * low:.1f}-{100 * high:.1f}",
            f"{row['toxic']:.1%}",
            f"{row['mean']:.3f}",
            f"{row['q75']:.3f}",
        )
    Console().print(table)
