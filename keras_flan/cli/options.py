"""What all commands share: options, printing, parsing of pairs."""

import json
import sys
from typing import Annotated

import typer

from keras_flan.errors import InputError

Json = Annotated[
    bool, typer.Option("--json", help="Print only JSON on stdout.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]
Seed = Annotated[int, typer.Option(help="The seed of everything random.")]


def print_json(value) -> None:
    """Prints a value as JSON on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


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
