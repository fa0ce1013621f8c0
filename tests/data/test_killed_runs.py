"""Reading that is killed goes on as if nothing had happened."""

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from keras_flan.data import Example, train_vocabulary, write_records

# Forks a reader a line, so that TensorFlow is imported once: its threads
# begin with the first operation, in the children.
READERS = """
    import hashlib, json, os, sys
    from keras_flan.data import Mixture, Pipeline, Position, Vocabulary
    from keras_flan.runtime.tensorflow import tf
    from keras_flan.files import write_json

    def read(log, saved, threads, starts, last):
        pipeline = Pipeline(
            Mixture.from_yaml("mixture.yaml"), Vocabulary("v.model"),
            input_length=96, target_length=48, batch_size=2, chunk=64, seed=5,
        )
        options = tf().data.Options()
        options.threading.private_threadpool_size = threads
        with open(log, "w") as file:
            for start in starts:
                start = Position.from_dict(start)
                batches = pipeline.dataset(start).with_options(options)
                batches = batches.take(last - start.batch)
                batches = batches.as_numpy_iterator()
                for done, (x, y, w) in enumerate(batches, 1):
                    digest = hashlib.sha256()
                    for array in (*(x[key] for key in sorted(x)), y, w):
                        digest.update(array.tobytes())
                    print(start.batch, done, digest.hexdigest(), file=file)
                    file.flush()
                    if saved:  # As a training step would.
                        write_json(saved, pipeline.position(done).to_dict())

    tf()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            read(*json.loads(line))
            os._exit(0)
        print(child, flush=True)
        os.waitpid(child, 0)
        print("over", flush=True)
"""
LAST = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    for name, number in (("sums", 130), ("words", 61)):
        write_records(
            [
                Example(
                    {
                        "question": f"{name} {i}" + " and more" * (i % 7),
                        "answer": str(i),
                    },
                    name,
                )
                for i in range(number)
            ],
            folder / "records" / name,
            name=name,
            templates="generic",
            shards=2,
        )
    texts = ["question answer and more sums words 0123456789"] * 20
    train_vocabulary(texts, 285, folder / "v.model")
    (folder / "mixture.yaml").write_text(
        "{records: records, shots: 1, groups: {all: {tasks: '*', formats: "
        "{zero_shot_direct: 1, few_shot_direct: 1}}}}"
    )
    return folder


@pytest.fixture(scope="module")
def readers(folder):
    server = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(READERS)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        yield server
        server.stdin.close()


def start(readers, *arguments):
    """Starts a reader and returns its process id."""
    readers.stdin.write(json.dumps(arguments) + "\n")
    readers.stdin.flush()
    return int(readers.stdout.readline())


def digests(log):
    """The digests of each start's batches that are wholly in the log."""
    found = {}
    for line in log.read_text().split("\n")[:-1]:
        begin, done, digest = line.split()
        found.setdefault(int(begin), []).append(digest)
        assert len(found[int(begin)]) == int(done)
    return found


def position(saved):
    return json.loads(saved.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 4])
def test_a_killed_reader_goes_on_byte_for_byte(threads, folder, readers):
    """Ten readers are killed at random steps; each is resumed to the end."""
    log, saved = folder / "log", folder / "saved.json"
    start(readers, "log", None, threads, [{}], LAST)
    assert readers.stdout.readline() == "over\n"
    whole = digests(log)[0]
    assert len(set(whole)) == LAST

    rng, places = random.Random(threads), []
    for number in range(10):
        step = rng.randrange(1, LAST - 10)
        log.unlink()
        saved.unlink(missing_ok=True)
        child = start(readers, "log", "saved.json", threads, [{}], LAST)
        while not (
            saved.exists() and json.loads(saved.read_text())["batch"] >= step
        ):
            time.sleep(rng.uniform(0, 0.002))
        os.kill(child, signal.SIGKILL)
        assert readers.stdout.readline() == "over\n"
        before = digests(log).get(0, [])
        assert before == whole[: len(before)]
        place = position(saved)
        # The last position may be one behind the last batch.
        assert len(before) - place["batch"] in (0, 1)
        assert step <= place["batch"] < LAST, number
        places.append(place)

    places = {place["batch"]: place for place in places}
    start(readers, "log", None, threads, list(places.values()), LAST)
    assert readers.stdout.readline() == "over\n"
    resumed = digests(log)
    assert resumed == {batch: whole[batch:] for batch in places}
    assert len(places) >= 8  # Steps may coincide.
