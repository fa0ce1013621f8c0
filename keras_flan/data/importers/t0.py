"""T0 (P3) examples that PromptSource has rendered: prompt and completion.

One template is one task (few-shot exemplars must come from the same one), so
a file with rows of several templates, or a folder of files, gives as many
record sets. The line break that ends a prompt and the `<|endoftext|>` that
ends a completion are removed.
"""

import functools
from collections.abc import Iterator
from pathlib import Path

from keras_flan.data.importers.base import (
    Importer,
    Options,
    Part,
    Reject,
    Row,
    Source,
    clean_name,
    data_files,
    missing_text,
    read_objects,
    task_name,
)
from keras_flan.errors import InputError

_END = "<|endoftext|>"


def _rows(path: Path) -> Iterator[tuple[str, Row | Reject]]:
    """Yields template and row; a broken row counts to the one before it."""
    template = ""
    for number, line, value in read_objects(path):
        if isinstance(value, Reject):
            yield template, value
            continue
        named = value.get("template", "")
        template = named if isinstance(named, str) else template
        reason = missing_text(value, ("prompt", "completion"))
        targets = "" if reason else value["completion"].removesuffix(_END)
        if not isinstance(named, str):
            reason = "expected a text under 'template'"
        elif not reason and not targets.strip():
            reason = "the completion is empty"
        if reason:
            yield template, Reject(path, number, reason, line)
            continue
        fields = {
            "inputs": value["prompt"].removesuffix("\n"),
            "targets": targets,
        }
        yield template, Row(path, number, fields)


def _source(path: Path, template: str, rows: list[Row | Reject]) -> Source:
    return Source(rows, _name(path, template), "t0", "text")


def _name(path: Path, template: str) -> str:
    return clean_name(template) or task_name(path, "t0")


def _groups(path: Path) -> dict[str, list[Row | Reject]]:
    groups: dict[str, list[Row | Reject]] = {}
    for template, row in _rows(path):
        groups.setdefault(template, []).append(row)
    first = groups.get("", [])
    if len(groups) > 1 and not any(isinstance(row, Row) for row in first):
        groups.pop("", None)
        next(iter(groups.values()))[:0] = first
    return groups


def _read(path: Path, options: Options) -> Source:
    groups = _groups(path)
    if len(groups) > 1:
        raise InputError(
            f"{path}: expected rows of one template, found {len(groups)}; "
            "import them with `import_source`, as one task each"
        )
    return next(
        (_source(path, name, rows) for name, rows in groups.items()),
        _source(path, "", []),
    )


def _parts(path: Path, options: Options) -> list[Part] | None:
    files = data_files(path, ".jsonl")
    parts = [part for file in files for part in parts_of_file(file)]
    return parts if len(parts) > 1 or path.is_dir() else None


def parts_of_file(path: Path) -> list[Part]:
    """Returns the tasks that a file holds, one a template."""
    return [
        Part(
            path,
            _name(path, template),
            functools.partial(_source, path, template, rows),
        )
        for template, rows in _groups(path).items()
    ]


IMPORTER = Importer(
    format="t0",
    summary="T0 prompts as JSON Lines; gives one record set a template",
    read=_read,
    origin="https://github.com/bigscience-workshop/promptsource",
    license="Apache-2.0",
    parts=_parts,
)
