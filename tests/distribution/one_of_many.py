"""One process of a training on several; run by `test_many_processes.py`.

Prints a line of JSON for each step: its loss and the questions of the batch
that this process made.
"""

import argparse
import json
import os
import re
import signal

import keras
import numpy as np

from keras_flan.data import Mixture, Pipeline, Task, Vocabulary
from keras_flan.data.mixtures.mixture import MixtureGroup
from keras_flan.distribution import ending_together, gathered, hosts, setup
from keras_flan.models import DecoderOnly, PaLMBackbone, save
from keras_flan.training import Adafactor, TokenCrossentropy, TrainingCheckpoint

parser = argparse.ArgumentParser()
parser.add_argument("--folder")
parser.add_argument("--process", type=int, default=0)
parser.add_argument("--processes", type=int, default=1)
parser.add_argument("--port", type=int)
parser.add_argument("--steps", type=int, default=6)
parser.add_argument("--die", type=int, help="the step to be killed after")
args = parser.parse_args()

HOSTS, BATCH = 2, 4
run = setup(
    "batch=2,model=2",
    "fsdp+model",
    addresses=f"127.0.0.1:{args.port}" if args.port else None,
    processes=args.processes,
    process=args.process,
    patience=20,
)
assert (run.process, run.processes) == (args.process, args.processes)
vocabulary = Vocabulary(f"{args.folder}/v.model")
group = MixtureGroup(
    "all",
    [Task.from_directory(f"{args.folder}/sums")],
    formats={"zero_shot_direct": 1},
)


def pipeline(host):
    return Pipeline(
        Mixture("test", [group]),
        vocabulary,
        input_length=48,
        target_length=16,
        batch_size=BATCH // HOSTS,
        chunk=16,
        decoder_only=True,
        host=host,
        hosts=HOSTS,
    )


if args.processes == 1:
    # All parts of the batch, one after the other.
    parts = [pipeline(host) for host in range(HOSTS)]
else:
    settings = run.pipeline_settings(BATCH)
    assert (settings["batch_size"], run.hosts) == (BATCH // HOSTS, HOSTS)
    parts = [pipeline(run.host)]

keras.utils.set_random_seed(5)
backbone = PaLMBackbone(512, 2, 4, 32, 64, head_dim=8, dropout=0.1)
model = DecoderOnly(backbone, vocabulary=vocabulary)
model.compile(
    optimizer=Adafactor(1e-2, min_dim_to_factor=16), loss=TokenCrossentropy()
)
callbacks, done, start = [], 0, ()
if args.processes > 1:
    checkpoint = TrainingCheckpoint(
        f"{args.folder}/checkpoints-{args.processes}", parts[0], every=3
    )
    done = checkpoint.restore(model)
    start = (checkpoint.position,)
    callbacks.append(checkpoint)
questions = []


def split(rows):
    """Yields the ids between the ends of text; decoding stops there."""
    for row in rows:
        ends = np.flatnonzero(row == vocabulary.eos_id) + 1
        yield from (part.tolist() for part in np.split(row, ends))


def batches():
    for made in zip(
        *(part.dataset(*start).as_numpy_iterator() for part in parts),
        strict=True,
    ):
        batch = keras.tree.map_structure(lambda *a: np.concatenate(a), *made)
        texts = (vocabulary.decode(ids) for ids in split(batch[1]))
        questions.append(re.findall(r"q(\d+)x", "\n".join(texts)))
        yield batch


class Say(keras.callbacks.Callback):
    """Prints each step's loss; Keras shows the mean since `fit` began."""

    def on_train_batch_end(self, batch, logs=None):
        step = done + batch + 1
        mean = float(logs["loss"])
        line = {"step": step, "mean": mean, "questions": questions[batch]}
        print(json.dumps(line), flush=True)
        if step == args.die and run.process == run.processes - 1:
            os.kill(os.getpid(), signal.SIGKILL)


with ending_together(run.process, run.processes):
    model.fit(
        batches(),
        steps_per_epoch=args.steps - done,
        callbacks=[*callbacks, Say()],
        verbose=0,
    )
    hosts._TOGETHER = 4096  # So that there are several groups.
    whole = gathered(model)
    if run.writes:
        save(whole, f"{args.folder}/model-{args.processes}")
print(json.dumps({"host": run.host}), flush=True)
