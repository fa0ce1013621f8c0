"""Texts in several languages, sentence by sentence: FLORES, NLLB, OPUS.

A folder has a file per language with a sentence per line (`kor_Hang.dev`,
`Tatoeba.en-ko.ko`), in the same order in all; a JSON Lines file has under
`translation` a text per language, or columns `sentence_kor_Hang`. Each pair of
languages is a task, asked from the one to the other. By default English is
put into each of the others; `--map source=de --map target=ko` names a pair.
"""

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from keras_flan.data.importers import base
from keras_flan.data.records.languages import language_code, language_name
from keras_flan.errors import InputError
from keras_flan.files import read_text

_PREFIX = "sentence_"


def _language_of(file: Path) -> str | None:
    """Returns the language that a file's name says, the last part first."""
    parts = file.name.removesuffix(".gz").removesuffix(".txt").split(".")
    return next(filter(None, map(language_code, reversed(parts))), None)


def _files(folder: Path) -> dict[str, Path]:
    """Returns the file of each language in a folder."""
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        language = _language_of(file) if file.is_file() else None
        if language in found:
            raise InputError(
                f"{file}: {found[language].name} is of the same language "
                f"({language}); keep one file per language in a folder"
            )
        if language:
            found[language] = file
    return found


def _pairs(
    path: Path, known: Iterable[str], options: base.Options
) -> list[tuple[str, str]]:
    """Returns the pairs of languages to be read."""
    known = list(known)
    columns = dict(options.columns or {})
    if not columns:
        if "en" not in known or len(known) < 2:
            raise InputError(
                f"{path}: expected texts in English and in another language, "
                f"found {', '.join(known) or 'none that we know'}; name a "
                "pair with --map source=CODE --map target=CODE"
            )
        return [("en", other) for other in known if other != "en"]
    if columns.keys() != {"source", "target"}:
        raise InputError(
            f"{path}: --map: expected the fields source and target, found "
            f"{', '.join(columns)}"
        )
    codes = []
    for field in ("source", "target"):
        code = language_code(str(columns[field]))
        if code not in known:
            raise InputError(
                f"{path}: --map {field}={columns[field]}: no texts in this "
                f"language; there are {', '.join(known) or 'none'}"
            )
        codes.append(code)
    return [(codes[0], codes[1])]


def _fields(pair: tuple[str, str], texts: tuple[str, str]) -> base.Found:
    named = dict(zip(("source", "target"), map(str.strip, texts), strict=True))
    if reason := base.missing_text(named, named):
        return reason
    names = [language_name(code) for code in pair]
    return {**named, "source_language": names[0], "target_language": names[1]}


def _aligned(
    files: tuple[Path, Path], pair: tuple[str, str]
) -> Iterator[base.Row | base.Reject]:
    """Yields a row per line of two files of the same length."""
    first, second = (_lines(file) for file in files)
    if len(first) != len(second):
        raise InputError(
            f"{files[1]}: {len(second):,} lines, but {files[0].name} has "
            f"{len(first):,}; parallel files have a line for each other's"
        )
    for number, texts in enumerate(zip(first, second, strict=True), 1):
        found = _fields(pair, texts)
        yield base.row_or_reject(files[1], number, found, "\n".join(texts))


def _lines(file: Path) -> list[str]:
    return read_text(file).removesuffix("\n").split("\n")


def _texts(value: dict[str, Any]) -> dict[str, str]:
    """Returns the text in each language of a JSON row."""
    told = value.get("translation")
    if not isinstance(told, dict):
        told = {
            key.removeprefix(_PREFIX): text
            for key, text in value.items()
            if key.startswith(_PREFIX)
        }
    found = {language_code(key): text for key, text in told.items()}
    return {code: text for code, text in found.items() if code}


def _json_rows(
    path: Path, pair: tuple[str, str]
) -> Iterator[base.Row | base.Reject]:
    def fields(value: dict[str, Any]) -> base.Found:
        texts = _texts(value)
        if reason := base.missing_text(texts, pair):
            return reason
        return _fields(pair, (texts[pair[0]], texts[pair[1]]))

    return base.object_rows(path, fields, "id")


def _source(
    path: Path, files: dict[str, Path] | None, pair: tuple[str, str]
) -> base.Source:
    rows = (
        _json_rows(path, pair)
        if files is None
        else _aligned((files[pair[0]], files[pair[1]]), pair)
    )
    return base.Source(
        rows,
        _name(path, pair),
        "translation",
        "text",
        extra={
            "language": pair[1],
            "input_languages": [language_name(pair[0])],
            "output_languages": [language_name(pair[1])],
        },
    )


def _name(path: Path, pair: tuple[str, str]) -> str:
    stem = path.resolve().name if path.is_dir() else base.file_stem(path)
    return base.clean_name("_".join([stem, *pair]))


def _open_pairs(
    path: Path, options: base.Options
) -> Iterator[tuple[tuple[str, str], functools.partial[base.Source]]]:
    files = _files(path) if path.is_dir() else None
    known: dict[str, None] = dict.fromkeys(files or ())
    if files is None:
        for _, _, value in base.read_objects(path):
            if isinstance(value, dict):
                known |= dict.fromkeys(_texts(value))
    for pair in _pairs(path, known, options):
        yield pair, functools.partial(_source, path, files, pair)


def _parts(path: Path, options: base.Options) -> list[base.Part] | None:
    found = list(_open_pairs(path, options))
    if len(found) == 1 and not path.is_dir():
        return None
    return [base.Part(path, _name(path, pair), open) for pair, open in found]


def _read(path: Path, options: base.Options) -> base.Source:
    found = list(_open_pairs(path, options))
    if len(found) > 1:
        raise InputError(
            f"{path}: {len(found)} pairs of languages; import them with "
            "`import_source`, as one task each, or name one with --map"
        )
    return found[0][1]()


IMPORTER = base.Importer(
    format="parallel",
    summary="FLORES, NLLB, OPUS: a file per language, or JSON Lines; pairs",
    read=_read,
    has_columns=True,
    parts=_parts,
)
