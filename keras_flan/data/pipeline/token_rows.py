"""From the tokens of paths to packed batches for `model.fit`.

The pipeline's rows are made of texts; these are of the very tokens that were
sampled, each with numbers of its own beside it.
"""

import dataclasses
from collections.abc import Sequence
from typing import TypeAlias

import keras
import numpy as np

from keras_flan.data.pipeline.packing import pack

# `(x, y, sample_weight)` as `model.fit` takes them.
Arrays: TypeAlias = tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Segment:
    """A prompt and its target, in a row.

    Args:
        prompt: Token ids, framed as the model knows prompts.
        target: Token ids, the end token among them if it is learnt.
        columns: float32 `(tokens of the target, columns)`: what the loss
            knows of each token beside its id.
        weight: What each token counts.
    """

    prompt: list[int]
    target: list[int]
    columns: np.ndarray
    weight: float = 1.0


# What has to be in one row.
Unit: TypeAlias = Sequence[Segment]


@dataclasses.dataclass(frozen=True)
class RowShape:
    """The rows of a model.

    Args:
        decoder_only: Whether a prompt and its target share a row.
        input_length: Tokens of a row for prompts.
        target_length: Tokens of a row for targets.
    """

    decoder_only: bool
    input_length: int
    target_length: int

    @property
    def length(self) -> int:
        """Places of a row that are predicted."""
        both = self.input_length + self.target_length
        return both if self.decoder_only else self.target_length

    @property
    def capacity(self) -> tuple[int, int]:
        """What a row holds, in the terms of `size`."""
        if self.decoder_only:
            return self.length, self.length
        return self.input_length, self.target_length

    def size(self, unit: Unit) -> tuple[int, int]:
        """Returns what a unit takes of a row."""
        prompts = sum(len(one.prompt) for one in unit)
        targets = sum(len(one.target) for one in unit)
        if self.decoder_only:
            return prompts + targets - len(unit), 1
        return prompts, targets

    def holds(self, unit: Unit) -> bool:
        """Whether a row has room for a unit."""
        return all(
            0 < size <= most
            for size, most in zip(self.size(unit), self.capacity, strict=True)
        )

    def empty(self, rows: int, columns: int) -> Arrays:
        """Returns rows of padding."""
        read, length = self.input_length, self.length
        sizes = {"token_ids": length, "segment_ids": length}
        sizes["prefix_mask"] = length
        if not self.decoder_only:
            sizes = {
                f"{side}_{name}": size
                for side, size in (("encoder", read), ("decoder", length))
                for name in ("token_ids", "segment_ids")
            }
        x = {n: np.zeros((rows, size), "int32") for n, size in sizes.items()}
        y = np.zeros((rows, length, 1 + columns), "float32")
        return x, y, np.zeros((rows, length), "float32")

    def put(
        self, arrays: Arrays, row: int, at: tuple[int, int], one: Segment
    ) -> tuple[int, int]:
        """Lays a segment out.

        Args:
            arrays: The rows.
            row: The row.
            at: The first free places, of inputs and of targets.
            one: The segment.

        Returns:
            The places after it.
        """
        x, y, weight = arrays
        asked, told = len(one.prompt), len(one.target)
        if self.decoder_only:
            begin = at[0]
            first, end = begin + asked - 1, begin + asked + told - 1
            number = x["segment_ids"][row].max() + 1
            x["token_ids"][row, begin:end] = [*one.prompt, *one.target[:-1]]
            x["segment_ids"][row, begin:end] = number
            x["prefix_mask"][row, begin : begin + asked] = 1
            after = (end, 0)
        else:
            begin, first = at
            end = first + told
            number = x["decoder_segment_ids"][row].max() + 1
            places = slice(begin, begin + asked)
            x["encoder_token_ids"][row, places] = one.prompt
            x["encoder_segment_ids"][row, places] = number
            x["decoder_token_ids"][row, first + 1 : end] = one.target[:-1]
            x["decoder_segment_ids"][row, first:end] = number
            after = (begin + asked, end)
        y[row, first:end, 0] = one.target
        y[row, first:end, 1:] = one.columns
        weight[row, first:end] = one.weight
        return after


class Batches(keras.utils.PyDataset):
    """The packed batches of a round, all of one shape.

    Args:
        units: What is trained on; each has to fit into a row.
        shape: The rows.
        batch_size: Rows per optimizer step.
        parts: Calls of the training step per optimizer step.
        columns: Numbers beside the id of each target token.
        seed: Seed of the order of the rows.
        passes: How often each row is seen.
        paired: Whether each unit is a pair: `sample_weight` is that of the
            pairs then, and the first column their number in the batch.

    Attributes:
        steps: Optimizer steps.
        skipped: Calls that `fit` leaves out: they were made before.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        shape: RowShape,
        *,
        batch_size: int,
        parts: int = 1,
        columns: int,
        seed: int,
        passes: int = 1,
        paired: bool = False,
    ):
        super().__init__()
        self.skipped = 0
        self._paired = paired
        self._size = batch_size // parts
        sizes = np.array([shape.size(unit) for unit in units]).reshape(-1, 2)
        rows = pack(sizes, shape.capacity)
        used = int(rows.max()) + 1 if len(units) else 0
        once = -(-used // batch_size)
        self.steps = once * passes
        self._calls = self.steps * parts
        self._arrays = shape.empty(once * batch_size, columns)
        places = [(0, 0)] * used
        for unit, row in zip(units, rows.tolist(), strict=True):
            for one in unit:
                places[row] = shape.put(self._arrays, row, places[row], one)
        rng = np.random.default_rng(seed)
        order = [rng.permutation(once * batch_size) for _ in range(passes)]
        self._order = np.concatenate([np.zeros(0, int), *order])
        # The loss is a sum: each pass over all rows counts 1 per step.
        self._scale = float(once * parts)

    def __len__(self) -> int:
        return self._calls - self.skipped

    def __getitem__(self, index: int) -> Arrays:
        begin = (index + self.skipped) * self._size
        rows = self._order[begin : begin + self._size]
        x, y, weight = self._arrays
        x = {name: array[rows] for name, array in x.items()}
        y, weight = y[rows], weight[rows] * np.float32(self._scale)
        return (x, *_by_pairs(y, weight)) if self._paired else (x, y, weight)


def _by_pairs(
    y: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers the pairs of a batch, and gives each its weight."""
    used = weight > 0
    _, numbers = np.unique(y[..., 1][used], return_inverse=True)
    y = y.copy()
    y[..., 1][used] = numbers
    of_pairs = np.zeros(weight.size, "float32")
    of_pairs[numbers] = weight[used]
    return y, of_pairs.reshape(weight.shape)
