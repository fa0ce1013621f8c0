"""Resuming at any step, and sharing records between hosts."""

import hashlib
import random

import numpy as np
import pytest

from keras_flan.data import Mixture, Pipeline, Position, Task
from keras_flan.data.mixtures.mixture import MixtureGroup
from keras_flan.data.records.example import Example
from keras_flan.data.records.writing import write_records
from keras_flan.data.vocabularies.training import train_vocabulary
from keras_flan.errors import InputError


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    tasks = []
    for name, n in (("sums", 130), ("words", 61)):
        examples = [
            Example(
                {
                    "question": f"{name} {i}" + " and more" * (i % 7),
                    "answer": f"{i}",
                    "rationale": "because " * (i % 4 + 1),
                },
                name,
            )
            for i in range(n)
        ]
        write_records(
            examples, folder / name, name=name, templates="generic", shards=4
        )
        tasks.append(Task.from_directory(folder / name))
    return Mixture("two", [MixtureGroup("all", tasks)], shots=2)


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    texts = ["question answer because and more sums words 0123456789"] * 20
    path = tmp_path_factory.mktemp("vocabulary") / "v.model"
    return train_vocabulary(texts, 287, path)


def digests(dataset, count):
    """The SHA-256 of each batch."""
    result = []
    for x, y, weight in dataset.take(count).as_numpy_iterator():
        digest = hashlib.sha256()
        for array in (*(x[key] for key in sorted(x)), y, weight):
            digest.update(array.tobytes())
        result.append(digest.hexdigest())
    return result


@pytest.fixture(scope="module")
def pipeline(mixture, vocabulary):
    return Pipeline(
        mixture,
        vocabulary,
        input_length=256,
        target_length=96,
        batch_size=3,
        chunk=64,
        seed=7,
    )


def test_resumes_at_any_step(pipeline, threads=4, places=2):
    """In the same process; `test_killed_runs` kills one, ten times."""
    from keras_flan.runtime.tensorflow import tf

    def limited(dataset):
        options = tf().data.Options()
        options.threading.private_threadpool_size = threads
        return dataset.with_options(options)

    whole = digests(limited(pipeline.dataset()), 40)
    assert len(set(whole)) == 40
    steps = random.Random(threads).sample(range(1, 39), places)
    positions = [pipeline.position(step).to_dict() for step in steps]
    for step, saved in zip(steps, positions, strict=True):
        assert saved["chunk"] > 0 or step < 20
        resumed = limited(pipeline.dataset(Position.from_dict(saved)))
        assert digests(resumed, 40 - step) == whole[step:]
        # And once more from there.
        further = pipeline.position(1)
        again = limited(pipeline.dataset(further))
        assert digests(again, 39 - step) == whole[step + 1 :]


@pytest.fixture(scope="module")
def staged(mixture, vocabulary):
    """Words alone; then few-shot sums alone; then both."""
    sums, words = mixture.groups[0].tasks
    formats = {"few_shot_direct": 1}
    last = MixtureGroup("all", [sums, words])
    middle = MixtureGroup("sums", [sums], formats=formats)
    return Pipeline(
        Mixture(
            "words",
            [MixtureGroup("words", [words])],
            steps=13,
            then=Mixture(
                "sums", [middle], 2, steps=9, then=Mixture("both", [last])
            ),
        ),
        vocabulary,
        input_length=256,
        target_length=96,
        batch_size=3,
        chunk=64,
        seed=7,
    )


def test_stages_follow_each_other(staged, vocabulary):
    texts = [
        " ".join(vocabulary.decode(row) for row in x["encoder_token_ids"])
        for x, _, _ in staged.dataset().take(40).as_numpy_iterator()
    ]
    assert len(texts) == 40
    has = [("words" in text, "sums" in text) for text in texts]
    assert set(has[:13]) == {(True, False)}
    assert set(has[13:22]) == {(False, True)}
    assert (True, True) in has[22:]


@pytest.mark.slow
def test_resumes_in_every_stage(staged):
    whole = digests(staged.dataset(), 40)
    assert len(set(whole)) == 40
    # In the middle of the stages, and at the ends of the first two.
    steps = (5, 13, 17, 30)
    positions = [staged.position(step).to_dict() for step in steps]
    for step, saved in zip(steps, positions, strict=True):
        assert saved["batch"] == step
        resumed = staged.dataset(Position.from_dict(saved))
        assert digests(resumed, 40 - step) == whole[step:]
    # Once more, over the end of a stage.
    digests(staged.dataset(Position.from_dict(positions[0])), 12)
    further = staged.position(12)
    assert further.batch == 17
    assert digests(staged.dataset(further), 23) == whole[17:]


def test_stages_need_endless_examples(staged, mixture, vocabulary):
    first = Mixture("m", mixture.groups, steps=1, then=mixture)
    with pytest.raises(InputError, match="leave `repeat` on"):
        Pipeline(
            first,
            vocabulary,
            input_length=256,
            target_length=96,
            batch_size=3,
            repeat=False,
        )


def test_position_of_the_beginning(pipeline):
    pipeline.dataset()
    assert pipeline.position(0) == Position(0, 0)


@pytest.mark.parametrize(
    "value",
    [
        *({}, {"chunk": -1, "row": 0}, {"chunk": 0, "r": 1}, "a"),
        {"chunk": 0, "row": 0, "batch": None},
    ],
)
def test_broken_positions_are_named(value):
    if value == {}:
        assert Position.from_dict(value) == Position()
        return
    with pytest.raises(InputError, match="data position"):
        Position.from_dict(value)


def test_positions_in_the_order_of_earlier_versions_are_refused():
    position = Position(3, 17, 120)
    saved = position.to_dict()
    assert Position.from_dict(saved) == position
    del saved["order"]
    with pytest.raises(InputError, match=r"batch 120 .* in another order"):
        Position.from_dict(saved)


def arrays(dataset, count):
    """The arrays of each batch."""
    return [
        [*(x[key] for key in sorted(x)), y, weight]
        for x, y, weight in dataset.take(count).as_numpy_iterator()
    ]


def part(mixture, vocabulary, host, hosts, count=4, **settings):
    """A host's part of batches of 12 rows, and where it stands then."""
    sizes = {"input_length": 256, "target_length": 96, "chunk": 64}
    pipeline = Pipeline(
        mixture,
        vocabulary,
        **{**sizes, "batch_size": 12 // hosts, **settings},
        **{"host": host, "hosts": hosts},
    )
    return arrays(pipeline.dataset(), count), pipeline.position(count)


def test_any_number_of_hosts_makes_the_same_batches(mixture, vocabulary):
    whole, place = part(mixture, vocabulary, 0, 1)
    for host in range(2):
        own, own_place = part(mixture, vocabulary, host, 2)
        assert own_place == place
        for found, expected in zip(own, whole, strict=True):
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_array_equal(a, np.split(b, 2)[host])


@pytest.mark.parametrize("repeat", [True, False])
def test_a_task_of_fewer_rows_than_hosts(mixture, vocabulary, tmp_path, repeat):
    """A host without rows of a task waited for them for ever."""
    fields = {"question": "tiny", "answer": "1", "rationale": "."}
    one_row = [Example(fields, "tiny")]
    folder = tmp_path / "tiny"
    write_records(one_row, folder, name="tiny", templates="generic")
    tasks = [Task.from_directory(folder)]
    if repeat:
        tasks += [part.task for part in mixture.tasks]
    formats = {"zero_shot_direct": 1}
    few = Mixture("few", [MixtureGroup("g", tasks, formats=formats)])
    settings = {"repeat": repeat, "pack": False}
    [*_, (*_, weight)], _ = part(few, vocabulary, 3, 4, 2, **settings)
    # One row is of the first host, and the others have padding.
    assert weight.any() == repeat
