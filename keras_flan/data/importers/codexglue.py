"""CodeXGLUE (Lu et al., 2021): programs written, repaired, translated, judged.

Each task is a format, as JSON Lines with the benchmark's own keys: programs
for a description (`nl`, `code`; or CodeSearchNet's `docstring`, `code`), the
repair of methods (`buggy`, `fixed`), translation (`java`, `cs`) and defects
(`func`, `target`). What the benchmark has in two files of a line each,
`train.buggy-fixed.buggy` and `.fixed` or `train.java-cs.txt.java` and `.cs`,
is read from their folder, a split a set.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from keras_flan.data.importers import base
from keras_flan.errors import InputError
from keras_flan.files import read_text

_Rows: TypeAlias = Iterable[base.Row | base.Reject]
# How a language of programs is called, by the key of its texts.
_NAMES = {"java": "Java", "cs": "C#"}
# What stands in front of a file's name; and how we call it.
_SPLITS = {"train": "train", "valid": "validation", "test": "test"}


# === A description, and a program ===


def _written(value: dict[str, Any]) -> base.Found:
    described = "docstring" if "docstring" in value else "nl"
    if reason := base.missing_text(value, (described, "code")):
        return reason
    code = value["code"].strip()
    text = value[described].strip()
    if described == "docstring":
        code = _without_docstring(code, text)
        if not code:
            return "the text under 'code' is the docstring alone"
    return {
        "question": text,
        "code": code,
        "language": base.text_or_empty(value.get("language")),
    }


def _without_docstring(code: str, text: str) -> str:
    """Returns Python code without the text that it is to be written from."""
    for quote in ('"""', "'''"):
        start = code.find(quote)
        end = code.find(quote, start + 3)
        if 0 <= start < end and text[:40] in code[start:end]:
            line = code.rfind("\n", 0, start) + 1
            rest = code[end + 3 :]
            # What stands before it on its line, such as r or u, goes too.
            if not code[line:start].strip(" \trRuU"):
                rest = rest.lstrip(" \t").removeprefix("\n")
                return (code[:line] + rest).strip()
    return code


# === Pairs: repair and translation ===


def _repaired(texts: Mapping[str, Any]) -> base.Found:
    if reason := base.missing_text(texts, ("buggy", "fixed")):
        return reason
    code, fix = (texts[key].strip() for key in ("buggy", "fixed"))
    if code == fix:
        return "'buggy' and 'fixed' are the same"
    return {"code": code, "fix": fix}


def _translated(texts: Mapping[str, Any]) -> base.Found:
    if reason := base.missing_text(texts, ("java", "cs")):
        return reason
    return {
        "source": texts["java"].strip(),
        "target": texts["cs"].strip(),
        "source_language": _NAMES["java"],
        "target_language": _NAMES["cs"],
    }


def _pair_files(
    folder: Path, keys: tuple[str, str]
) -> dict[str, tuple[Path, Path]]:
    """Returns by split the two files that have a text per line each.

    Raises:
        InputError: If there are none, or one is missing or there twice.
    """
    found: dict[str, dict[str, Path]] = {}
    for file in sorted(folder.iterdir()):
        name = file.name.removesuffix(".gz")
        split, key = _SPLITS.get(name.split(".")[0]), name.rpartition(".")[2]
        if split and key in keys and file.is_file():
            own = found.setdefault(split, {})
            if key in own:
                raise InputError(
                    f"{file}: {own[key].name} is of the same split and side "
                    f"({split}, {key}); keep one of them in the folder"
                )
            own[key] = file
    for files in found.values():
        if missing := [key for key in keys if key not in files]:
            [alone] = files.values()
            raise InputError(
                f"{alone}: no file that ends with .{missing[0]} is beside it; "
                "the two have a line for each other's"
            )
    if not found:
        raise InputError(
            f"{folder}: expected files such as train.{'-'.join(keys)}."
            f"{keys[0]} and .{keys[1]}, found none; or give a JSON Lines file"
        )
    first, second = keys
    return {split: (own[first], own[second]) for split, own in found.items()}


def _lines(file: Path) -> list[str]:
    return read_text(file).removesuffix("\n").split("\n")


def _aligned(
    files: tuple[Path, Path],
    keys: tuple[str, str],
    fields: Callable[[dict[str, Any]], base.Found],
) -> Iterator[base.Row | base.Reject]:
    first, second = map(_lines, files)
    if len(first) != len(second):
        raise InputError(
            f"{files[1]}: {len(second):,} lines, but {files[0].name} has "
            f"{len(first):,}; the two have a line for each other's"
        )
    for number, texts in enumerate(zip(first, second, strict=True), 1):
        found = fields(dict(zip(keys, texts, strict=True)))
        yield base.row_or_reject(files[0], number, found, "\n".join(texts))


# === Defects ===


def _judged(value: dict[str, Any]) -> base.Found:
    if reason := base.missing_text(value, ("func",)):
        return reason
    target = value.get("target")
    if target not in (0, 1):  # Also False and True.
        return f"expected 0 or 1 under 'target', found {target!r:.40}"
    return {"code": value["func"].strip(), "answer": "yes" if target else "no"}


# === The formats ===


@dataclasses.dataclass(frozen=True)
class _Task:
    """A task of the benchmark: a format, and a template family.

    Args:
        name: Of both format and task.
        fields: The fields of a row.
        family: The template family.
        kind: Of the answers.
        keys: How the two files of a split end, if it may be in two.
    """

    name: str
    fields: Callable[[dict[str, Any]], base.Found]
    family: str
    kind: str = "text"
    keys: tuple[str, str] | None = None

    def _source(self, rows: _Rows, name: str, split: str | None) -> base.Source:
        return base.Source(rows, name, self.family, self.kind, split=split)

    def _pair(self, files: tuple[Path, Path], split: str) -> base.Source:
        assert self.keys is not None
        rows = _aligned(files, self.keys, self.fields)
        return self._source(rows, self.name, split)

    def parts(
        self, path: Path, options: base.Options
    ) -> list[base.Part] | None:
        """Lists the splits of a folder; None of a file."""
        if self.keys is None or not path.is_dir():
            return None
        return [
            base.Part(
                files[0],
                self.name,
                functools.partial(self._pair, files, split),
                split,
            )
            for split, files in _pair_files(path, self.keys).items()
        ]

    def read(self, path: Path, options: base.Options) -> base.Source:
        """Opens a JSON Lines file."""
        rows = base.object_rows(path, self.fields, "id")
        return self._source(rows, base.task_name(path, self.name), None)

    def importer(self, summary: str) -> base.Importer:
        """Returns the format."""
        return base.Importer(
            format=self.name,
            summary=f"CodeXGLUE: {summary}",
            read=self.read,
            origin="https://github.com/microsoft/CodeXGLUE",
            license="C-UDA-1.0",
            parts=self.parts,
        )


IMPORTERS = (
    _Task("code_synthesis", _written, "program_synthesis").importer(
        "programs for a description, JSON Lines of nl or docstring, and code"
    ),
    _Task(
        "code_repair", _repaired, "code_refinement", keys=("buggy", "fixed")
    ).importer("repair, JSON Lines or two files of a line each per split"),
    _Task(
        "code_translation", _translated, "code_translation", keys=("java", "cs")
    ).importer("Java to C#, JSON Lines or two files of a line each per split"),
    _Task("code_defects", _judged, "code_defects", "yes_no").importer(
        "defects, JSON Lines of func and target (0 or 1)"
    ),
)
