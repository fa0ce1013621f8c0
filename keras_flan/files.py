"""Reading files, and writing them so that a killed run leaves no half."""

import codecs
import contextlib
import gzip
import io
import json
import math
import os
import re
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NoReturn

from keras_flan.disk import MeasuredFile, naming_full_disk
from keras_flan.errors import InputError
from keras_flan.locks import lock_file
from keras_flan.storage import as_path, is_remote, upload

# Byte-order marks; that of UTF-32 begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# A gzip file that unpacks to more than this (bytes), and more times its size,
# is made to fill the memory.
_SMALL, _RATIO = 1 << 24, 50
# A temporary file of `atomic_write`, beside the file that it becomes.
TEMPORARY = re.compile(r"\.(.+)\.\w{8}\.tmp")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, mode: str = "w") -> Iterator[IO]:
    r"""Opens a file that takes the place of `path` only when all went well.

    The data go to a temporary file in the same folder, which is flushed to
    disk and renamed at the end; on an exception `path` stays as it was. An
    object in a bucket is uploaded whole at the end.

    Args:
        path: The file to write. Missing parent folders are made.
        mode: `"w"` for UTF-8 text with `"\n"` line ends, `"wb"` for bytes.

    Yields:
        The open file.

    Example:
        >>> with atomic_write("out/metrics.json") as f:
        ...     f.write("{}")
    """
    path = as_path(path)
    encoding, newline = (None, None) if "b" in mode else ("utf-8", "\n")
    if is_remote(path):
        with tempfile.TemporaryDirectory(prefix="keras_flan-") as folder:
            new = Path(folder, "new")
            with new.open(mode, encoding=encoding, newline=newline) as f:
                yield f
            upload(new, path)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming_full_disk(path):
        handle, temporary = _temporary(path)
    try:
        raw = MeasuredFile(handle, path)
        with io.BufferedWriter(raw) as buffered:
            if encoding is None:
                yield buffered
            else:
                text = io.TextIOWrapper(buffered, encoding, newline=newline)
                yield text
                text.flush()
                text.detach()
            buffered.flush()
            raw.check()
        # mkstemp makes private files; give the result the usual rights.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    finally:
        os.close(handle)  # And with it the lock.


def _temporary(path: Path) -> tuple[int, str]:
    """Returns a new file beside `path`, open and locked; tidies up before.

    Those that nobody locks are of processes that were killed.
    """
    for name in os.listdir(path.parent):
        found = TEMPORARY.fullmatch(name)
        if found and found[1] == path.name:
            with contextlib.suppress(OSError):
                _remove_dead(path.parent / name)
    while True:
        handle, temporary = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=".tmp", dir=path.parent
        )
        lock_file(handle, wait=True)
        if os.path.exists(temporary):
            return handle, temporary
        os.close(handle)  # Tidied up by another one, before it was locked.


def _remove_dead(temporary: Path) -> None:
    handle = os.open(temporary, os.O_RDWR)
    try:
        if lock_file(handle):
            os.unlink(temporary)
    finally:
        os.close(handle)


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes `value` as indented UTF-8 JSON, atomically; NaN as null."""
    with atomic_write(path) as f:
        f.write(_dumps(value, ensure_ascii=False, indent=2) + "\n")


def json_text(value: Any, **options: Any) -> str:
    r"""Returns a value as JSON that any UTF-8 file can hold.

    Half a character, which a model may write, is no UTF-8: a text with one
    is escaped.

    Example:
        >>> json_text("é"), json_text("\ud800")
        ('"é"', '"\\ud800"')
    """
    text = _dumps(value, ensure_ascii=False, **options)
    if _SURROGATE.search(text):
        return _dumps(value, **options)
    return text


def _dumps(value: Any, **options: Any) -> str:
    """Returns strict JSON, in which what is no finite number is null."""
    try:
        return json.dumps(value, allow_nan=False, **options)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False, **options)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_jsonl(
    path: str | os.PathLike, rows: Iterable[Mapping[str, Any]]
) -> None:
    """Writes one compact JSON object per line, atomically."""
    with atomic_write(path) as f:
        for row in rows:
            f.write(json_text(row) + "\n")


def read_data(path: str | os.PathLike) -> bytes:
    """Returns the bytes of a file, unpacking `.gz`.

    Raises:
        InputError: If the file is missing or broken gzip, or unpacks to
            what no text would.
    """
    path = as_path(path)
    try:
        data = path.read_bytes()
        return _unpacked(path, data) if path.suffix == ".gz" else data
    except InputError:  # Of a bucket; it says all.
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: expected a file, found a folder") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None


def _unpacked(path: Path, data: bytes) -> bytes:
    """Returns what gzip packed; no text shrinks to a hundredth."""
    found, most = bytearray(), max(_SMALL, _RATIO * len(data))
    with gzip.open(io.BytesIO(data)) as file:
        while block := file.read(_SMALL):
            found += block
            if len(found) > most:
                raise InputError(
                    f"{path}: unpacks to more than {_RATIO} times its size; "
                    "unpack it, and give that file if it is as meant"
                )
    return bytes(found)


def read_text(path: str | os.PathLike) -> str:
    r"""Returns the UTF-8 text of a file, unpacking `.gz`.

    Line ends stay as they are (`"\r\n"` is not translated). Byte-order marks
    go: in front, where that of UTF-16 tells that the file is in it, and at
    the lines' beginnings, where files were put together.

    Raises:
        InputError: If the file is missing, not UTF-8 or broken gzip.
    """
    data = read_data(path)
    try:
        return decoded(data, encoding_of_mark(data) or "utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not {error.encoding.upper()} at byte {error.start}; "
            "convert it first"
        ) from None


def encoding_of_mark(data: bytes) -> str | None:
    """Returns the encoding that a byte-order mark tells, if there is one."""
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            return encoding
    return None


def decoded(data: bytes, encoding: str) -> str:
    """Returns a text without byte-order marks.

    Raises:
        UnicodeDecodeError: If the data are not in the encoding.
    """
    text = data.decode(encoding)
    if "\ufeff" in text:
        text = text.removeprefix("\ufeff").replace("\n\ufeff", "\n")
    return text


def parse_json(
    text: str | bytes, *, allow_nan: bool = False, **hooks: Any
) -> Any:
    """Returns the value of a JSON text.

    Args:
        text: The text.
        allow_nan: Take `NaN` and `Infinity`, which are not JSON: for files
            that Python may have written (the metrics of a model that diverged
            hold a `NaN`), and for those of which only the texts are used.
        **hooks: As `json.loads` takes them: `parse_float`, ...

    Raises:
        ValueError: If it isn't JSON or is nested too deeply; see
            `json_fault`.
    """
    constant = None if allow_nan else _refuse
    try:
        return json.loads(text, parse_constant=constant, **hooks)
    except RecursionError as error:
        raise ValueError(str(error)) from None


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def json_fault(error: ValueError) -> str:
    """Returns what is wrong with a line of JSON and, if known, the column.

    Example:
        >>> try:
        ...     parse_json('{"a": "b')
        ... except ValueError as error:
        ...     print(json_fault(error))
        Unterminated string starting at column 7
    """
    if not isinstance(error, json.JSONDecodeError):
        return str(error)
    # Some messages end with "at" already.
    return f"{error.msg.removesuffix(' at')} at column {error.colno}"


def read_json(
    path: str | os.PathLike,
    *,
    remedy: str = "mend it or give another file",
    allow_nan: bool = False,
    text: str | None = None,
    **hooks: Any,
) -> Any:
    """Returns the JSON value in a file (`.gz` too).

    Args:
        path: The file.
        remedy: What to do if it is broken.
        allow_nan: As in `parse_json`.
        text: Its text, if it has been read.
        **hooks: As in `parse_json`.

    Raises:
        InputError: With file, line and column, if it isn't JSON.
    """
    text = read_text(path) if text is None else text
    try:
        return parse_json(text, allow_nan=allow_nan, **hooks)
    except ValueError as error:
        line = getattr(error, "lineno", None)
        place = f"{path}:{line}" if line else path
        raise InputError(
            f"{place}: not JSON ({json_fault(error)}); {remedy}"
        ) from None


def read_json_object(
    path: str | os.PathLike,
    *,
    remedy: str = "mend it or give another file",
    allow_nan: bool = False,
) -> dict[str, Any]:
    """Returns the object that a JSON file is; as `read_json`."""
    value = read_json(path, remedy=remedy, allow_nan=allow_nan)
    return _object(value, f"{path}", f"; {remedy}")


def read_jsonl(
    path: str | os.PathLike, *, allow_nan: bool = False
) -> list[dict[str, Any]]:
    """Returns the objects of a JSON Lines file (`.gz` too).

    Args:
        path: The file.
        allow_nan: As in `parse_json`.

    Raises:
        InputError: With file and line, if a line is not a JSON object.
    """
    rows = []
    # Not str.splitlines, which also cuts at U+2028 inside strings.
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = parse_json(line, allow_nan=allow_nan)
        except ValueError as error:
            raise InputError(
                f"{path}:{number}: not JSON ({json_fault(error)}); "
                "mend or remove the line"
            ) from None
        rows.append(_object(value, f"{path}:{number}"))
    return rows


def _object(value: Any, place: str, remedy: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(
            f"{place}: expected a JSON object, found {type(value).__name__}"
            f"{remedy}"
        )
    return value
