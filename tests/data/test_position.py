"""Resuming at any step, and sharing records between hosts."""

import hashlib
import random
from collections import Counter

import pytest

from keras_flan.data import Mixture, Pipeline, Position, Task
from keras_flan.data.mixtures.mixture import MixtureGroup
from keras_flan.data.pipeline.settings import PipelineSettings
from keras_flan.data.pipeline.streams import draw_records, task_records
from keras_flan.data.records.example import Example
from keras_flan.data.records.shards import write_records
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
        *({}, {"chunk": 1}, {"chunk": -1, "row": 0}, {"chunk": 0, "r": 1}),
        {"chunk": 0, "row": 0, "batch": None},
    ],
)
def test_broken_positions_are_named(value):
    if value == {}:
        assert Position.from_dict(value) == Position()
        return
    if value == {"chunk": 1}:
        assert Position.from_dict(value) == Position(1, 0)
        return
    with pytest.raises(InputError, match="data position"):
        Position.from_dict(value)


@pytest.mark.parametrize("hosts", [1, 2, 3, 4])
def test_hosts_share_each_epoch(mixture, hosts):
    """Together they see each usable example once, under its own number."""
    seen, texts = Counter(), {}
    for host in range(hosts):
        draws = draw_records(
            mixture,
            PipelineSettings(
                **{"input_length": 8, "target_length": 8, "batch_size": 1},
                **{"seed": 1, "shuffle_buffer": 10, "repeat": False},
                **{"host": host, "hosts": hosts},
            ),
        )
        mine = set()
        for key, record in draws:
            key = int(key)
            seen[key] += 1
            mine.add(key)
            texts[key] = record.numpy()
        assert mine  # no host is left without work
    assert len(seen) == sum(part.task.num_usable for part in mixture.tasks)
    assert set(seen.values()) == {1}
    tasks = [part.task for part in mixture.tasks]
    for key, record in task_records(tasks, [t.num_usable for t in tasks]):
        assert texts.pop(int(key)) == record.numpy()
    assert not texts


def test_hosts_draw_different_examples(mixture, vocabulary):
    def first(host):
        pipeline = Pipeline(
            mixture,
            vocabulary,
            input_length=256,
            target_length=96,
            batch_size=3,
            chunk=64,
            host=host,
            hosts=2,
        )
        return digests(pipeline.dataset(), 2)

    assert not set(first(0)) & set(first(1))


def test_fewer_shards_than_hosts(mixture, vocabulary):
    with pytest.raises(InputError, match=r"4 shard.* by 5 hosts.*--shards 5"):
        Pipeline(
            mixture,
            vocabulary,
            input_length=256,
            target_length=96,
            batch_size=3,
            host=0,
            hosts=5,
        )
