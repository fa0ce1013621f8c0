"""Writers, run in processes forked from one that has imported all.

Each writes a folder whose content says which number it was written with, by
`read`. `Writers` runs them, and stops, kills or lets them wait as it is told.
"""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
MARKER = re.compile(r"mark (\d+)\b")
QUESTIONS = 12


# === The writers: an output, a number, and a folder of what they read ===


def write_records(output, number, source):
    from keras_flan.data.importers import import_file

    import_file(
        "csv",
        source / f"{number}.csv",
        output,
        name="sums",
        templates=str(source / f"{number}.yaml"),
    )


def write_model(output, number, source):
    from keras_flan.models import save
    from tests.conftest import make_t5

    model = make_t5(number, num_layers=1)
    model.vocabulary = None
    save(model, output)


def write_run(output, number, source):
    from keras_flan.training import TrainConfig, train

    overrides = [f"output={output}", f"seed={number}"]
    config = TrainConfig.from_yaml(source / "train.yaml", overrides)
    train(config, quiet=True)


def write_evaluation(output, number, source):
    from keras_flan.evaluation import evaluate

    evaluate(
        answer,
        "gsm8k",
        source / "test.jsonl",
        output=output,
        mode="cot",
        samples=2,
        seed=number,
        batch_paths=2,
        resume=True,
    )


def write_fresh_evaluation(output, number, source):
    for file in output.glob("journal.jsonl"):
        file.unlink()
    write_evaluation(output, number, source)


def write_answers(output, number, source):
    from keras_flan.generation.prompting import ask
    from keras_flan.generation.trace import write_trace

    prompts = [f"mark {number}: {i} + 1?" for i in range(QUESTIONS)]
    results = ask(answer, prompts, samples=3, seed=number, kind="number")
    write_trace(output, results, {"seed": f"mark {number}"})


def write_search(output, number, source):
    from keras_flan.search.candidates import Candidate
    from keras_flan.search.halving import search_prompts
    from keras_flan.search.report import write_search

    padding = f"mark {number} {'and more ' * 60}"
    found = search_prompts(
        answer_with(number),
        [{"question": f"{i} + 1?", "answer": "1"} for i in range(QUESTIONS)],
        [Candidate(n, pattern=f"{padding}{n} {{question}}") for n in "abcd"],
        test=4,
        first=4,
    )
    write_search(output, found, {"seed": f"mark {number}"})


def write_chains(output, number, source):
    from keras_flan.evaluation.faithfulness.chains import Chain
    from keras_flan.evaluation.faithfulness.measures import measure
    from keras_flan.evaluation.faithfulness.page import write_faithfulness

    steps = ("7 - 2 = 5.", "5 + 3 = 8.")
    chains = [
        Chain(f"mark {number}: {i} {'and more ' * 60}", steps, "8")
        for i in range(QUESTIONS)
    ]
    found = measure(Ranker(), chains)
    write_faithfulness(output, found, {"seed": f"mark {number}"})


def write_confidence(output, number, source):
    from keras_flan.answers.confidence import SIGNALS, ConfidenceModel

    rows = [{name: i % 7 for name in SIGNALS} for i in range(20 + number)]
    ConfidenceModel.fit(rows, [i % 2 for i in range(20 + number)]).save(output)


def write_small_model(output, number, source):
    from keras_flan.models import save
    from tests.conftest import make_t5

    model = make_t5(number, num_layers=1)
    model.vocabulary = None
    model.quantize("int8")
    save(model, output)


def answer_with(number):
    return lambda prompts, **settings: answer(prompts, seed=number, **settings)


class Ranker:
    """Finds all answers as likely as another."""

    def generate(self, prompts, **settings):
        raise AssertionError("nothing is generated")

    def log_likelihoods(self, prompts, continuations):
        from keras_flan.generation.outputs import Likelihood

        return [[Likelihood(-1.0, 1) for _ in row] for row in continuations]


def answer(prompts, *, samples, seed, **settings):
    """A model's `generate`."""
    from tests.generation.fakes import make_path

    text = f"mark {seed} {'and more ' * 60}. The answer is {seed}."
    return [[make_path(text)] * samples for _ in prompts]


WRITERS = {
    writer.__name__.removeprefix("write_"): writer
    for writer in (
        *(write_records, write_model, write_run, write_evaluation),
        *(write_fresh_evaluation, write_answers, write_search),
        *(write_chains, write_confidence, write_small_model),
    )
}


def make_source(folder, numbers=(0, 1)):
    """Writes what the writers read."""
    from tests.odd import write_odd

    folder.mkdir()
    for number in numbers:
        lines = ["question,answer"]
        for i in range(300):
            # The second of the two has rejects.
            question = "" if number and i % 50 == 0 else f"mark {number}: {i}?"
            lines.append(f"{question},{i}")
        (folder / f"{number}.csv").write_text("\n".join(lines))
        (folder / f"{number}.yaml").write_text(
            f"family: own{number}\nfields: [question, answer]\n"
            "zero_shot_direct: [{input: '{question}', target: '{answer}'}]\n"
        )
    rows = (
        {"question": f"What is {i}?", "answer": f"So.\n#### {i % 2}"}
        for i in range(QUESTIONS)
    )
    (folder / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    write_odd(folder)
    config = {
        "mixture": "odd.yaml",
        "vocabulary": "v.model",
        "output": "run",
        **{"steps": 6, "log_every": 2, "checkpoint_every": 2},
        "model": {
            **{"num_layers": 1, "num_heads": 2},
            **{"hidden_dim": 16, "intermediate_dim": 16},
        },
        "data": {"input_length": 32, "target_length": 12, "batch_size": 2},
        "optimizer": {"learning_rate": 0.05},
    }
    (folder / "train.yaml").write_text(yaml.safe_dump(config))


# === What a folder holds ===


def read(name, output):
    """Returns what a folder is of; fails if it is of two, or of none."""
    return _READERS[name](output)


def _one(texts):
    found = {number for text in texts for number in MARKER.findall(text)}
    assert len(found) == 1, found
    return int(found.pop())


def _read_records(output):
    from keras_flan.data import read_info, read_records
    from keras_flan.data.templates.task import Task

    info = read_info(output)
    rows = [e.fields["question"] for e in read_records(output, verify=True)]
    number = _one(rows)
    assert len(rows) == (294 if number else 300)
    assert Task.from_directory(output).family.name == f"own{number}"
    rejects = output / "rejects.jsonl"
    lines = rejects.read_text().splitlines() if rejects.exists() else []
    assert len(lines) == info.num_rejected == (6 if number else 0)
    return number


def _read_model(output):
    from keras_flan.outputs import settle

    settle(output)
    names = {file.name for file in output.iterdir()}
    assert {"config.json", "metadata.json", "model.weights.h5"} <= names, names
    return digest_of(output)


def digest_of(output):
    """Returns a digest of a model's weights."""
    import h5py

    digest = hashlib.sha256()

    def add(name, value):
        if isinstance(value, h5py.Dataset):
            digest.update(name.encode() + value[()].tobytes())

    with h5py.File(output / "model.weights.h5") as file:
        file.visititems(add)
    return digest.hexdigest()[:16]


def _read_run(output):
    from keras_flan.outputs import settle

    settle(output)
    state = json.loads((output / "run.json").read_text())
    config = yaml.safe_load((output / "config.yaml").read_text())
    assert state["seed"] == config["seed"]
    metrics = json.loads((output / "metrics.json").read_text())
    return state["finished"], _read_model(output / "model"), metrics["loss"]


def _read_evaluation(output):
    from keras_flan.evaluation.scores.predictions import read_predictions

    rows = read_predictions(output)
    number = _one(text for row in rows for text in row.outputs)
    metrics = json.loads((output / "metrics.json").read_text())
    assert len(rows) == QUESTIONS
    assert metrics["run"]["seed"] == number
    return number


def _read_answers(output):
    from keras_flan.outputs import settle

    settle(output)
    texts = [(output / n).read_text() for n in ("answers.jsonl", "trace.html")]
    assert len(texts[0].splitlines()) == QUESTIONS
    return _one(texts)


def _read_marked(output, *names):
    """Returns the one number of files that came together."""
    from keras_flan.outputs import settle

    settle(output)
    return _one((output / name).read_text("utf-8") for name in names)


def _read_confidence(output):
    from keras_flan.answers.confidence import ConfidenceModel

    return ConfidenceModel.load(output).questions


_READERS = {
    "records": _read_records,
    "model": _read_model,
    "run": _read_run,
    "evaluation": _read_evaluation,
    "fresh_evaluation": _read_evaluation,
    "answers": _read_answers,
    "search": lambda output: _read_marked(output, "search.json", "search.html"),
    "chains": lambda output: _read_marked(
        output, "chains.jsonl", "chains.html"
    ),
    "confidence": _read_confidence,
    "small_model": _read_model,
}


# === Running them ===


class Writers:
    """Forks writers; each prints to `source/err-I` as the command line does.

    Args:
        source: What `make_source` wrote.
    """

    def __init__(self, source):
        self.source = source
        cache = {
            "JAX_COMPILATION_CACHE_DIR": str(source / "cache"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.outputs.writers", str(source)],
            env={**os.environ, **cache, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(self, *jobs):
        """Runs jobs side by side; returns code, errors and events of each.

        A job has `name`, `output`, `number`; it may have `kill_at` (kills
        itself before that event), `kill_after` (seconds), `hold_at` (waits
        before that event until the next job is over) or `begin_at` (begins
        when a file is there).
        """
        self._process.stdin.write(json.dumps(jobs, default=str) + "\n")
        self._process.stdin.flush()
        results = json.loads(self._process.stdout.readline())
        return [tuple(result) for result in results]

    def close(self):
        self._process.stdin.close()
        self._process.wait()


def serve(source):
    import h5py  # noqa: F401
    import jax  # noqa: F401

    from keras_flan.runtime.tensorflow import tf
    from tests.conftest import make_t5  # noqa: F401

    tf()
    for line in sys.stdin:
        jobs = json.loads(line)
        for i in range(len(jobs)):
            for file in source.glob(f"*-{i}"):
                file.unlink()
        running = {}
        for i, job in enumerate(jobs):
            child = os.fork()
            if child == 0:
                _child(source, i, job)
            running[child] = i
        print(json.dumps(_wait(source, jobs, running)), flush=True)


def _wait(source, jobs, running):
    begin, codes = time.monotonic(), {}
    while running:
        for child, i in list(running.items()):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                codes[i] = os.waitstatus_to_exitcode(status)
                (source / f"over-{i}").touch()
                del running[child]
            elif time.monotonic() - begin > jobs[i].get("kill_after", 300):
                os.kill(child, signal.SIGKILL)
        time.sleep(0.002)
    results = []
    for i in range(len(jobs)):
        events = source / f"events-{i}"
        number = int(events.read_text()) if events.exists() else 0
        errors = source / f"err-{i}"
        # It may have been killed before it began.
        error = errors.read_text(errors="replace") if errors.exists() else ""
        # What TensorFlow's C++ code logs is none of ours.
        error = re.sub(r"(?m)^[EIW]0000 .*\n", "", error)
        results.append((codes[i], error, number))
    return results


def _child(source, i, job):
    from keras_flan import cli

    handle = os.open(source / f"err-{i}", os.O_CREAT | os.O_WRONLY)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    output = Path(job["output"])
    while job.get("begin_at") and not (
        os.path.exists(job["begin_at"]) or (source / "over-0").exists()
    ):
        time.sleep(0.001)
    watch = _Watch(source, i, job, str(output.parent))
    sys.addaudithook(watch)
    # With what the command line makes of errors.
    cli.app = lambda standalone_mode: WRITERS[job["name"]](
        output, job["number"], source
    )
    code = 70
    try:
        cli.main()
    except SystemExit as error:
        code = error.code or 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        watch.on = False
        (source / f"events-{i}").write_text(str(watch.number))
        sys.stderr.flush()
        os._exit(code)


class _Watch:
    """Counts what a process does to files below a folder."""

    EVENTS = frozenset(
        ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir")
    ) | {"shutil.rmtree", "ctypes.dlopen", "os.truncate"}

    def __init__(self, source, i, job, folder):
        self.source, self.i, self.job = source, i, job
        self.folder, self.number, self.on = folder, 0, True

    def __call__(self, event, args):
        if not self.on or event not in self.EVENTS:
            return
        path = args[0]
        if event != "ctypes.dlopen" and not (
            isinstance(path, (str, Path)) and self.folder in str(path)
        ):
            return
        self.number += 1
        if self.number == self.job.get("kill_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.number == self.job.get("hold_at"):
            begin = time.monotonic()
            while not (self.source / f"over-{self.i + 1}").exists():
                if time.monotonic() - begin > 120:
                    os._exit(71)
                time.sleep(0.001)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
