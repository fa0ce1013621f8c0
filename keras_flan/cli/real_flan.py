"""Flan on public data and a real base model."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from keras_flan.cli.options import (
    Json,
    Overwrite,
    Quiet,
    path_argument,
    path_option,
)
from keras_flan.cli.printing import print_json
from keras_flan.storage import local_path

app = typer.Typer()


@app.command()
def flan(
    data: Annotated[Path, path_argument("A folder of public data.")],
    output: Annotated[
        Path, path_option("Where the run is kept.", local_path)
    ] = Path("runs/flan"),
    minutes: Annotated[
        float, Option(help="For all of it; from 120 on: every arm.")
    ] = 30,
    steps: Annotated[
        int | None,
        Option(min=1, help="Steps per arm, instead of what the time allows."),
    ] = None,
    plan: Annotated[
        Path | None, path_option("A plan of your own, in YAML.")
    ] = None,
    overwrite: Overwrite = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Finetune a base model on public data; ask it what it never saw."""
    from keras_flan.real_flan.run import PAGE_FILE, run_flan

    results = run_flan(
        data,
        output,
        minutes=minutes,
        steps=steps,
        plan=plan,
        quiet=quiet or json_,
        overwrite=overwrite,
    )
    if json_:
        print_json(results)
        return
    from rich.console import Console
    from rich.table import Table

    from keras_flan.real_flan.text import headline

    found = headline(results)
    table = Table(*found.header)
    for row in found.rows:
        table.add_row(*row)
    Console().print(table)
    print(output / PAGE_FILE)
