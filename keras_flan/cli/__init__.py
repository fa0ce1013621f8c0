"""The command line: a thin layer that parses, calls and prints.

Nothing heavy is imported before a command needs it, so `--help` answers at
once. Bad input ends with exit code 2 and one message on stderr.
Imports every room.
"""

import importlib.metadata
import os
import sys
from typing import Annotated

import typer
from typer import Option

from keras_flan.cli import (
    data,
    evaluation,
    generation,
    miniature,
    planning,
    real_flan,
    reasoning,
    reference,
    training,
)
from keras_flan.errors import Diverged, InputError
from keras_flan.runtime.start import prepare_process

app = typer.Typer(
    name="keras-flan",
    help="Instruction and chain-of-thought finetuning with Keras.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_debug = False


def _show_version(asked: bool) -> None:
    if asked:
        print(f"keras-flan {importlib.metadata.version('keras_flan')}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool,
        Option(
            "--version",
            help="Show the version.",
            callback=_show_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    global _debug
    _debug = debug


# In the order of the recipe, which is how `--help` lists them.
for part in (
    *(training, data, generation, evaluation, reasoning),
    *(reference, planning, miniature, real_flan),
):
    app.add_typer(part.app)


def main() -> None:
    """Entry point of `keras-flan`."""
    prepare_process()
    try:
        sys.exit(app(standalone_mode=False))
    except (InputError, Diverged) as error:
        if _debug:
            raise
        print(f"keras-flan: {error}", file=sys.stderr)
        sys.exit(1 if isinstance(error, Diverged) else 2)
    except BrokenPipeError:
        # `keras-flan ... | head`: nobody listens any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if _debug:
            raise
        place = f"{error.filename}: " if error.filename else ""
        reason = error.strerror or " ".join(str(error).split())
        print(f"keras-flan: {place}{reason}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        # typer's errors of usage, which it would draw as a box of lines.
        if _debug or not hasattr(error, "format_message"):
            raise
        place = getattr(getattr(error, "ctx", None), "command_path", "")
        message = " ".join(error.format_message().split())
        if message:
            print(
                f"keras-flan: {message} (see `{place or 'keras-flan'} --help`)",
                file=sys.stderr,
            )
        sys.exit(2)
