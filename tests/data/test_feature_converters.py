"""Rows against a plain Python layout of the same examples."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_flan.data.pipeline.feature_converters import (
    DecoderOnlyRows,
    EncoderDecoderRows,
)
from keras_flan.data.pipeline.packing import pack
from keras_flan.runtime.tensorflow import tf

EOS = 1
CAPACITY = (24, 16)
IDS = st.lists(st.integers(3, 90), max_size=9)


def expected_rows(converter, inputs, targets, rows):
    """What `lay_out` should return, an example at a time."""
    count, length = max(rows) + 1, converter.row_length
    x = {
        key: np.zeros((count, length), int)
        for key in ("token_ids", "segment_ids", "prefix_mask")
    }
    y, weight = np.zeros((count, length), int), np.zeros((count, length))
    used, segments = [0] * count, [0] * count
    for text, target, row in zip(inputs, targets, rows, strict=True):
        start = [] if converter.bos_id is None else [converter.bos_id]
        text = text[: converter.input_length - 1 - len(start)]
        prefix = [*start, *text, EOS]
        whole = [*prefix, *target[: converter.target_length - 1], EOS]
        at = slice(used[row], used[row] + len(whole) - 1)
        segments[row] += 1
        x["token_ids"][row, at] = whole[:-1]
        x["segment_ids"][row, at] = segments[row]
        x["prefix_mask"][row, at.start : at.start + len(prefix)] = 1
        y[row, at] = whole[1:]
        weight[row, at.start + len(prefix) - 1 : at.stop] = 1
        used[row] = at.stop
    return x, y, weight


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(IDS, IDS), min_size=1, max_size=12), st.booleans())
def test_rows_are_those_of_a_plain_layout(examples, begins):
    converter = DecoderOnlyRows(6, 5, EOS, 2 if begins else None)
    inputs = [text for text, _ in examples]
    targets = [target for _, target in examples]
    ragged = [
        tf().ragged.constant(ids, dtype="int32", ragged_rank=1)
        for ids in (inputs, targets)
    ]
    rows = pack(converter.lengths(*ragged).numpy(), converter.capacity)
    x, y, weight = converter.lay_out(*ragged, tf().constant(rows))
    expected = expected_rows(converter, inputs, targets, rows.tolist())
    assert set(x) == set(expected[0])
    for key, value in expected[0].items():
        np.testing.assert_array_equal(x[key], value, err_msg=key)
    np.testing.assert_array_equal(y, expected[1])
    np.testing.assert_array_equal(weight, expected[2])
    # Each target token counts once, and so does each end.
    assert weight.numpy().sum() == sum(min(len(t), 4) + 1 for t in targets)


def test_the_example_of_the_docstring():
    converter = DecoderOnlyRows(3, 2, EOS)
    x, y, weight = converter.lay_out(
        tf().ragged.constant([[5, 6]]), tf().ragged.constant([[7]]), [0]
    )
    assert x["token_ids"].numpy().tolist() == [[5, 6, 1, 7, 0]]
    assert x["prefix_mask"].numpy().tolist() == [[1, 1, 1, 0, 0]]
    assert y.numpy().tolist() == [[6, 1, 7, 1, 0]]
    assert weight.numpy().tolist() == [[0, 0, 1, 1, 0]]


def test_no_examples_make_no_rows():
    nothing = tf().RaggedTensor.from_row_lengths(
        tf().constant([], "int32"), tf().constant([], "int64")
    )
    x, _, weight = DecoderOnlyRows(4, 4, EOS).lay_out(
        nothing, nothing, tf().constant([], "int32")
    )
    assert x["token_ids"].shape == weight.shape == (0, 8)


def _ragged(rng, sizes):
    values = [rng.integers(3, 99, size).tolist() for size in sizes]
    return values, tf().ragged.constant(values, dtype="int32")


def _reference(inputs, targets, rows, input_length, target_length, eos):
    """What `lay_out` should return, one token at a time."""
    num_rows = max(rows, default=-1) + 1
    shape = {"encoder": input_length, "decoder": target_length}
    out = {
        name: np.zeros([num_rows, shape[name[:7]]], np.int32)
        for side in shape
        for name in (f"{side}_token_ids", f"{side}_segment_ids")
    }
    y = np.zeros([num_rows, target_length], np.int32)
    for row in range(num_rows):
        at_input = at_target = 0
        members = [i for i, r in enumerate(rows) if r == row]
        for segment, i in enumerate(members, 1):
            for token in [*inputs[i][: input_length - 1], eos]:
                out["encoder_token_ids"][row, at_input] = token
                out["encoder_segment_ids"][row, at_input] = segment
                at_input += 1
            previous = 0
            for token in [*targets[i][: target_length - 1], eos]:
                y[row, at_target] = token
                out["decoder_token_ids"][row, at_target] = previous
                out["decoder_segment_ids"][row, at_target] = segment
                previous = token
                at_target += 1
    return out, y


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 30)), max_size=40),
    st.integers(0, 9),
)
@settings(max_examples=50, deadline=None)
def test_rows_hold_the_tokens_segments_and_shifted_targets(sizes, seed):
    rng = np.random.default_rng(seed)
    inputs, ragged_inputs = _ragged(rng, [a for a, _ in sizes])
    targets, ragged_targets = _ragged(rng, [b for _, b in sizes])
    lengths = np.minimum(
        np.array(sizes, int).reshape(-1, 2) + 1, np.array(CAPACITY)
    )
    rows = pack(lengths, CAPACITY)
    if not sizes:
        empty = tf().zeros([0], "int32")
        ragged_inputs = ragged_targets = tf().RaggedTensor.from_row_lengths(
            empty, empty
        )
    x, y, weight = EncoderDecoderRows(*CAPACITY, EOS).lay_out(
        ragged_inputs, ragged_targets, rows
    )
    expected_x, expected_y = _reference(inputs, targets, rows, *CAPACITY, EOS)
    assert x.keys() == expected_x.keys()
    for name, value in expected_x.items():
        np.testing.assert_array_equal(x[name], value, name)
        assert x[name].dtype == "int32"
    np.testing.assert_array_equal(y, expected_y)
    np.testing.assert_array_equal(weight, expected_x["decoder_segment_ids"] > 0)
    assert np.sum(weight) == lengths[:, 1].sum()


@pytest.mark.parametrize("begins", [None, 2])
def test_the_pipeline_makes_decoder_only_batches(tmp_path, begins):
    from keras_flan.data import (
        Example,
        Mixture,
        build_dataset,
        train_vocabulary,
        write_records,
    )

    examples = [
        Example(
            {"question": f"what is {i}?", "answer": str(i)}, "count", str(i)
        )
        for i in range(60)
    ]
    write_records(
        examples, tmp_path / "count", name="count", templates="generic"
    )
    (tmp_path / "m.yaml").write_text(
        "name: m\nrecords: .\ngroups: {all: {tasks: [count], "
        "formats: {zero_shot_direct: 1}}}\n"
    )
    texts = [value for e in examples for value in e.fields.values()]
    vocabulary = train_vocabulary(texts, 278, tmp_path / "v.model")
    vocabulary.bos_id = begins
    dataset = build_dataset(
        Mixture.from_yaml(tmp_path / "m.yaml"),
        vocabulary,
        input_length=64,
        target_length=16,
        batch_size=2,
        decoder_only=True,
    )
    x, y, weight = next(iter(dataset))
    assert x["token_ids"].shape == y.shape == weight.shape == (2, 80)
    segments = x["segment_ids"].numpy()
    assert segments.max() > 1
    scored = y.numpy()[(segments == 1) & (weight.numpy() > 0)].tolist()
    assert vocabulary.decode(scored[: scored.index(1)]).isdigit()
    if begins:
        assert (x["token_ids"].numpy()[:, 0] == begins).all()
