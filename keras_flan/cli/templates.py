"""Commands about templates."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument

from keras_flan.cli.options import Json, Seed, path_option
from keras_flan.cli.printing import data as printing
from keras_flan.cli.printing import show

app = typer.Typer(invoke_without_command=True)


@app.callback()
def templates(context: typer.Context, json_: Json = False) -> None:
    """List the families of templates, and the fields they fill in.

    Fields in brackets are for some formats only, such as chain of thought, or
    may be empty. `templates check` looks at a family of your own.
    """
    if context.invoked_subcommand is not None:
        return
    from keras_flan.data.templates.library import describe_families

    rows = describe_families()
    show(rows, json_, printing.print_families)


@app.command()
def check(
    family: Annotated[
        str, Argument(help="A YAML file, FILE.py:NAME, or a known name.")
    ],
    records: Annotated[Path, path_option("The folder of a task's records.")],
    seed: Seed = 0,
    json_: Json = False,
) -> None:
    """Show each template with a real row, and warn of what is odd.

    Of fields that no template shows, answers that stand in the prompt,
    prompts equal to another's, and fields that are often empty.
    """
    from keras_flan.data.analysis.template_check import review_templates

    found = review_templates(family, records, seed)
    show(found, json_, printing.print_review)
