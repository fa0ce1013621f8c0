"""From an opened source to a record set, and a list of what was rejected."""

import dataclasses
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_flan.data.importers import base
from keras_flan.data.importers.base import Reject, Row
from keras_flan.data.importers.checks import checked, named_options
from keras_flan.data.records.example import Example
from keras_flan.data.records.info import RecordInfo
from keras_flan.data.records.writing import write_records
from keras_flan.data.templates.families import (
    Format,
    TemplateFamily,
    record_fields,
)
from keras_flan.data.templates.library import load_family
from keras_flan.data.templates.own import is_python
from keras_flan.errors import InputError
from keras_flan.progress import track
from keras_flan.storage import as_path

_SHOWN = 200  # Characters of a rejected row that are kept.


@dataclass(frozen=True)
class Settings(base.Options):
    """All that the user asked for; see `import_file`."""

    limit: int | None = None
    shards: int = 1
    strict: bool = False
    labels: Mapping[str, str] | None = None
    templates: str | None = None
    replace: bool = False
    overwrite: bool = False
    progress: bool = False


def write_source(
    opened: base.Source,
    path: Path,
    output: str | os.PathLike,
    settings: Settings,
) -> RecordInfo:
    """Writes an opened source as a record set."""
    name, labels = settings.name or opened.name, settings.labels
    rejects: list[dict[str, Any]] = []
    rows = opened.rows
    if labels:
        rows = (name_answer(row, labels) for row in rows)
    templates, family = opened.templates, None
    if settings.templates is not None:
        templates, family = _templates(settings.templates)
    elif templates is not None:
        family = load_family(templates)
    rows = checked(named_options(rows), _needed(family))
    if settings.progress and sys.stderr.isatty():
        rows = track(rows, name, unit="rows")
    examples = _examples(rows, path, name, settings, rejects)
    if family and settings.templates is not None:
        examples = _fitting(examples, path, family)
    return write_records(
        examples,
        output,
        name=name,
        split=opened.split or settings.split,
        shards=settings.shards,
        source=f"{opened.origin} {path.name}".strip(),
        license=opened.license,
        templates=templates,
        answer_kind=opened.answer_kind,
        rejects=rejects,
        extra=opened.extra,
        replace=settings.replace,
        overwrite=settings.overwrite,
    )


def name_answer(row: Row | Reject, labels: Mapping[str, str]) -> Row | Reject:
    """Puts the label's name for a row's answer; names become the options."""
    if isinstance(row, Reject):
        return row
    answer = row.fields.get("answer")
    if answer is None:
        reason = "labels name answers, but there is no field 'answer'"
        return Reject(row.path, row.number, reason, "")
    if answer not in labels:
        reason = (
            f"expected a label of {', '.join(labels)}, found {answer!r:.40}"
        )
        return Reject(row.path, row.number, reason, answer)
    options = base.join_options(dict.fromkeys(labels.values()))
    fields = {"options": options, **row.fields, "answer": labels[answer]}
    return dataclasses.replace(row, fields=fields)


def _templates(source: str) -> tuple[str, TemplateFamily]:
    """Returns a family, and the name or path that it was given by."""
    if is_python(source):
        raise InputError(
            f"--templates {source}: records name a family or get a copy of a "
            "YAML file, but hold no code; import without, and give it to the "
            f"mixture (`templates: {source}`), or register the family"
        )
    path = as_path(source)
    is_file = path.suffix in (".yaml", ".yml")
    if is_file and not path.is_file():
        raise InputError(f"{source}: no such file of templates")
    family = load_family(source)
    return source, family


def _needed(family: TemplateFamily | None) -> Collection[str]:
    """Returns the fields that every way of asking shows, none of them empty."""
    if family is None:
        return ()
    shown = [
        record_fields(template.required)
        for format in Format
        for template in family.templates(format)
    ]
    return set.intersection(*shown) if shown else ()


def _fitting(
    examples: Iterable[Example], path: Path, family: TemplateFamily
) -> Iterator[Example]:
    """Yields the examples; fails at the end if no template can use them."""
    fields: set[str] = set()
    for example in examples:
        fields.update(example.fields)
        yield example
    needs = [
        family.record_fields(format)
        for format in Format
        if family.templates(format)
    ]
    if any(needed <= fields for needed in needs):
        return
    [missing, *_] = sorted(min(needs, key=lambda n: len(n - fields)) - fields)
    raise InputError(
        f"{path}: the template family {family.name!r} needs the field "
        f"{missing!r}; the rows have {', '.join(sorted(fields))}. Name the "
        f"column with --map {missing}=COLUMN, if the format takes --map, or "
        "choose another family (`keras-flan templates`)"
    )


def _examples(
    rows: Iterable[Row | Reject],
    path: Path,
    name: str,
    settings: Settings,
    rejects: list[dict[str, Any]],
) -> Iterator[Example]:
    """Yields the usable rows as examples and collects the others."""
    first = None
    number = 0
    for row in rows:
        if isinstance(row, Row):
            source_id = row.source_id or f"{row.path.name}:{row.number}"
            yield Example(row.fields, name, source_id, row.turns)
            number += 1
            if number == settings.limit:
                return
            continue
        place = f"{row.path}:{row.number}: {row.reason}"
        if settings.strict:
            advice = "mend the row, or import without --strict"
            raise InputError(f"{place} ({advice})")
        first = first or place
        rejects.append(
            {
                "row": row.number,
                "source": row.path.name,
                "reason": row.reason,
                # A lone surrogate is shown by its number.
                "text": row.text[:_SHOWN]
                .encode("utf-8", "backslashreplace")
                .decode("utf-8"),
            }
        )
    if not number:
        raise InputError(
            f"{first} (none of the {len(rejects)} rows can be used; is this "
            "the format of the file? see `keras-flan formats`)"
            if first
            else f"{path}: no rows to import; the file is empty"
        )
