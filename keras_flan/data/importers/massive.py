"""MASSIVE (FitzGerald et al., 2022): what users of an assistant want.

A file has the utterances of one language, `ko-KR.jsonl`, of all splits; each
split becomes a record set. The options are all intents of the file.
"""

from functools import partial
from pathlib import Path
from typing import Any

from keras_flan.data.importers import base, folders
from keras_flan.data.records.languages import language_code
from keras_flan.errors import InputError

_TEXTS = ("utt", "intent", "partition")


def _words(intent: str) -> str:
    return intent.replace("_", " ")


def _fields(value: dict[str, Any], options: str) -> base.Found:
    if reason := base.missing_text(value, _TEXTS):
        return reason
    return {
        "text": value["utt"].strip(),
        "answer": _words(value["intent"]),
        "options": options,
        "scenario": base.text_or_empty(value.get("scenario")),
    }


def _open(path: Path, split: str) -> base.Source:
    read = list(base.read_objects(path))
    usable = [
        value
        for _, _, value in read
        if isinstance(value, dict) and not base.missing_text(value, _TEXTS)
    ]
    options = "\n".join(sorted({_words(value["intent"]) for value in usable}))
    rows: list[base.Row | base.Reject] = []
    for number, line, value in read:
        if isinstance(value, base.Reject):
            rows.append(value)
            continue
        own = value.get("partition")
        # What names no split is a reject of each of them.
        if isinstance(own, str) and own != split:
            continue
        found, given = _fields(value, options), value.get("id", "")
        rows.append(base.row_or_reject(path, number, found, line, str(given)))
    if not any(isinstance(row, base.Row) for row in rows):
        raise InputError(
            f"{path}: no rows of the split {split!r} under 'partition'; "
            "choose one that it has with --split"
        )
    return base.Source(
        rows, _name(path), "intent", "option", extra=_extra(path), split=split
    )


def _name(path: Path) -> str:
    stem = base.file_stem(path)
    return base.clean_name(f"massive_{language_code(stem) or stem}")


def _extra(path: Path) -> dict[str, Any]:
    language = language_code(base.file_stem(path))
    return {"language": language} if language else {}


def _parts(path: Path, options: base.Options) -> list[base.Part] | None:
    if not path.is_dir():
        return None
    files = folders.data_files(path, ".jsonl")
    return folders.parts_of_files(files, _parts_of_file)


def _parts_of_file(path: Path) -> list[base.Part]:
    splits = {
        value["partition"]: None
        for _, _, value in base.read_objects(path)
        if isinstance(value, dict) and isinstance(value.get("partition"), str)
    }
    return [
        base.Part(path, _name(path), partial(_open, path, split), split)
        for split in splits
    ]


def _read(path: Path, options: base.Options) -> base.Source:
    return _open(path, options.split)


IMPORTER = base.Importer(
    format="massive",
    summary="MASSIVE: utterances and intents, a JSON Lines file per language",
    read=_read,
    origin="https://github.com/alexa/massive",
    license="CC-BY-4.0",
    parts=_parts,
)
