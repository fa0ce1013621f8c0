"""Streams of hundreds of tasks."""

import dataclasses

import pytest

from keras_flan.data.mixtures.mixture import Mixture, MixtureGroup
from keras_flan.data.pipeline.settings import PipelineSettings
from keras_flan.data.pipeline.streams import draw_records, split_keys
from keras_flan.data.records.example import Example
from keras_flan.data.records.shards import write_records
from keras_flan.data.templates.task import Task
from keras_flan.runtime.tensorflow import allow_open_files, tf


@pytest.fixture
def few_open_files():
    """Lets the process open few files, as many systems do at first."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    tf()
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, before[1]))
    yield resource
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_more_tasks_than_files_may_be_open(tmp_path, few_open_files):
    write_records(
        [Example({"question": f"{i}", "answer": "a"}, "t") for i in range(9)],
        tmp_path / "t",
        name="t",
        templates="generic",
        shards=2,
    )
    task = Task.from_directory(tmp_path / "t")
    tasks = [dataclasses.replace(task, name=f"t{i}") for i in range(300)]
    mixture = Mixture("many", [MixtureGroup("all", tasks)])
    # With a buffer of one example, all files stay open.
    settings = PipelineSettings(
        input_length=8, target_length=8, batch_size=1, shuffle_buffer=1
    )
    stream = draw_records(mixture, settings)
    keys = next(stream.batch(2000).as_numpy_iterator())[0]
    task_ids, indices = split_keys(keys)
    assert len(set(task_ids.numpy())) > 290
    assert set(indices.numpy()) == set(range(9))


def test_the_limit_of_open_files_is_raised_but_never_lowered(few_open_files):
    def limit():
        return few_open_files.getrlimit(few_open_files.RLIMIT_NOFILE)[0]

    allow_open_files(100)
    raised = limit()
    assert raised > 300
    allow_open_files(1)
    assert limit() == raised
