"""Texts of any encoding, and tables of any delimiter."""

import codecs
import csv
import io
import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from keras_flan.errors import InputError
from keras_flan.files import decoded, encoding_of_mark, read_data, read_text

# Bytes of one cell: more than a file may have that is held in memory.
_LONGEST = (1 << 31) - 1
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_SPELLINGS = {"\\t": "\t", "tab": "\t"}
# Records that a delimiter is guessed by.
_LOOKED_AT = 30
_GUESS = "cp1252"  # What Excel writes in the West.


def read_source(path: Path, encoding: str | None = None) -> str:
    """Returns the text of a file.

    Args:
        path: The file; `.gz` too.
        encoding: Its encoding. By default it is UTF-8 or what a byte-order
            mark says; else Windows-1252 is tried, with a message.

    Raises:
        InputError: If the file is not in the encoding, or none is found.
    """
    data = read_data(path)
    if encoding is not None:
        return _decoded(path, data, encoding)
    try:
        return decoded(data, encoding_of_mark(data) or "utf-8")
    except UnicodeDecodeError as error:
        place = error.start
    try:
        text = decoded(data, _GUESS)
        plausible = _is_western(text)
    except UnicodeDecodeError:
        plausible = False
    if not plausible:
        raise InputError(
            f"{path}: not UTF-8 at byte {place}; name its encoding with "
            "--encoding, such as cp1251, shift_jis or gb18030"
        )
    _say(
        f"{path}: not UTF-8 at byte {place}, so it is read as Windows-1252; "
        "give --encoding if it is another"
    )
    return text


def _decoded(path: Path, data: bytes, encoding: str) -> str:
    try:
        codecs.lookup(encoding)
        return decoded(data, encoding)
    except (LookupError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: --encoding {encoding!r}: {error}; name the one that the "
            "file was written in"
        ) from None


def _is_western(text: str) -> bool:
    """Whether words look as if they were read in the right encoding."""
    words = re.findall(r"[^\W\d_]*[^\x00-\x7f\W\d_][^\W\d_]*", text)
    foreign = sum(sum(not c.isascii() for c in word) for word in words)
    # Accents are between plain letters; other scripts read so have no such.
    return foreign * 2 <= sum(map(len, words)) and "\x00" not in text


def _say(message: str) -> None:
    print(f"keras-flan: {message}", file=sys.stderr)


def read_csv(
    path: Path, text: str | None = None, delimiter: str = ","
) -> Iterator[tuple[int, list[str]]]:
    """Yields first line, from 1, and cells of each CSV record.

    `text` is that of the file, if it has been read. Cells have any length.
    """
    csv.field_size_limit(_LONGEST)
    text = read_text(path) if text is None else text
    # StringIO, not splitlines, which also cuts at U+0085 and the like.
    lines = io.StringIO(text, newline="\n")
    records = csv.reader(lines, strict=True, delimiter=delimiter)
    number = 1
    try:
        for cells in records:
            if cells:
                yield number, cells
            number = records.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{path}:{number}: not CSV ({error}); check the quotes there"
        ) from None


def find_delimiter(path: Path, text: str, given: str | None) -> str:
    r"""Returns the delimiter of a CSV file.

    Args:
        path: The file.
        text: Its text.
        given: The delimiter, if the user names it; `\t` and `tab` too. By
            default a comma, or else, with a message, that of `;`, tab and `|`
            by which the first records have one number of cells.

    Raises:
        InputError: If what is given is no single character.
    """
    if given is not None:
        given = _SPELLINGS.get(given, given)
        if len(given) != 1 or given in '"\r\n':
            raise InputError(
                f"--delimiter {given!r}: expected one character, such as ';' "
                "or '\\t', and no quote"
            )
        return given
    for delimiter, name in _DELIMITERS.items():
        records = read_csv(path, text, delimiter)
        try:
            widths = {
                len(cells) for _, cells in itertools.islice(records, _LOOKED_AT)
            }
        except InputError:
            continue
        if len(widths) == 1 and min(widths) > 1:
            if delimiter != ",":
                _say(
                    f"{path}: its columns are divided by a {name}; give "
                    "--delimiter if it is another character"
                )
            return delimiter
    return ","
