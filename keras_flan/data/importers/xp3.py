"""Prompts with completions in many languages: xP3, xP3mt and Aya.

Both are JSON Lines of `inputs` and `targets` that stand as they are. A task
is made of each language, and in xP3, where the rows say it, of each data set
and template, as exemplars must come from the same one. xP3's language is
under `language`, or in the name of the file (`merged_ko.jsonl`); Aya's is
under `language_code` or `language`.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from keras_flan.data.importers import base, folders
from keras_flan.data.records.languages import language_code
from keras_flan.errors import InputError

# The language, and what else tells one task of a file from another.
_Key: TypeAlias = tuple[str, str]
_Rows: TypeAlias = list[base.Row | base.Reject]


def _xp3(value: dict[str, Any], path: Path) -> _Key:
    stated = base.text_or_empty(value.get("language"))
    stated = stated or base.file_stem(path).rpartition("_")[2]
    about = [value.get(name) for name in ("dataset", "config", "template")]
    named = "_".join(text for text in about if isinstance(text, str) and text)
    return language_code(stated) or stated, base.clean_name(named)


def _aya(value: dict[str, Any], path: Path) -> _Key:
    stated = value.get("language_code") or value.get("language")
    stated = base.text_or_empty(stated)
    return language_code(stated) or stated, ""


def _prompted(value: dict[str, Any]) -> base.Found:
    if reason := base.missing_text(value, ("inputs", "targets")):
        return reason
    return {"inputs": value["inputs"], "targets": value["targets"]}


def _instructed(value: dict[str, Any]) -> base.Found:
    found = _prompted(value)
    if isinstance(found, str):
        return found
    inputs, targets = (text.strip() for text in found.values())
    return {"question": inputs, "answer": targets}


class _Format:
    """What the two have in common; `key` tells tasks, `fields` reads rows."""

    def __init__(
        self,
        name: str,
        templates: str,
        key: Callable[[dict[str, Any], Path], _Key],
        fields: Callable[[dict[str, Any]], base.Found],
    ):
        self._name, self._templates = name, templates
        self._key, self._fields = key, fields

    def _groups(self, path: Path) -> dict[_Key, _Rows]:
        groups: dict[_Key, _Rows] = {}
        broken: _Rows = []
        for number, line, value in base.read_objects(path):
            if isinstance(value, base.Reject):
                broken.append(value)
                continue
            row = base.row_or_reject(path, number, self._fields(value), line)
            rows = groups.setdefault(self._key(value, path), [])
            rows.append(row)
        first = next(iter(groups.values()), None)
        if first is None:
            return {("", ""): broken}
        first += broken
        return groups

    def _source(self, key: _Key, rows: _Rows) -> base.Source:
        language, about = key
        name = "_".join(part for part in (self._name, language, about) if part)
        return base.Source(
            rows,
            base.clean_name(name),
            self._templates,
            "text",
            extra={"language": language} if language else {},
        )

    def _parts_of_file(self, path: Path) -> list[base.Part]:
        parts = []
        for key, rows in self._groups(path).items():
            open = functools.partial(self._source, key, rows)
            parts.append(base.Part(path, open().name, open))
        return parts

    def parts(
        self, path: Path, options: base.Options
    ) -> list[base.Part] | None:
        """Lists the tasks; None if there is one."""
        if path.is_dir():
            files = folders.data_files(path, ".jsonl")
            return folders.parts_of_files(files, self._parts_of_file)
        parts = self._parts_of_file(path)
        return parts if len(parts) > 1 else None

    def read(self, path: Path, options: base.Options) -> base.Source:
        """Opens a file of one task."""
        groups = self._groups(path)
        if len(groups) > 1:
            raise InputError(
                f"{path}: expected rows of one task, found {len(groups)} "
                "(languages, data sets or templates); import them with "
                "`import_source`, as one task each"
            )
        [(key, rows)] = groups.items()
        return self._source(key, rows)


_XP3 = _Format("xp3", "t0", _xp3, _prompted)
_AYA = _Format("aya", "instruction", _aya, _instructed)
XP3 = base.Importer(
    format="xp3",
    summary="xP3 and xP3mt: prompts in many languages, one task per language",
    read=_XP3.read,
    origin="https://github.com/bigscience-workshop/xmtf",
    license="Apache-2.0",
    parts=_XP3.parts,
)
AYA = base.Importer(
    format="aya",
    summary="Aya: instructions in many languages, one task per language",
    read=_AYA.read,
    origin="https://huggingface.co/datasets/CohereLabs/aya_dataset",
    license="Apache-2.0",
    parts=_AYA.parts,
)
