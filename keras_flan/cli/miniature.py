"""The paper's experiments on a laptop."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from keras_flan.cli.options import Json, Overwrite, Quiet, path_option
from keras_flan.cli.printing import print_json
from keras_flan.storage import local_path

app = typer.Typer()


@app.command()
def miniature(
    output: Annotated[
        Path, path_option("Where the runs are kept.", local_path)
    ] = Path("runs/miniature"),
    plan: Annotated[
        Path | None, path_option("A plan of your own, in YAML.")
    ] = None,
    quick: Annotated[
        bool, Option("--quick", help="Fewer and smaller runs.")
    ] = False,
    only: Annotated[
        list[str] | None, Option(help="The name of an experiment; may repeat.")
    ] = None,
    workers: Annotated[
        int, Option(min=1, help="Processes, each with a share of the cores.")
    ] = 1,
    overwrite: Overwrite = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run the paper's experiments in miniature; goes on after a kill."""
    from keras_flan.miniature.experiments.execute import (
        PAGE_FILE,
        run_miniature,
    )
    from keras_flan.miniature.experiments.plan import PLAN

    results = run_miniature(
        output,
        plan=plan or PLAN,
        quick=quick,
        only=only,
        workers=workers,
        quiet=quiet or json_,
        overwrite=overwrite,
    )
    if json_:
        print_json(results)
        return
    for name, experiment in results["experiments"].items():
        for check in experiment["checks"]:
            difference = check["difference"]["mean"]
            print(
                f"{name}: {check['claim']} {check['verdict']} "
                f"({difference:+.1f} points)"
            )
    print(output / PAGE_FILE)
