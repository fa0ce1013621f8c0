"""What holds for a row of any format before it becomes an example."""

import dataclasses
import re
from collections.abc import Collection, Iterable, Iterator

from keras_flan.data.importers.base import Reject, Row, one_line
from keras_flan.data.templates.options import right_option

# Fields that are asked or answered, whatever the templates.
_NEVER_EMPTY = ("question", "answer", "inputs", "targets", "options")
# An answer that may be the number of an option.
_KEY = re.compile(r"\(?(\d{1,2})\)?\.?")


def checked(
    rows: Iterable[Row | Reject], needed: Collection[str]
) -> Iterator[Row | Reject]:
    """Rejects rows with texts that can't be used.

    These are texts that are not UTF-8, empty ones among `needed` and what is
    asked or answered, and answers that are no option.
    """
    names = {*_NEVER_EMPTY, *needed}
    for row in rows:
        if isinstance(row, Row) and (reason := _fault(row, names)):
            text = "\n".join(row.fields.values())
            yield Reject(row.path, row.number, reason, text)
        else:
            yield row


def _fault(row: Row, needed: Collection[str]) -> str:
    """Returns why a row can't be used, or `""`."""
    turns = [("turns", turn.content) for turn in row.turns]
    for name, text in (*row.fields.items(), ("id", row.source_id), *turns):
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            # JSON can hold half a surrogate pair.
            place = error.start
            return f"{name!r} holds a lone surrogate at character {place}"
        if name in needed and not text.strip():
            return f"the text under {name!r} is empty"
    answer, options = row.fields.get("answer"), _options(row)
    for number, option in enumerate(options, 1):
        if not option.strip():
            return f"option {number} of {len(options)} is empty"
    # Training would show such an answer under options of other marks.
    if not options or answer is None:
        return ""
    if right_option(options, answer, letters=True) is None:
        number = len(options)
        return f"the answer {answer!r:.60} is none of the {number} options"
    return ""


def named_options(rows: Iterable[Row | Reject]) -> Iterator[Row | Reject]:
    """Cleans answers as options are, and takes numbers of options for them.

    A number that is no option's text names one: from 0 on if any row of the
    file has the key 0 (as class labels are), else from 1 on (as ARC's are).
    """
    rows = iter(rows)
    for row in rows:
        row = _cleaned(row)
        if not _is_key(row):
            yield row
            continue
        # What the keys begin with is known when all have been seen.
        rest = [row, *map(_cleaned, rows)]
        keys = [_key(each) for each in rest if _is_key(each)]
        first = 0 if 0 in keys else 1
        yield from (_with_option(each, first) for each in rest)


def _cleaned(row: Row | Reject) -> Row | Reject:
    """Cleans the answer of a row with options as these are cleaned."""
    if isinstance(row, Reject) or not _options(row):
        return row
    answer = row.fields.get("answer")
    if answer is None or one_line(answer) == answer:
        return row
    fields = {**row.fields, "answer": one_line(answer)}
    return dataclasses.replace(row, fields=fields)


def _options(row: Row) -> list[str]:
    text = row.fields.get("options", "")
    return text.split("\n") if text else []


def _is_key(row: Row | Reject) -> bool:
    """Whether the answer may be the number of an option, and nothing else."""
    if isinstance(row, Reject) or not (options := _options(row)):
        return False
    answer = row.fields.get("answer", "")
    return bool(_KEY.fullmatch(answer)) and answer not in options


def _key(row: Row | Reject) -> int:
    assert isinstance(row, Row)
    match = _KEY.fullmatch(row.fields["answer"])
    assert match
    return int(match[1])


def _with_option(row: Row | Reject, first: int) -> Row | Reject:
    """Puts the option for the number of it."""
    if isinstance(row, Reject) or not _is_key(row):
        return row
    options, place = _options(row), _key(row) - first
    if not 0 <= place < len(options):
        return row  # `checked` says what is wrong.
    fields = {**row.fields, "answer": options[place]}
    return dataclasses.replace(row, fields=fields)
