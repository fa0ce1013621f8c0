"""What all commands share: options, and parsing of pairs."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from keras_flan.errors import InputError
from keras_flan.generation.sampling_settings import VOTING_TEMPERATURE
from keras_flan.storage import as_path

Json = Annotated[bool, Option("--json", help="Print only JSON on stdout.")]
Quiet = Annotated[bool, Option("--quiet", help="No progress bars.")]
Overwrite = Annotated[
    bool, Option("--overwrite", help="Write over files of other kinds.")
]
Seed = Annotated[int, Option(help="The seed of everything random.")]
Model = Annotated[
    str, Option(help="A model folder, hf://NAME or kaggle://NAME.")
]
Temperature = Annotated[
    float | None,
    Option(min=0, help=f"Default: 0 for one path, else {VOTING_TEMPERATURE}."),
]
TopK = Annotated[int, Option(min=0, help="0 keeps the whole vocabulary.")]
Modules = Annotated[
    list[str] | None,
    Option(
        "--module",
        help="A Python file, or the name of a module, with KINDS, READERS or "
        "METRICS of your own, whose code is run; repeatable.",
    ),
]
NewTokens = Annotated[int, Option(min=1, help="Longest output, in tokens.")]


def path_argument(help: str) -> Any:
    """An argument that is a path, of this machine or in a bucket."""
    return Argument(help=help, parser=as_path)


def path_option(
    help: str, parser: Callable[[str], Path] = as_path, name: str | None = None
) -> Any:
    """An option that is a path, of this machine or in a bucket."""
    return Option(*([name] if name else []), help=help, parser=parser)


def parse_pairs(texts: list[str], option: str) -> dict[str, str]:
    """Parses `key=value` strings; the error names the option."""
    pairs: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InputError(f"{option}: expected NAME=VALUE, found {text!r}")
        if key in pairs:
            raise InputError(f"{option}: {key!r} is given twice; remove one")
        pairs[key] = value
    return pairs
