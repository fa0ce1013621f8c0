"""What the commands print: JSON for programs, tables and lines for a person.

Most functions print what one function of the package returned. Rich, and what
only printing needs, is imported when something is printed.
Imports `data` and `evaluation`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

T = TypeVar("T")


def print_json(value: Any) -> None:
    """Prints a value as JSON on stdout."""
    from keras_flan.files import json_text

    sys.stdout.write(json_text(value, indent=2) + "\n")


def show(value: T, as_json: bool, printer: Callable[[T], None]) -> None:
    """Prints a value as JSON, or by its printer for a person."""
    print_json(value) if as_json else printer(value)


def names_and_numbers(
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
