"""A first mixture: from rows to a model that answers.

Purpose: Write records, mix two tasks, see what the model sees, train, ask.
Time: Two minutes on two CPU cores.
Accelerator: None.
"""

import os
import random

os.environ.setdefault("KERAS_BACKEND", "jax")

from keras_flan.data import (
    Example,
    Mixture,
    MixtureGroup,
    Pipeline,
    Task,
    write_records,
)
from keras_flan.generation import ask
from keras_flan.models import load
from keras_flan.training import Adafactor, TokenCrossentropy, held_out_loss

"""
## Records

A task is a set of records: rows of named texts, without any prompt. Files of
many formats become records by `keras-flan import`; here two tasks are made by
code. `templates` names the family of wordings that the rows are asked in.
"""


def pens(rng):
    """A question, its answer, and how one gets there."""
    a, b = rng.randint(2, 40), rng.randint(2, 40)
    return {
        "question": f"Ann has {a} pens and buys {b}. How many has she?",
        "answer": f"{a + b}",
        "rationale": f"{a} + {b} = {a + b}.",
    }


def parity(rng):
    """A question and its answer, without a way."""
    number = rng.randint(2, 999)
    kind = "odd" if number % 2 else "even"
    return {"question": f"Is {number} even or odd?", "answer": kind}


def records(name, make, split, count, seed):
    """Writes rows of a task; returns the task."""
    rng = random.Random(seed)
    folder = f"runs/guide/records/{name}/{split}"
    rows = (Example(make(rng), name, f"{name}:{i}") for i in range(count))
    write_records(
        rows, folder, name=name, split=split, templates="generic", replace=True
    )
    return Task.from_directory(folder)


trained = [
    records("pens", pens, "train", 600, seed=0),
    records("parity", parity, "train", 300, seed=1),
]
held_out = records("pens", pens, "test", 50, seed=2)

"""
## A mixture

A task is drawn by its number of rows, up to the cap. Each draw takes one of the
formats, too: asked directly or for reasoning, with exemplars or without. A task
without rationales keeps to the direct ones.
"""

formats = {"zero_shot_direct": 1, "zero_shot_cot": 1, "few_shot_direct": 1}
group = MixtureGroup("all", trained, cap=400, formats=formats)
mixture = Mixture("guide", [group], shots=2)
print(mixture.rates())

"""
## What the model sees

`flan_nano` is a T5 of 2.7 million parameters, which comes with the package. The
pipeline draws, fills a template, turns texts into tokens, and packs examples
into rows; segment ids keep them apart in attention.
"""

model = load("flan_nano")
lengths = {"input_length": 192, "target_length": 96, "batch_size": 8}
pipeline = Pipeline(mixture, model.vocabulary, **lengths, seed=0)
dataset = pipeline.dataset()
x, y, weights = next(iter(dataset))
segments = x["encoder_segment_ids"][0].numpy()
first = x["encoder_token_ids"][0].numpy()[segments == 1]
print(f"{segments.max()} examples in the first row; the first of them:")
print(model.vocabulary.decode(first[:-1].tolist()))

"""
## Training

Plain `compile` and `fit`. The held-out loss is a mean over target tokens.
`fates` compares what the mixture asked for with what was trained on.
"""

one = MixtureGroup("held out", [held_out], formats={"zero_shot_cot": 1})
unseen = Pipeline(
    Mixture("held out", [one]), model.vocabulary, **lengths, repeat=False
)
model.compile(Adafactor(0.005), TokenCrossentropy())
before = held_out_loss(model, unseen.dataset())
model.fit(dataset, steps_per_epoch=20, shuffle=False)
after = held_out_loss(model, unseen.dataset())
print(f"held-out loss: {before:.3f} before, {after:.3f} after")
for row in pipeline.fates():
    print(
        row["task"], row["format"], f"{row['share']:.2f} {row['trained']:.2f}"
    )

"""
## A question
"""

question = next(iter(held_out.read())).fields["question"]
[answered] = ask(model, [question], cot=True, samples=8, kind="number")
print(question, answered.vote.counts)
