"""T0 (P3) examples that PromptSource has rendered: prompt and completion.

One template is one task (few-shot exemplars must come from the same one), so
a file with rows of several templates, or a folder of files, gives as many
record sets. The line break that ends a prompt and the `<|endoftext|>` that
ends a completion are removed.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from keras_flan.data.importers import base, folders
from keras_flan.errors import InputError

_END = "<|endoftext|>"


def _rows(path: Path) -> Iterator[tuple[str, base.Row | base.Reject]]:
    """Yields template and row; a broken row counts to the one before it."""
    template = ""
    for number, line, value in base.read_objects(path):
        if isinstance(value, base.Reject):
            yield template, value
            continue
        named = value.get("template", "")
        template = named if isinstance(named, str) else template
        found: base.Found
        if not isinstance(named, str):
            found = "expected a text under 'template'"
        else:
            found = _fields(value)
        yield template, base.row_or_reject(path, number, found, line)


def _fields(value: dict[str, Any]) -> base.Found:
    if reason := base.missing_text(value, ("prompt", "completion")):
        return reason
    targets = value["completion"].removesuffix(_END)
    if not targets.strip():
        return "the completion is empty"
    return {"inputs": value["prompt"].removesuffix("\n"), "targets": targets}


def _source(
    path: Path, template: str, rows: list[base.Row | base.Reject]
) -> base.Source:
    return base.Source(rows, _name(path, template), "t0", "text")


def _name(path: Path, template: str) -> str:
    return base.clean_name(template) or base.task_name(path, "t0")


def _groups(path: Path) -> dict[str, list[base.Row | base.Reject]]:
    groups: dict[str, list[base.Row | base.Reject]] = {}
    for template, row in _rows(path):
        groups.setdefault(template, []).append(row)
    first = groups.get("", [])
    if len(groups) > 1 and not any(isinstance(row, base.Row) for row in first):
        groups.pop("", None)
        next(iter(groups.values()))[:0] = first
    return groups


def _read(path: Path, options: base.Options) -> base.Source:
    groups = _groups(path)
    if len(groups) > 1:
        raise InputError(
            f"{path}: expected rows of one template, found {len(groups)}; "
            "import them with `import_source`, as one task each"
        )
    [(template, rows)] = groups.items() or [("", [])]
    return _source(path, template, rows)


def _parts(path: Path, options: base.Options) -> list[base.Part] | None:
    files = folders.data_files(path, ".jsonl")
    if path.is_dir():
        return folders.parts_of_files(files, parts_of_file)
    parts = parts_of_file(path)
    return parts if len(parts) > 1 else None


def parts_of_file(path: Path) -> list[base.Part]:
    """Returns the tasks that a file holds, one per template."""
    return [
        base.Part(path, _name(path, name), partial(_source, path, name, rows))
        for name, rows in _groups(path).items()
    ]


IMPORTER = base.Importer(
    format="t0",
    summary="T0 prompts as JSON Lines; gives one record set per template",
    read=_read,
    origin="https://github.com/bigscience-workshop/promptsource",
    license="Apache-2.0",
    parts=_parts,
)
