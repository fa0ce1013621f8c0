"""Safetensors files, one or many with an index, a tensor at a time."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

import ml_dtypes
import numpy as np
from keras import ops

from keras_flan.errors import InputError, did_you_mean
from keras_flan.files import read_json, write_json
from keras_flan.models.huggingface.tensors import Tensor
from keras_flan.models.weight_files import Safetensors, opened_safetensors

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
DTYPES = {
    "float32": np.dtype("float32"),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float16": np.dtype("float16"),
}
# What transformers wants to see before it reads a file.
_METADATA = {"format": "pt"}


class Checkpoint(contextlib.ExitStack):
    """The tensors of a folder; each is read from disk when asked for.

    Args:
        folder: Holds `model.safetensors`, or its shards and their index.

    Raises:
        InputError: If a file is missing or is no safetensors file.

    Example:
        >>> with Checkpoint("flan-t5-small") as checkpoint:
        ...     checkpoint.read("shared.weight").shape
        (32128, 512)

    Source: the format, https://huggingface.co/docs/safetensors.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder
        if (folder / INDEX).is_file():
            names = set(self._shard_names(folder / INDEX))
        elif (folder / SINGLE).is_file():
            names = {SINGLE}
        else:
            raise InputError(f"{folder}: {_what_is_missing(folder)}")
        self._files: dict[str, Safetensors] = {}
        with contextlib.ExitStack() as stack:
            for name in sorted(names):
                if not (folder / name).is_file():
                    raise InputError(
                        f"{folder / name}: no such file, though the index "
                        "names it; download the missing shard"
                    )
                file = stack.enter_context(opened_safetensors(folder / name))
                self._files.update(dict.fromkeys(file.names, file))
            self.push(stack.pop_all())

    @property
    def names(self) -> Iterable[str]:
        """The names of all tensors."""
        return self._files.keys()

    def check_tied(self, head: str, embedding: str) -> None:
        """Checks an output projection that a model takes for its embedding.

        Args:
            head: Its name; without such a tensor all is well.
            embedding: The name of the embedding.

        Raises:
            InputError: If they differ, so that the former would be lost.
        """
        if head not in self._files:
            return
        if not np.array_equal(self.read(head), self.read(embedding)):
            raise InputError(
                f"{self.folder}: config.json ties the output projection to "
                f"the embedding, but {head!r} differs from {embedding!r}; set "
                "'tie_word_embeddings' to false if the model has both"
            )

    def read(
        self, name: str, shape: tuple[int, ...] | None = None
    ) -> np.ndarray:
        """Returns a tensor as a numpy array in its own dtype.

        Args:
            name: The tensor's name.
            shape: What its shape must be, if given.

        Raises:
            InputError: If there is no such tensor, or its shape is another.
        """
        if name not in self._files:
            raise InputError(
                f"{self.folder}: no tensor {name!r} in the checkpoint."
                + did_you_mean(name, self.names)
            )
        array = self._files[name].read(name)
        if shape is not None and array.shape != shape:
            raise InputError(
                f"{self.folder}: tensor {name!r} has the shape "
                f"{array.shape}, expected {shape}; config.json belongs to "
                "another checkpoint"
            )
        if array.dtype not in DTYPES.values():
            raise InputError(
                f"{self.folder}: tensor {name!r} is {array.dtype}, expected "
                f"one of {list(DTYPES)}; give the unquantised checkpoint"
            )
        return array

    def _shard_names(self, path: Path) -> Iterable[str]:
        index = read_json(path)
        try:
            names = index["weight_map"].values()
        except (KeyError, TypeError, AttributeError):
            raise InputError(
                f"{path}: expected an object 'weight_map' of tensor names "
                "and files"
            ) from None
        for name in names:
            if not isinstance(name, str) or Path(name).name != name:
                raise InputError(
                    f"{path}: expected names of files in the same folder, "
                    f"found {name!r}"
                )
        return names


def write_checkpoint(
    folder: Path, tensors: Iterable[Tensor], dtype: str, shard_bytes: int
) -> None:
    """Writes tensors to one file, or to shards with an index.

    No more than one shard is copied at a time.

    Args:
        folder: An existing folder.
        tensors: What to write.
        dtype: The dtype to store, a key of `DTYPES`.
        shard_bytes: Largest size of a file; a larger tensor has its own.
    """
    from safetensors.numpy import save_file

    item = DTYPES[dtype].itemsize
    shards: list[list[Tensor]] = [[]]
    used = 0
    for tensor in tensors:
        size = item * int(np.prod(tensor.shape))
        if shards[-1] and used + size > shard_bytes:
            shards.append([])
            used = 0
        shards[-1].append(tensor)
        used += size
    index = {}
    for number, shard in enumerate(shards, 1):
        name = SINGLE
        if len(shards) > 1:
            name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        arrays = {tensor.name: _array(tensor, dtype) for tensor in shard}
        save_file(arrays, folder / name, metadata=_METADATA)
        index.update(dict.fromkeys(arrays, name))
    if len(shards) > 1:
        total = sum(
            item * int(np.prod(tensor.shape))
            for shard in shards
            for tensor in shard
        )
        write_json(
            folder / INDEX,
            {"metadata": {"total_size": total}, "weight_map": index},
        )


def _array(tensor: Tensor, dtype: str) -> np.ndarray:
    array = np.asarray(ops.convert_to_numpy(tensor.variable))
    return tensor.given(array.astype(DTYPES[dtype], copy=False))


def _what_is_missing(folder: Path) -> str:
    if not folder.is_dir():
        return "no such folder"
    if any(folder.glob("pytorch_model*.bin")):
        return (
            f"found pickled weights (pytorch_model.bin), expected {SINGLE}; "
            "save the model with transformers' save_pretrained once"
        )
    return f"found neither {SINGLE} nor {INDEX}"
