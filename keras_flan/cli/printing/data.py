"""Printing what is about records, tasks and mixtures."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_flan.cli.printing import names_and_numbers, print_json

if TYPE_CHECKING:
    from rich.table import Table

    from keras_flan.data.importers.importing import Imported
    from keras_flan.data.records.info import RecordInfo

# A table shows up to this number of formats in columns of their own.
_FORMAT_COLUMNS = 4
# Names of skipped tasks that are printed per group.
_SKIPPED_NAMES = 3


def print_import(
    imported: Imported, output: Path, mixture_file: Path | None, as_json: bool
) -> None:
    """Prints what `import_source` returned, and the mixture that was begun."""
    one, *more = imported.tasks
    alone = not (more or imported.rejected or imported.left_out)
    if as_json:
        tasks = [info.to_dict() for info in imported.tasks]
        print_json(tasks[0] if alone else {**vars(imported), "tasks": tasks})
    elif alone:
        _print_record_set(one, output)
    else:
        _print_record_sets(imported, output, mixture_file)


def _print_record_sets(
    imported: Imported, output: Path, mixture_file: Path | None
) -> None:
    examples = sum(info.num_examples for info in imported.tasks)
    for problem in imported.rejected:
        print(f"rejected: {problem['reason']}")
    print(
        f"{len(imported.tasks)} tasks, {examples} examples -> {output}; "
        f"{len(imported.rejected)} tasks rejected, "
        f"{len(imported.left_out)} left out"
    )
    if mixture_file is None:
        return
    stand_in = [
        info.name
        for info in imported.tasks
        if info.extra.get("source_split") == "dev"
    ]
    if stand_in:
        print(
            "from the development split, as no other is there: "
            + ", ".join(stand_in)
        )
    print(
        f"look at the mixture: keras-flan mixture {mixture_file} "
        "--report PAGE.html"
    )


def _print_record_set(info: RecordInfo, output: Path) -> None:
    from keras_flan.data.mixtures.questions import PAIR_FIELDS

    rejected = info.num_rejected
    print(
        f"{info.name}: {info.num_examples} examples in "
        f"{len(info.shards)} shard(s), {rejected} rejected -> {output}"
        + (f" (see {output / 'rejects.jsonl'})" if rejected else "")
    )
    if set(info.fields) >= PAIR_FIELDS:
        print(
            "learn from these pairs: keras-flan improve CONFIG "
            f"method=preference mixture={output}"
        )
    elif info.templates is None:
        print(
            f"no templates yet for the fields {', '.join(info.fields)}: "
            "import again with --templates (see `keras-flan templates`)"
        )


def print_formats(rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints what `describe_formats` returned."""
    for row in rows:
        print(f"{row['format']:24} {row['summary']}")


def print_families(rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints what `describe_families` returned; some fields in brackets."""
    for row in rows:
        optional = [f"({field})" for field in row["optional"]]
        print(f"{row['family']:24} {', '.join(row['fields'] + optional)}")


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


def print_review(found: Mapping[str, Any]) -> None:
    """Prints what `review_templates` returned; warnings come last."""
    from rich.console import Console
    from rich.text import Text

    print_prompts(found["prompts"])
    console = Console()
    warnings = found["warnings"]
    for warning in warnings:
        console.print(Text(f"warning: {warning}", "yellow"), soft_wrap=True)
    console.print(
        f"{found['family']}: {len(found['prompts'])} templates, "
        f"{found['rows']:,} rows, {len(warnings)} warnings",
        highlight=False,
        markup=False,
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
    table = names_and_numbers(
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


def print_fates(realised: Mapping[str, Any], table: bool = True) -> None:
    """Prints what `measure_stages` found out about what is trained.

    A table of tasks and formats, if it is wanted, and in red a line for each
    reason why the shares are not those of the mixture.
    """
    from rich.console import Console
    from rich.text import Text

    from keras_flan.data.analysis.report import POINTS, untrue

    console = Console()
    for stage in realised.get("stages", [realised]):
        if table:
            console.print(_fates_table(stage))
        rows = [*stage["groups"], *stage["formats"], *stage["tasks"]]
        wrong = max(
            untrue(rows),
            key=lambda row: abs(row["trained"] - row["share"]),
            default=None,
        )
        if wrong is not None:
            line = (
                f"{wrong['name']}: {wrong['trained']:.1%} of what is trained, "
                f"stated {wrong['share']:.1%}: more than {POINTS} points off"
            )
            console.print(Text(line, style="bold red"), soft_wrap=True)
        for line in stage["advice"]:
            console.print(Text(line, style="red"), soft_wrap=True)


def _fates_table(stage: Mapping[str, Any]) -> Table:
    from rich.text import Text

    from keras_flan.data.analysis.fates import FATES, columns

    shown = columns(stage["fates"])
    table = names_and_numbers(
        "task, format",
        (
            *("stated", "trained", "drawn", "left\nout"),
            *(FATES[name].replace(" ", "\n", 1) for name in shown),
        ),
        Text(f"{stage['examples']:,} examples of {stage['name']}"),
    )
    for row in stage["fates"]:
        table.add_row(
            Text(f"{row['task']}, {row['format']}"),
            f"{row['share']:.2%}",
            f"{row['trained']:.2%}",
            f"{row['drawn']:,}",
            f"{row['left_out']:,}",
            *(f"{row[name]:,}" for name in shown),
        )
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
        table = names_and_numbers(name, columns, Text(title), min_width=8)
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
