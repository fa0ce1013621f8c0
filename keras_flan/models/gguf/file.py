"""GGUF files: their header and, unpacked, their tensors.

The header is read here: the library takes every text of a vocabulary for an
array of its own, which takes a minute for Gemma's, and it does not hold what
a header claims against the size of the file. The tensors are unpacked by it.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import mmap
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_flan.errors import InputError

_AGAIN = "install or download it again"
# How values are written, by the number of their type; 8 are texts, 9 lists.
_FORMS = {
    **{0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f"},
    **{7: "<?", 10: "<Q", 11: "<q", 12: "<d"},
}
_TEXT, _LIST = 8, 9
_MAX_DIMENSIONS = 4
_ALIGNMENT = 32


class _Tensor(NamedTuple):
    """Where a tensor is: its shape, outputs first, its kind, its first byte."""

    shape: tuple[int, ...]
    kind: int
    begin: int


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
                f"{path}: reading it needs the package gguf; pip install gguf"
            ) from None
        self.path = path
        self._gguf = gguf
        try:
            with (
                path.open("rb") as file,
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
            ):
                self._values, self._tensors = _Header(data).read()
        except FileNotFoundError:
            raise InputError(f"{path}: no such file") from None
        except (OSError, ValueError, struct.error) as error:
            raise InputError(
                f"{path}: not a GGUF file ({error!s:.200}); {_AGAIN}"
            ) from None

    @property
    def names(self) -> Iterable[str]:
        """The names of all tensors."""
        return self._tensors.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """Returns the shape of a tensor, outputs first."""
        return self._tensor(name).shape

    def value(
        self, key: str, kind: type | None = None, default: Any = None
    ) -> Any:
        """Returns a value of the file's header.

        Args:
            key: Its name.
            kind: The type that it must have.
            default: What a missing one is taken for; `None` refuses it.

        Raises:
            InputError: If it is not there, or of another type.
        """
        if key not in self._values:
            if default is not None:
                return default
            raise InputError(f"{self.path}: no value {key!r} in the file")
        value = self._values[key]
        if kind is not None and type(value) is not kind:
            raise InputError(
                f"{self.path}: expected {kind.__name__} under {key!r}, found "
                f"{value!r:.60}; {_AGAIN}"
            )
        return value

    def tensor(self, name: str) -> np.ndarray:
        """Returns a tensor, unpacked to float32."""
        shape, number, begin = self._tensor(name)
        try:
            kind = self._gguf.GGMLQuantizationType(number)
            widths = self._gguf.quant_shape_to_byte_shape(shape, kind)
            data = np.memmap(self.path, np.uint8, "r", begin, widths)
            return self._gguf.dequantize(data, kind)
        except (
            *(NotImplementedError, ValueError, OverflowError, OSError),
        ) as error:
            raise InputError(
                f"{self.path}: tensor {name!r} cannot be read ({error}); give "
                "a file in another quantisation"
            ) from None

    def _tensor(self, name: str) -> _Tensor:
        if name not in self._tensors:
            raise InputError(f"{self.path}: no tensor {name!r} in the file")
        return self._tensors[name]


class _Header:
    """Reads a header; all that is wrong is a `ValueError`."""

    def __init__(self, data: mmap.mmap):
        self._data, self._place = data, 0

    def read(self) -> tuple[dict[str, Any], dict[str, _Tensor]]:
        """Returns the values and the tensors, by name."""
        if self._bytes(4) != b"GGUF":
            raise ValueError("it does not begin with GGUF")
        if (version := self._number("<I")) not in (2, 3):
            raise ValueError(f"version {version}, expected 2 or 3")
        count, values = self._number("<Q"), {}
        for _ in range(self._count(self._number("<Q"), 13)):
            key = self._text()
            values[key] = self._value(self._number("<I"))
        tensors = dict(self._tensor() for _ in range(self._count(count, 24)))
        size = sum(
            int(np.prod(t.shape, dtype=object)) for t in tensors.values()
        )
        if size > 8 * len(self._data):  # At least a bit per weight.
            raise ValueError(
                f"its tensors claim {size:,} weights in a file of "
                f"{len(self._data):,} bytes"
            )
        step = values.get("general.alignment", _ALIGNMENT)
        if type(step) is not int or step < 1:
            raise ValueError(f"found the alignment {step!r}")
        start = -(-self._place // step) * step
        return values, {
            name: tensor._replace(begin=start + tensor.begin)
            for name, tensor in tensors.items()
        }

    def _bytes(self, number: int) -> bytes:
        begin = self._place
        self._place += self._count(number, 1)
        return self._data[begin : self._place]

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._bytes(struct.calcsize(form)))[0]

    def _count(self, number: int, width: int) -> int:
        """Returns a number of things, if so many can follow."""
        if number * width > len(self._data) - self._place:
            raise ValueError(
                f"byte {self._place:,} claims {number:,} things, and the file "
                f"has {len(self._data):,} bytes"
            )
        return number

    def _text(self) -> str:
        return self._bytes(self._number("<Q")).decode("utf-8")

    def _value(self, kind: int) -> Any:
        if kind == _TEXT:
            return self._text()
        if kind in _FORMS:
            return self._number(_FORMS[kind])
        if kind != _LIST:
            raise ValueError(f"byte {self._place:,}: no type {kind}")
        kind, count = self._number("<I"), self._number("<Q")
        if kind == _TEXT:
            return [self._text() for _ in range(self._count(count, 8))]
        if kind not in _FORMS:
            raise ValueError(f"a list of the type {kind}")
        dtype = np.dtype(_FORMS[kind])
        data = self._bytes(self._count(count, dtype.itemsize) * dtype.itemsize)
        return np.frombuffer(data, dtype).tolist()

    def _tensor(self) -> tuple[str, _Tensor]:
        name, number = self._text(), self._number("<I")
        if number > _MAX_DIMENSIONS:
            raise ValueError(f"a tensor of {number} dimensions")
        sizes = [self._number("<Q") for _ in range(number)]
        kind, begin = self._number("<I"), self._number("<Q")
        return name, _Tensor(tuple(sizes[::-1]), kind, begin)
