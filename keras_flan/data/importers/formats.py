"""The formats that can be imported, by name; or of the user's own file."""

import os
import runpy
from pathlib import Path

from keras_flan.data.importers import (
    bbh,
    bigbench,
    codexglue,
    conversations,
    esnli,
    flan2022,
    flan_cot,
    gsm8k,
    libraries,
    massive,
    mgsm,
    mmlu,
    natural_instructions,
    parallel,
    qed,
    squad,
    t0,
    tables,
    tagging,
    tydiqa,
    word_problems,
    xp3,
)
from keras_flan.data.importers.base import Importer, Options
from keras_flan.errors import InputError, did_you_mean
from keras_flan.storage import as_path, local_copy

# fmt: off
_MODULES = (
    flan2022, gsm8k, flan_cot, natural_instructions, t0, squad, tydiqa, mgsm,
    esnli, qed, bbh, mmlu, bigbench, massive,
)
# fmt: on
IMPORTERS: dict[str, Importer] = {
    importer.format: importer
    for importer in (
        *(module.IMPORTER for module in _MODULES),
        *(word_problems.MATH_PROBLEMS, word_problems.ASDIV),
        *(tagging.CONLL, tagging.SLOTS),
        *(xp3.XP3, xp3.AYA),
        *codexglue.IMPORTERS,
        *(tables.CSV, tables.TSV, tables.JSONL, tables.JSON),
        tables.LABELLED_LINES,
        *(conversations.MESSAGES, conversations.SHAREGPT),
        *(conversations.ALPACA, conversations.PROMPT_COMPLETION),
        conversations.PREFERENCE,
        *(libraries.HF, libraries.TFDS),
        parallel.IMPORTER,
    )
}


def describe_formats() -> list[dict[str, str]]:
    """Returns `[{"format": name, "summary": one line}, ...]`."""
    return [
        {"format": name, "summary": importer.summary}
        for name, importer in IMPORTERS.items()
    ]


def find_importer(format: str | Importer, options: Options) -> Importer:
    """Returns an importer: the given one, of a name or of a `.py` file.

    Raises:
        InputError: If there is none, or it can't do what the options say.
    """
    if isinstance(format, Importer):
        importer = format
    elif format.endswith(".py"):
        importer = _own_importer(existing(format))
    elif format in IMPORTERS:
        importer = IMPORTERS[format]
    else:
        raise InputError(
            f"unknown format {format!r}." + did_you_mean(format, IMPORTERS)
        )
    if options.columns and not importer.has_columns:
        with_columns = [f for f, i in IMPORTERS.items() if i.has_columns]
        raise InputError(
            f"the format {importer.format!r} has its own columns; only "
            f"{', '.join(with_columns)} take a mapping"
        )
    for option in ("delimiter", "encoding"):
        if getattr(options, option) and option not in importer.takes:
            takers = [f for f, i in IMPORTERS.items() if option in i.takes]
            raise InputError(
                f"the format {importer.format!r} has its own {option}; only "
                f"{', '.join(takers)} take one"
            )
    for field, column in (options.columns or {}).items():
        if not isinstance(column, str) and field != "options":
            raise InputError(
                f"the field {field!r} has the columns {', '.join(column)}; "
                "only 'options' can have several"
            )
    return importer


def existing(source: str | os.PathLike) -> Path:
    """Returns the path of a source; InputError if there is none."""
    path = as_path(source)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    return path


def _own_importer(path: Path) -> Importer:
    """Returns the importer that a user's Python file defines."""
    with local_copy(path) as file:
        importer = runpy.run_path(str(file)).get("IMPORTER")
    if not isinstance(importer, Importer):
        raise InputError(
            f"{path}: expected an `Importer` under the name IMPORTER, found "
            f"{importer!r:.40}"
        )
    return importer
