"""Files of weights: what they claim is held against their size, first.

A few bytes of a header can ask for terabytes. So sizes are compared with the
file before anything is read or allocated, and whatever is wrong with a file
is an `InputError` that names it.
"""

import contextlib
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_flan.errors import InputError

# What files of weights are called, in presets and in checkpoints.
_PATTERNS = ("*.safetensors", "*.weights.h5", "*.npz")
# The sizes of keras-hub's backbones that set the shapes of weights.
_HEADS = (
    *("num_heads", "num_query_heads", "num_key_value_heads"),
    "num_attention_heads",
)
# Of a T5Gemma, each side has its own.
_SIDES = ("", "encoder_", "decoder_")


def files_of_weights(folder: Path) -> list[Path]:
    """Returns the files of weights in a model's folder."""
    return [file for kind in _PATTERNS for file in folder.glob(kind)]


def check_claims(place: str, sizes: Any, files: Sequence[Path]) -> None:
    """Refuses the sizes of a model that its files of weights cannot hold.

    Args:
        place: Where the sizes are, to begin the message with.
        sizes: As a keras-hub backbone takes them; those that are no whole
            numbers are left to it.
        files: Those of the weights; see `files_of_weights`.

    Raises:
        InputError: If the files have less than half a byte per weight.
    """
    if not isinstance(sizes, Mapping):
        return

    def size(*keys: str) -> int:
        values = [sizes.get(key) for key in keys]
        return max([v for v in values if type(v) is int], default=1)

    weights = size(*(f"{side}hidden_dim" for side in _SIDES))
    weights *= size("vocabulary_size")
    for side in _SIDES:
        inner = size(f"{side}intermediate_dim")
        heads = size(*(f"{side}{name}" for name in _HEADS))
        heads *= size(f"{side}head_dim", f"{side}key_value_dim")
        layers = size(f"{side}num_layers")
        weights += size(f"{side}hidden_dim") * layers * (inner + heads)
    if weights > 2 * sum(file.stat().st_size for file in files):
        found = ", ".join(file.name for file in files) or "no file of weights"
        raise InputError(
            f"{place}: asks for at least {weights:,} weights, more than there "
            f"are in its files ({found}); one of the sizes is wrong, or the "
            "weights are of another model"
        )


@contextlib.contextmanager
def opened_safetensors(
    path: str | os.PathLike, remedy: str = "download it again"
) -> Iterator["Safetensors"]:
    """Opens a safetensors file; see `Safetensors`.

    Args:
        path: A local file.
        remedy: What to do if it is broken.

    Raises:
        InputError: If it is missing or broken.
    """
    import safetensors

    try:
        opened = safetensors.safe_open(path, framework="np")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(
            f"{path}: not a safetensors file ({_brief(error)}); {remedy}"
        ) from None
    with opened:
        yield Safetensors(path, opened)


class Safetensors:
    """The tensors of an open safetensors file, read when asked for.

    The library holds the shapes against the size of the file.

    Args:
        path: The file.
        opened: What `safetensors.safe_open` returned.
    """

    def __init__(self, path: str | os.PathLike, opened: Any):
        self.path = path
        self.names: list[str] = list(opened.keys())
        self.metadata: dict[str, str] = opened.metadata() or {}
        self._opened = opened

    def read(self, name: str) -> np.ndarray:
        """Returns a tensor; InputError if numpy has no such dtype."""
        import safetensors

        try:
            return self._opened.get_tensor(name)
        except (
            *(safetensors.SafetensorError, AttributeError, TypeError),
            *(ValueError, LookupError, OSError),
        ) as error:
            raise InputError(
                f"{self.path}: tensor {name!r} cannot be read "
                f"({_brief(error)}); give the unquantised weights"
            ) from None


def read_npz(
    path: str | os.PathLike, shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields arrays of an `.npz` file as float32, one at a time.

    Args:
        path: A local file that `numpy.savez` wrote.
        shapes: The names and the shapes that the arrays must have.

    Raises:
        InputError: If the file is missing or broken, an array is not there,
            or has another shape or kind.
    """
    remedy = "install the package again"
    try:
        with zipfile.ZipFile(path) as file:
            for name, shape in shapes.items():
                with file.open(f"{name}.npy") as member:
                    found = _npy_header(member)
                    if found[0] != shape or found[2].kind != "f":
                        raise InputError(
                            f"{path}: {name!r} has the shape {found[0]} of "
                            f"{found[2]}, expected {shape} of floats; {remedy}"
                        )
                    data = member.read(found[2].itemsize * int(np.prod(shape)))
                    array = np.frombuffer(data, found[2]).astype("float32")
                    if found[1]:  # The order of Fortran.
                        yield name, array.reshape(shape[::-1]).T
                    else:
                        yield name, array.reshape(shape)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {remedy}") from None
    except Exception as error:  # Of zipfile, zlib and numpy, of many kinds.
        raise InputError(
            f"{path}: not the weights of this model ({_brief(error)}); {remedy}"
        ) from None


def _npy_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


def check_h5(path: Path) -> None:
    """Refuses a Keras `.h5` file that claims more than it holds.

    Raises:
        InputError: If the file is broken, an array is larger than its bytes
            in the file, or a name is a link to elsewhere.
    """
    import h5py

    def fault(name: str, link: Any) -> str | None:
        if not isinstance(link, h5py.HardLink):
            return f"{name!r} is a link to elsewhere"
        item = file[name]
        if not isinstance(item, h5py.Dataset):
            return None
        size, held = item.nbytes, item.id.get_storage_size()
        if size > held or item.external or item.is_virtual:
            return f"{name!r} claims {size:,} bytes and has {held:,} in it"
        return None

    try:
        with h5py.File(path, "r") as file:
            found = file.visititems_links(fault)  # The first one.
    except Exception as error:  # Of HDF5, of many kinds.
        raise InputError(
            f"{path}: not an HDF5 file ({_brief(error)}); write or download it "
            "again"
        ) from None
    if found is not None:
        raise InputError(f"{path}: {found}; give a file that Keras wrote")


def _brief(error: BaseException) -> str:
    return " ".join(f"{error}".split())[:200] or type(error).__name__
