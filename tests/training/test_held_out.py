"""Evaluation during a training: what is best, and when it ends."""

import json
import math
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from keras_flan.errors import Diverged, InputError
from keras_flan.extensions import add_module
from keras_flan.training import HeldOutLoss, TrainConfig
from keras_flan.training.by_name import (
    benchmark_score,
    keeps_state,
    load_callbacks,
)
from keras_flan.training.sections import BenchmarkConfig, CallbackConfig


def config(**values):
    return TrainConfig.model_validate(
        {"output": "r", "mixture": "m.yaml", **values}
    )


def evaluated(scores, before=None):
    """Measures scores, one per step, until the training ends."""
    best = []
    callback = HeldOutLoss(
        None,
        every=1,
        on_best=lambda step, score: best.append((step, score)),
        score=lambda model, step: scores[step],
        patience=2,
    )
    if before is not None:
        callback.set_state(before.state())
    model = SimpleNamespace(stop_training=False)
    callback.set_model(model)
    while not model.stop_training and callback.step + 1 < len(scores):
        logs = {}
        callback.on_train_batch_end(0, logs)
        assert logs == {"val_score": scores[callback.step]}
    return callback, best


def test_it_ends_after_so_many_scores_that_were_no_better():
    scores = [0, 0.1, 0.3, 0.2, 0.4, 0.4, 0.4, 0.9]
    whole, best = evaluated(scores)
    assert whole.steps == [1, 2, 3, 4, 5, 6] and whole.best == 4
    assert whole.is_over and whole.note == "score 0.400"
    assert best == [(1, 0.1), (2, 0.3), (4, 0.4)]
    # A checkpoint keeps how long it was patient.
    first, _ = evaluated(scores[:6])
    assert not first.is_over
    second, best = evaluated(scores, before=first)
    assert (second.steps, second.score) == (whole.steps, whole.score)
    assert best == [] and second.is_over


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_never_the_best(loss):
    best, losses = [], [2.0, loss]
    callback = HeldOutLoss(
        [(np.zeros(1), np.zeros(1), np.ones(1))],
        every=1,
        on_best=lambda step, loss: best.append((step, loss)),
    )
    callback.set_model(
        SimpleNamespace(
            metrics_variables=[],
            reset_metrics=lambda: None,
            test_on_batch=lambda *batch, **_: {
                "loss": losses[callback.step - 1]
            },
        )
    )
    callback.on_train_batch_end(0, {})
    with pytest.raises(Diverged, match=f"step 2: the held-out loss is {loss}"):
        callback.on_train_batch_end(0, {})
    assert best == [(1, 2.0)] and callback.loss == [2.0]


def test_how_often_and_what_is_evaluated():
    assert config().evaluated is None
    mixture = {"held_out": {"mixture": "h.yaml"}}
    assert config(**mixture).evaluated.every == 2000
    assert config(validation=0.05, steps=300).evaluated.every == 30
    assert config(validation=0.05, steps=90_000).evaluated.every == 2000
    own = {"every": 7, "patience": 3}
    its = config(validation=0.05, held_out=own).evaluated
    assert (its.every, its.patience) == (7, 3)
    with pytest.raises(ValueError, match="both say what is held out"):
        config(validation=0.05, **mixture)
    with pytest.raises(ValueError, match="names nothing to evaluate"):
        config(held_out=own)


class Counts(keras.callbacks.Callback):
    """A tracker as users write it."""

    def __init__(self, first=0):
        super().__init__()
        self.number = first

    def state(self):
        return self.number

    def set_state(self, value):
        self.number = value


def test_callbacks_are_made_of_their_names():
    name = f"{__name__}:Counts"
    its = config(callbacks=[name, {"name": name, "settings": {"first": 3}}])
    one, other = load_callbacks(its.callbacks).values()
    assert (one.number, other.number) == (0, 3) and keeps_state(one)
    assert not keeps_state(keras.callbacks.Callback())


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("Counts", {}, "expected a keras.callbacks.Callback, found a .*Name"),
        ("Counts", {"last": 1}, "can't be made of settings {'last': 1}"),
        ("Count", {}, "has no 'Count'"),
    ],
)
def test_a_wrong_callback_is_named(name, settings, message, monkeypatch):
    if not settings:
        monkeypatch.setitem(globals(), "Counts", SimpleNamespace)
    wanted = CallbackConfig(name=f"{__name__}:{name}", settings=settings)
    with pytest.raises(InputError, match=message):
        load_callbacks([wanted])
    with pytest.raises(ValueError, match="expected module:Class"):
        CallbackConfig(name="trackers.py")


def test_an_own_benchmark_brings_its_modules(tmp_path):
    (tmp_path / "own.py").write_text(
        "from keras_flan.evaluation import Metric\n"
        "METRICS = {'long': Metric(of_example=lambda m: len(m.output))}\n"
    )
    (tmp_path / "own.yaml").write_text(
        "name: own\nversion: 1\nsource: us\nreader: csv\n"
        "columns: {question: a, answer: b}\nmetrics: [long]\n"
        "formats: {zero_shot_direct: {query: '{question}'}}\n"
    )
    (tmp_path / "own.csv").write_text("a,b\nx,y\n")
    its = {"name": str(tmp_path / "own.yaml"), "data": tmp_path / "own.csv"}
    setup = SimpleNamespace(processes=1)
    with pytest.raises(InputError, match="no metric 'long'"):
        benchmark_score(BenchmarkConfig(**its), tmp_path, setup)
    its["modules"] = [str(tmp_path / "own.py")]
    score = benchmark_score(BenchmarkConfig(**its), tmp_path / "runs", setup)
    assert score(lambda prompts, **_: [["y"]], 3) == 1.0
    metrics = json.loads((tmp_path / "runs/3/metrics.json").read_text())
    assert "long" in metrics
    add_module(its["modules"][0]).remove()
