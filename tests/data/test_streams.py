"""Drawing examples from whole files, and reading them by their places."""

import dataclasses
import itertools
import os
import shutil
from collections import Counter

import numpy as np
import pytest

from keras_flan.data.mixtures.mixture import Mixture, MixtureGroup
from keras_flan.data.pipeline.order import permuted, spread
from keras_flan.data.pipeline.settings import PipelineSettings
from keras_flan.data.pipeline.streams import Draws, split_keys
from keras_flan.data.records.example import Example
from keras_flan.data.records.reader import RecordReader
from keras_flan.data.records.shards import read_records
from keras_flan.data.records.writing import write_records
from keras_flan.data.templates.task import Task
from keras_flan.errors import InputError
from keras_flan.runtime.tensorflow import allow_open_files, tf

SIZES = {"input_length": 8, "target_length": 8, "batch_size": 1}


def make_task(folder, count, shards=1, text="{}"):
    write_records(
        [
            Example({"question": text.format(i), "answer": "a"}, "t")
            for i in range(count)
        ],
        folder,
        name="t",
        templates="generic",
        shards=shards,
    )
    return Task.from_directory(folder)


def draw(tasks, number, **settings):
    """Returns task ids and positions of the first chunks' draws."""
    mixture = Mixture("many", [MixtureGroup("all", tasks)])
    settings = PipelineSettings(**SIZES, **settings)
    chunks = Draws(mixture, settings).chunks().take(number)
    keys = np.concatenate([keys for _, keys, _ in chunks.as_numpy_iterator()])
    return (ids.numpy() for ids in split_keys(tf().constant(keys)))


@pytest.fixture
def few_open_files():
    """Lets the process open few files, as many systems do at first."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    tf()
    opened = len(os.listdir("/dev/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 150, before[1]))
    yield resource
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_more_tasks_than_files_may_be_open(tmp_path, few_open_files):
    first = make_task(tmp_path / "t", 9, shards=2)
    folders = [tmp_path / f"t{i}" for i in range(130)]
    for folder in folders:
        shutil.copytree(first.directory, folder)
    tasks = [
        dataclasses.replace(first, directory=folder, name=folder.name)
        for folder in folders
    ]
    task_ids, positions = draw(tasks, 1, chunk=2000)
    assert len(set(task_ids)) == 130
    assert set(positions) == set(range(9))


def test_the_limit_of_open_files_is_raised_but_never_lowered(few_open_files):
    def limit():
        return few_open_files.getrlimit(few_open_files.RLIMIT_NOFILE)[0]

    allow_open_files(100)
    raised = limit()
    assert raised > 300
    assert raised > len(os.listdir("/dev/fd")) + 100
    allow_open_files(1)
    assert limit() == raised


@pytest.mark.parametrize("permute", [permuted, spread])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 40, 63, 64, 65, 128, 1000, 4097])
def test_each_key_permutes_all_places(size, permute):
    orders = set()
    for key in range(8):
        keys = np.full(size, key * 7919, np.uint64)
        order = permute(np.arange(size), np.full(size, size), keys)
        assert sorted(order) == list(range(size))
        orders.add(order.tobytes())
    assert len(orders) >= min(size, 5)


def test_large_places_stay_below_their_size():
    size = (1 << 53) + 1
    places = np.array([0, 1, size - 1])
    order = permuted(places, np.full(3, size), np.full(3, 5, np.uint64))
    assert len(set(order)) == 3 and (order < size).all() and (order >= 0).all()


def test_small_tasks_come_in_every_order():
    keys = np.repeat(np.arange(6000, dtype=np.uint64) * np.uint64(77), 3)
    places = np.tile(np.arange(3), 6000)
    orders = permuted(places, np.full(len(places), 3), keys).reshape(-1, 3)
    counts = Counter(map(tuple, orders.tolist()))
    assert len(counts) == 6
    assert min(counts.values()) > 850


# Sorted by label, in stripes of ten rows, and alternating.
@pytest.mark.parametrize("length", [4000, 10, 1])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_batch_shows_the_order_of_a_file(length, seed, tmp_path):
    task = make_task(tmp_path / "t", 8000, shards=3)
    _, positions = draw([task], 20, chunk=1000, seed=seed)
    # A pass has each example once.
    usable = task.num_usable
    assert sorted(positions[:usable]) == list(range(usable))
    # 125 batches of 64 of the first pass, and of the next two passes.
    good = positions[: 20_000 // 64 * 64] // length % 2 == 0
    counts = good.reshape(-1, 64).sum(axis=1)
    # The binomial's 99.9 % interval of 64 draws is 19 to 45. Of 312 batches,
    # one or two may be outside; none is where a file is sorted.
    outside = (counts < 19) | (counts > 45)
    assert outside.sum() <= (0 if length == 4000 else 2) and not outside[0]
    # Nor do neighbours in the file come together.
    steps = np.abs(np.diff(positions))
    assert (steps < 80).mean() < 0.04


def test_a_pass_has_each_usable_example_once(tmp_path):
    tasks = [
        dataclasses.replace(make_task(tmp_path / name, n, 4), name=name)
        for name, n in (("a", 130), ("b", 61))
    ]
    task_ids, positions = draw(tasks, 10, chunk=64, seed=1, repeat=False)
    expected = itertools.chain(
        ((0, i) for i in range(tasks[0].num_usable)),
        ((1, i) for i in range(tasks[1].num_usable)),
    )
    pairs = list(zip(task_ids, positions, strict=True))
    assert sorted(pairs) == list(expected)
    # The tasks are mixed from the start.
    assert 5 < sum(task_ids[:64]) < 35


def test_draws_go_on_from_any_chunk(tmp_path):
    tasks = [
        dataclasses.replace(make_task(tmp_path / name, n, 2), name=name)
        for name, n in (("a", 13), ("b", 50))
    ]
    mixture = Mixture("two", [MixtureGroup("all", tasks)])
    for repeat in (True, False):
        settings = PipelineSettings(**SIZES, chunk=16, repeat=repeat)
        draws = Draws(mixture, settings)
        whole = list(draws.chunks().take(12).as_numpy_iterator())
        for first in (1, 3):
            rest = list(draws.chunks(first).take(12 - first))
            assert len(rest) == len(whole) - first
            for found, expected in zip(rest, whole[first:], strict=True):
                assert int(found[0]) == expected[0]
                np.testing.assert_array_equal(found[1], expected[1])
                assert found[2].numpy().tolist() == expected[2].tolist()
        assert list(draws.chunks(99).take(0)) == []


def test_records_are_read_by_their_places(tmp_path):
    sets = [tmp_path / "a", tmp_path / "b", tmp_path / "a"]
    make_task(sets[0], 30, shards=4, text="alpha {}")
    make_task(sets[1], 3, shards=5, text="beta " * 900 + "{}")  # two empty
    expected = [list(read_records(folder)) for folder in sets]
    rng = np.random.default_rng(0)
    which = rng.integers(0, 3, 200)
    places = rng.integers(0, 1000, 200) % np.array([30, 3, 30])[which]
    found = RecordReader(sets).read(which, places)
    assert [Example.from_proto(data) for data in found] == [
        expected[i][j] for i, j in zip(which, places, strict=True)
    ]
    assert RecordReader([]).read(which[:0], places[:0]).shape == (0,)


@pytest.mark.parametrize("place", [3, 40, -30, -2])
def test_a_flipped_bit_is_named_when_it_is_read(place, tmp_path):
    folder = make_task(tmp_path / "t", 20).directory
    (shard,) = folder.glob("*.tfrecord")
    data = bytearray(shard.read_bytes())
    data[place] ^= 1
    shard.write_bytes(data)
    with pytest.raises(InputError, match=f"{shard.name}: record .*corrupt"):
        RecordReader([folder]).read(np.zeros(20, int), np.arange(20))


def test_a_share_is_kept_apart_by_content(tmp_path):
    """The same examples, however they are stored and whatever the seed."""
    one = make_task(tmp_path / "a", 1000)
    many = make_task(tmp_path / "b", 1000, shards=7)
    many = dataclasses.replace(many, name="u")
    apart = {"validation": 0.2, "split": "validation", "repeat": False}
    ids, held = draw([one, many], 1, **apart)
    first, second = (sorted(held[ids == i].tolist()) for i in (0, 1))
    assert first == second and len(set(first)) == len(first)
    assert 150 < len(first) < 250
    for seed in (0, 1):
        ids, places = draw([one, many], 2, validation=0.2, seed=seed)
        for i in (0, 1):
            # Everything else, and nothing of these.
            assert set(places[ids == i]) == set(range(1000)) - set(first)
    _, places = draw([one], 1, validation=0.2, repeat=False)
    assert sorted(places) == sorted(set(range(1000)) - set(first))
    with pytest.raises(InputError, match=r"0\.2 of 1 examples is none; keep"):
        draw([make_task(tmp_path / "c", 1)], 1, **apart)
