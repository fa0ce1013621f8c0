"""Where a stream of batches stands, so that it can go on from there.

A pipeline makes its rows chunk by chunk, and a chunk's rows depend only on
its number, its records and the seed. So two numbers say where a batch
begins, the chunk and the row within it, and the number of the batch says in
which stage of the mixture. Nothing of what came before has to be made again.
"""

import dataclasses
import threading

from keras_flan.errors import InputError

# The order in which examples are drawn: 1 shuffled a buffer of each task's
# examples, 2 permutes whole files, 3 all of their examples, and leaves out
# what is too long. A run can't go on in another one.
_ORDER = 3


@dataclasses.dataclass(frozen=True)
class Position:
    """Where a batch begins.

    Attributes:
        chunk: Number of the chunk, from 0; each stage of a mixture counts
            its own.
        row: Rows of this chunk that come before.
        batch: Batches that come before, in all stages.

    Example:
        >>> where = Position(chunk=3, row=17, batch=120)
        >>> Position.from_dict(where.to_dict()) == where
        True
    """

    chunk: int = 0
    row: int = 0
    batch: int = 0

    def to_dict(self) -> dict[str, int]:
        """Returns a JSON-able form."""
        return {**dataclasses.asdict(self), "order": _ORDER}

    @classmethod
    def from_dict(cls, value: dict) -> "Position":
        """Returns the position of `to_dict`.

        Raises:
            InputError: If `value` is not one, or is of a version that drew
                examples in another order.
        """
        try:
            value = dict(value)
            order = value.pop("order", 1)
            position = cls(**value)
        except (TypeError, ValueError):
            position = None
        if position is None or not all(
            isinstance(number, int) and number >= 0
            for number in dataclasses.astuple(position)
        ):
            raise InputError(
                "data position: expected {'chunk': n, 'row': n, 'batch': n} "
                f"with numbers from 0, found {value!r}"
            )
        if order != _ORDER and position != cls():
            raise InputError(
                f"data position: batch {position.batch} of a run whose version "
                "of keras_flan drew examples in another order, so that it "
                "can't go on from there; end the run with that version, or "
                "begin a new one from its checkpoint (in a new folder)"
            )
        return position


class RowCounts:
    """How many rows each chunk made.

    Chunks are made ahead of training and by several threads, so counts come
    early and out of order; that of a chunk in use is always known.
    """

    def __init__(self) -> None:
        self._rows: dict[int, int] = {}
        self._lock = threading.Lock()

    def add(self, chunk: int, rows: int) -> bool:
        """Notes the rows of a chunk; returns whether it is new."""
        with self._lock:
            new = int(chunk) not in self._rows
            self._rows[int(chunk)] = int(rows)
            return new

    def after(self, start: Position, rows: int) -> Position:
        """Returns where the stream stands `rows` rows behind `start`."""
        rows += start.row
        with self._lock:
            chunk = start.chunk
            while rows >= self._rows.get(chunk, rows + 1):
                rows -= self._rows[chunk]
                chunk += 1
            return Position(chunk, rows)
