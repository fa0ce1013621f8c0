import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_flan.data.pipeline.packing import _match, pack

CAPACITY = (24, 16)
LENGTHS = st.lists(
    st.tuples(st.integers(1, CAPACITY[0]), st.integers(1, CAPACITY[1])),
    max_size=80,
)


@given(LENGTHS)
@settings(max_examples=200, deadline=None)
def test_nothing_is_lost_and_no_row_overflows(lengths):
    lengths = np.array(lengths, int).reshape(-1, 2)
    rows = pack(lengths, CAPACITY)
    assert rows.dtype == np.int32
    assert rows.shape == (len(lengths),)
    assert set(rows.tolist()) == set(range(rows.max(initial=-1) + 1))
    for d in (0, 1):
        load = np.bincount(rows, lengths[:, d])
        assert (load <= CAPACITY[d]).all()
    np.testing.assert_array_equal(rows, pack(lengths, CAPACITY))


@pytest.mark.parametrize(
    ("bad", "shown"), [([[0, 1]], r"\[0, 1\]"), ([[1, 17]], r"\[1, 17\]")]
)
def test_a_length_outside_the_row_is_an_error(bad, shown):
    with pytest.raises(ValueError, match=shown):
        pack(np.array(bad), CAPACITY)


@given(
    st.lists(st.integers(1, 30), max_size=30),
    st.lists(st.integers(0, 30), max_size=30),
)
@settings(max_examples=200, deadline=None)
def test_match_gives_each_room_its_longest_free_item(lengths, room):
    lengths, room = np.sort(lengths).astype(int), np.sort(room).astype(int)
    expected, free = [], list(range(len(lengths)))
    for r in room[::-1]:
        # From the largest room down: the longest item not yet given away.
        fits = [i for i in free if lengths[i] <= r]
        expected.append(max(fits, default=-1))
        free = [i for i in free if i < expected[-1]]
    found = _match(lengths, room)
    np.testing.assert_array_equal(np.maximum(found, -1), expected[::-1])


def _efficiency(lengths, capacity):
    """The rows that no packing can do without, over the rows used."""
    rows = pack(lengths, capacity)
    return (lengths.sum(axis=0) / capacity).max() / (rows.max() + 1)


def test_long_tailed_lengths_fill_their_rows():
    rng = np.random.default_rng(0)
    inputs = np.clip(rng.lognormal(4.8, 0.8, 8192), 8, 1024).astype(int)
    targets = np.clip(rng.lognormal(2.8, 1.0, 8192), 2, 256).astype(int)
    lengths = np.stack([inputs, targets], axis=1)
    assert _efficiency(lengths, (1024, 256)) > 0.98
    assert _efficiency(np.minimum(lengths, 512), (512, 512)) > 0.98
    # Inputs and targets that fill their rows alike are harder to fit.
    targets = np.minimum(targets, 128)
    lengths = np.stack([inputs, targets], axis=1)
    assert _efficiency(lengths, (1024, 128)) > 0.93


def test_pairs_that_fill_a_row_exactly_are_found():
    rng = np.random.default_rng(0)
    half = rng.integers(1, 128, 4000)
    whole = rng.permutation(np.concatenate([half, 128 - half]))
    assert _efficiency(np.stack([whole, whole], axis=1), (128, 128)) > 0.99


def test_many_tiny_examples_take_few_rounds():
    lengths = np.ones([8192, 2], int)
    assert pack(lengths, (512, 128)).max() + 1 == 64
