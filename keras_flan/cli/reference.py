"""The command that prints what a file may hold: config."""

import sys
from typing import Annotated

import typer
from typer import Option

from keras_flan.cli.printing import print_json
from keras_flan.reference.files import ConfigFile

app = typer.Typer()


@app.command()
def config(
    file: Annotated[ConfigFile, typer.Argument(help="Which file.")],
    schema: Annotated[
        bool, Option("--schema", help="Print its JSON schema, for editors.")
    ] = False,
) -> None:
    """Print a file with every key, its default, and what it means."""
    from keras_flan.reference.examples import commented
    from keras_flan.reference.schemas import json_schema

    if schema:
        print_json(json_schema(file))
    else:
        sys.stdout.write(commented(file))
