"""Records read by their places, in any order.

`read_records` yields a set from its beginning; here a record costs the same
wherever it is, so that examples can be drawn from whole files.
"""

import mmap
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_flan.data.records.frames import (
    FOOTER,
    HEADER,
    first_wrong,
    mapped,
    slices,
    walk,
)
from keras_flan.data.records.info import AGAIN, read_info
from keras_flan.data.records.shards import check_sizes, verify_records
from keras_flan.errors import InputError
from keras_flan.runtime.tensorflow import allow_open_files
from keras_flan.storage import as_path, each, local_copies


class RecordReader:
    """Reads records of many sets by set and position.

    The files are mapped, not read, and 8 bytes are held per record: where
    it begins. Sets in a bucket are copied to this machine first, to a
    temporary folder (that `TMPDIR` names).

    Args:
        directories: The folders of the sets.

    Raises:
        InputError: If a shard is missing or damaged.

    Example:
        >>> reader = RecordReader(["records/sums", "records/gsm8k"])
        >>> reader.read(np.array([0, 1]), np.array([0, 7472])).shape
        (2,)
    """

    def __init__(self, directories: Sequence[str | os.PathLike]):
        folders = [as_path(directory) for directory in directories]
        infos = each(read_info, folders, folders[0]) if folders else []
        paths: list[Path] = []
        counts: dict[Path, int] = {}
        self._folders: dict[Path, Path] = {}  # of each file
        self._first = np.zeros(len(folders), np.int64)
        self._shards = np.zeros(len(folders), np.int64)
        for i, (folder, info) in enumerate(zip(folders, infos, strict=True)):
            check_sizes(folder, info)
            self._first[i], self._shards[i] = len(paths), len(info.shards)
            for shard in info.shards:
                path = folder / shard.file
                paths.append(path)
                counts[path] = shard.num_examples
                self._folders[path] = folder
        allow_open_files(len(counts))
        with local_copies(counts) as local:
            maps = {path: mapped(file) for path, file in local.items()}
        self._paths = paths
        self._maps = [maps[path] for path in paths]
        # Where the frames of each file's records begin, and the last ends;
        # files that are of many sets have theirs once.
        begins, self._base = [], np.zeros(len(paths), np.int64)
        places: dict[Path, int] = {}
        number = 0
        for i, path in enumerate(paths):
            if path not in places:
                begins.append(self._scan(path, maps[path], counts[path]))
                places[path] = number
                number += len(begins[-1])
            self._base[i] = places[path]
        self._begins = np.concatenate([np.zeros(0, np.int64), *begins])

    def read(self, sets: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Returns records, in the order in which they are asked for.

        Args:
            sets: The number of each one's set, from 0; integers `[n]`.
            positions: Its position in the set, in the order of writing.

        Returns:
            Serialised examples: an object array of bytes, of shape `[n]`.

        Raises:
            InputError: If one is not as it was written; names the shard and
                the record.
        """
        records, shards = np.divmod(positions, self._shards[sets])
        files = self._first[sets] + shards
        places = self._base[files] + records
        # In the order of the files, which the disk reads best.
        order = np.argsort(places, kind="stable")
        files, places = files[order], places[order]
        begins = self._begins[places] + HEADER
        ends = self._begins[places + 1] - FOOTER
        found = self._slices(files, begins, ends)
        checks = self._slices(files, ends, ends + FOOTER)
        if (wrong := first_wrong(found, checks)) < len(found):
            self._refuse(self._paths[files[wrong]])
        result = np.empty(len(order), object)
        result[order] = found
        return result

    def checksums(self, number: int, count: int) -> np.ndarray:
        """Returns the checksums of the first records of a set.

        They depend on a record's content alone, and cost no reading of it.

        Args:
            number: The number of the set, from 0.
            count: How many.

        Returns:
            uint32 of shape `[count]`, in the order of writing.
        """
        shards = int(self._shards[number])
        result = np.empty(count, np.uint32)
        for shard in range(min(shards, count)):
            file = int(self._first[number]) + shard
            own = result[shard::shards]
            first = int(self._base[file]) + 1
            places = self._begins[first : first + len(own), None] - FOOTER
            data = np.frombuffer(self._maps[file], np.uint8)
            own[:] = data[places + np.arange(FOOTER)].view("<u4")[:, 0]
        return result

    def _slices(
        self, files: np.ndarray, begins: np.ndarray, ends: np.ndarray
    ) -> list[bytes]:
        """Returns parts of files."""
        maps = list(map(self._maps.__getitem__, files.tolist()))
        return slices(maps, begins, ends)

    def _scan(
        self, path: Path, data: bytes | mmap.mmap, count: int
    ) -> np.ndarray:
        begins = walk(data, count)
        if len(begins) != count + 1 or begins[-1] != len(data):
            self._refuse(path)
        return begins

    def _refuse(self, path: Path) -> None:
        verify_records(self._folders[path])  # Names shard and record.
        raise InputError(f"{path}: changed while it was read; {AGAIN}")
