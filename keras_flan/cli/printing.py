"""What the commands print: tables and lines for a person.

Each function prints what one function of the package returned. Rich, and what
only printing needs, is imported when something is printed.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

# A table shows up to this number of formats in columns of their own.
_FORMAT_COLUMNS = 4
# Names of skipped tasks that are printed per group.
_SKIPPED_NAMES = 3
# Columns of the table of metrics, which has to fit a terminal.
_METRICS = (
    "f1",
    "rouge_l",
    "per_token",
    "single",
    "weighted",
    "abstained",
    "ece",
)


def print_tasks(rows: Sequence[Mapping[str, Any]], records: Path) -> None:
    """Prints what `list_tasks` returned: a line per task, and how to go on.

    A command that brings one task stands under its line; those that bring
    many stand at the end.
    """
    from keras_flan.data.mixtures.task_registry import sub_mixtures

    bring = collections.Counter(
        row["command"] for row in rows if not row["held_out"]
    )
    for row in rows:
        count = "-" if row["records"] is None else f"{row['examples']:,}"
        note = f"  (held out: {row['held_out']})" if row["held_out"] else ""
        print(
            f"{row['mixture']:6}  {count:>9}  {row['name']}  "
            f"[{row['category']}]{note}"
        )
        if row["records"] is None and bring[row["command"]] == 1:
            print(f"{'':19}{row['origin']}\n{'':19}{row['command']}")
    for name, about in sub_mixtures().items():
        own = [r for r in rows if r["mixture"] == name and not r["held_out"]]
        if not own:
            continue
        missing = [row for row in own if row["records"] is None]
        print(
            f"\n{name}: {len(own) - len(missing):,} of {len(own):,} tasks "
            f"have records (the paper counts {about.paper_tasks:,})"
        )
        shared = {
            row["command"]: row["origin"]
            for row in missing
            if bring[row["command"]] > 1
        }
        for command, origin in shared.items():
            print(f"  {origin}\n  {command}")
    if any(row["records"] is None and not row["held_out"] for row in rows):
        print(
            "\nOr put all downloads in one folder: keras-flan import flan2022 "
            f"FOLDER --output {records}"
        )


def print_prompts(rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints what `inspect` returned: inputs above, targets below a rule."""
    from rich.console import Console, Group
    from rich.panel import Panel
    from rich.rule import Rule
    from rich.text import Text

    console = Console()
    for row in rows:
        shots = f", {row['shots']}-shot" if row["shots"] else ""
        # `Text` shows brackets and colons as they are; a plain string would
        # be read as markup.
        console.print(
            Panel(
                Group(
                    Text(row["inputs"]),
                    Rule("target", style="dim"),
                    Text(row["targets"], style="green"),
                ),
                title=Text(
                    f"{row['task']} #{row['index']}: {row['format']}, "
                    f"template {row['template']}{shots}"
                ),
                title_align="left",
            )
        )


def print_mixture(summary: Mapping[str, Any]) -> None:
    """Prints what `Mixture.summary` returned, a table per stage."""
    from rich.console import Console

    console = Console()
    for stage in summary.get("stages", [summary]):
        console.print(_mixture_table(stage))
        for group in stage["groups"]:
            if group.get("skipped"):
                console.print(_skipped(group), markup=False, highlight=False)


def print_contamination(report: Mapping[str, Any]) -> None:
    """Prints what `check_contamination` returned."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    columns = ("examples", f"{report['ngram']} words", "alike")
    for title, key, name in (
        (report["name"], "mixture", "task"),
        (report["against"], "benchmark", "file"),
    ):
        side = report[key]
        table = _table(name, columns, Text(title), min_width=8)
        rows = side["tasks"] if key == "mixture" else side["files"]
        rows = [
            row for row in rows if row["overlapping"] or row["near_duplicates"]
        ]
        for row in [*rows, {**side, "name": "all", "file": "all"}]:
            table.add_row(
                Text(row["name" if key == "mixture" else "file"]),
                *(
                    f"{row[kind]:,}"
                    for kind in ("examples", "overlapping", "near_duplicates")
                ),
            )
        console.print(table)
    for pair in report["found"]:
        console.print(
            Text(
                f"{pair['task']} #{pair['index']} ~ {pair['benchmark']}: "
                + (pair.get("words") or pair["text"]),
                overflow="ellipsis",
                no_wrap=True,
            )
        )
    checked = report["benchmark"]
    console.print(
        f"{checked['overlapping']:,} of {checked['compared']:,} examples of "
        f"the benchmark with {report['ngram']} words in a row share such a "
        f"run with the mixture; {checked['near_duplicates']:,} have a "
        "near-duplicate there.",
        highlight=False,
    )


def print_metrics(metrics: Mapping[str, Any]) -> None:
    """Prints a table of metrics, with the unparsed share at each accuracy."""
    from rich.console import Console

    from keras_flan.evaluation.scores.scoring import way_of

    extra = [key for key in _METRICS if key in metrics]
    way = f" {way_of(metrics['run'])}" if "run" in metrics else ""
    table = _table(
        "task",
        ("n", "accuracy", "95%", "unparsed", *extra),
        f"{metrics['benchmark']}{way}",
        min_width=8,
    )
    for name, task in metrics["tasks"].items():
        table.add_row(name, *_cells(task, extra))
    levels = {**metrics.get("groups", {}), "mean": metrics}
    if len(metrics["tasks"]) > 1:
        table.add_section()
        for name, level in levels.items():
            table.add_row(name, *_cells(level, extra))
    console = Console()
    if not console.is_terminal:  # A file need not be as narrow as one.
        wide = console.options.update_width(1000)
        widest = console.measure(table, options=wide).maximum
        console.width = max(console.width, widest)
    console.print(table)
    if metrics.get("normalised") is not None:
        console.print(
            f"normalised (0 is guessing): {metrics['normalised']:.1%}",
            highlight=False,
        )
    if "adaptive" in metrics:
        console.print(
            f"adaptive vote: {metrics['adaptive']:.1%} with "
            f"{metrics['drawn']:.0%} of the paths",
            highlight=False,
        )
    if "calibration" in metrics:
        console.print(
            "calibration on {n} held-out votes: ECE {ece_before:.3f} -> "
            "{ece_after:.3f}, Brier {brier_before:.3f} -> "
            "{brier_after:.3f}".format(**metrics["calibration"]),
            highlight=False,
        )


def print_changes(
    found: Sequence[Mapping[str, Any]], number: int, most: int = 20
) -> None:
    """Prints what `changes` returned.

    Args:
        found: The changes.
        number: Of how many rows.
        most: The largest number of changes to show.
    """
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


def print_toxicity(found: Mapping[str, Any]) -> None:
    """Prints what `measure_toxicity` returned."""
    from rich.console import Console

    columns = ("prompts", "any toxic", "95%", "toxic", "mean", "q75")
    table = _table("group", columns, min_width=8)
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


def _table(
    first: str,
    columns: Sequence[str],
    title: str | Text | None = None,
    min_width: int | None = None,
) -> Table:
    """Returns a table of names, which may fold, and columns of numbers."""
    from rich import box
    from rich.table import Table

    table = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column(first, overflow="fold", min_width=min_width)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _mixture_table(summary: Mapping[str, Any]) -> Table:
    from rich.text import Text

    from keras_flan.data.templates.families import Format

    steps = f" ({summary['steps']:,} batches)" if "steps" in summary else ""
    used = {
        name
        for group in summary["groups"]
        for task in group["tasks"]
        for name in task["formats"]
    }
    formats = [format.value for format in Format if format.value in used]
    # Columns for more formats would leave no place for the names of tasks.
    columns = formats if len(formats) <= _FORMAT_COLUMNS else []
    table = _table(
        "task",
        (
            *("examples", "usable", "cap", "rate"),
            *(format.replace("_shot_", "\n") for format in columns),
        ),
        Text(summary["name"] + steps),
    )
    if columns != formats:
        table.add_column("formats", ratio=1)
    for group in summary["groups"]:
        table.add_row(
            Text(group["name"], style="bold"),
            *([""] * 3),
            Text(f"{group['proportion']:.2%}", style="bold"),
        )
        for task in group["tasks"]:
            shares = task["formats"]
            table.add_row(
                Text("  " + task["name"]),
                f"{task['examples']:,}",
                f"{task['usable']:,}",
                "" if task["cap"] is None else f"{task['cap']:,}",
                f"{task['rate']:.2%}",
                *(
                    [f"{shares.get(name, 0):.0%}" for name in formats]
                    if columns == formats
                    else [", ".join(f"{n} {p:.0%}" for n, p in shares.items())]
                ),
            )
        table.add_section()
    return table


def _skipped(group: Mapping[str, Any]) -> str:
    """Says which tasks of a group have no records."""
    names = group["skipped"]
    more = ", ..." if len(names) > _SKIPPED_NAMES else ""
    became = ""
    if group["stated"] is not None:
        became = f"{group['proportion']:.2%} (stated {group['stated']:.2%}); "
    return (
        f"{group['name']}: {became}{len(names):,} tasks without records "
        "skipped: " + ", ".join(names[:_SKIPPED_NAMES]) + more
    )


def _cells(row: Mapping[str, Any], extra: Sequence[str]) -> list[str]:
    low, high = row["interval"]
    cells = [
        str(row["n"]),
        f"{row['accuracy']:.1%}",
        f"{100 * low:.1f}-{100 * high:.1f}",
        f"{row['unparsed'] / row['n']:.1%}",
    ]
    for key in extra:
        value = row.get(key)
        form = ".3f" if key == "ece" else ".1%"
        cells.append("" if value is None else f"{value:{form}}")
    return cells
