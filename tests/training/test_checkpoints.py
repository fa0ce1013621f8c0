"""A training that is stopped and restored is the same, bit for bit."""

import keras
import numpy as np
import pytest

from keras_flan.data import Position
from keras_flan.errors import Diverged, InputError
from keras_flan.training import (
    Adafactor,
    StepLog,
    StopOnSignal,
    TrainingCheckpoint,
)


class Data:
    """Stands in for a `Pipeline`: batches of random numbers, by number."""

    def dataset(self, start=None):
        number = start.batch if start else 0
        self.begun = number
        while True:
            rng = np.random.default_rng(number)
            yield (
                rng.normal(size=(4, 8)).astype("float32"),
                rng.normal(size=(4, 3)).astype("float32"),
            )
            number += 1

    def position(self, batches):
        return Position(batch=self.begun + batches)


class Losses(keras.callbacks.Callback):
    """The loss of every step; dies at one, as if killed."""

    def __init__(self, die_at=None):
        super().__init__()
        self.seen, self.die_at = [], die_at

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(float(logs["loss"]))
        if len(self.seen) == self.die_at:
            raise KeyboardInterrupt

    def state(self):
        return self.seen

    def set_state(self, seen):
        self.seen = seen


def make(units=3):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(8),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(units),
        ]
    )
    model.compile(Adafactor(0.05, momentum=0.9), "mse")
    return model


def train(folder, steps=12, die_at=None, every=5, model=None):
    model, data, losses = model or make(), Data(), Losses(die_at)
    checkpoint = TrainingCheckpoint(
        folder, data, every=every, states={"losses": losses}
    )
    done = checkpoint.restore(model)
    try:
        model.fit(
            data.dataset(checkpoint.position),
            steps_per_epoch=steps - done,
            callbacks=[losses, checkpoint],
            verbose=0,
        )
    except KeyboardInterrupt:
        return done, losses.seen, None
    return done, losses.seen, [np.asarray(w) for w in model.variables]


def test_goes_on_as_if_never_stopped(tmp_path):
    _, straight, weights = train(tmp_path / "a")
    assert len(set(straight)) == 12
    done, first, _ = train(tmp_path / "b", die_at=8)
    assert (done, first) == (0, straight[:8])
    # On from step 5; what came after it is done again.
    done, second, again = train(tmp_path / "b")
    assert (done, second) == (5, straight)
    for one, other in zip(weights, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_kept_besides_weights_is_one_file(tmp_path):
    # Orbax once wrote an array per number, and a stop took seconds.
    folders, model = [], make()
    model.optimizer.build(model.trainable_variables)
    for seen in ([0.1], [0.1] * 20_000):
        folders.append(tmp_path / str(len(seen)))
        losses = Losses()
        losses.seen = seen
        checkpoint = TrainingCheckpoint(folders[-1], states={"it": losses})
        checkpoint.set_model(model)
        checkpoint.on_train_begin()
        checkpoint._calls = 1
        checkpoint.save()
        checkpoint.on_train_end()
        again = Losses()
        states = {"it": again}
        assert TrainingCheckpoint(folders[-1], states=states).restore(model)
        assert again.seen == seen
    one, many = (
        sorted(path.name for path in (folder / "1" / "progress").iterdir())
        for folder in folders
    )
    assert one == many


@pytest.mark.slow
def test_another_model_is_refused(tmp_path):
    train(tmp_path, steps=5)
    with pytest.raises(InputError, match="5: the model has 5 variables"):
        train(tmp_path, model=make(units=2))


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named(tmp_path):
    train(tmp_path, steps=10)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["10", "5"]
    for path in (tmp_path / "10" / "pytree").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(InputError, match="10: cannot be restored"):
        train(tmp_path)


def test_steps_are_the_optimizers(tmp_path):
    # Keras calls back once for four steps, and not from step 0.
    model = make()
    model.compile(model.optimizer, "mse", steps_per_execution=4)
    data, log = Data(), StepLog(every=4)
    kept = TrainingCheckpoint(tmp_path, data, every=4)
    for epochs in (1, 2):
        model.fit(
            data.dataset(kept.position),
            steps_per_epoch=8,
            epochs=epochs,
            initial_epoch=epochs - 1,
            callbacks=[log, kept, StopOnSignal(kept)],
            verbose=0,
        )
        kept = TrainingCheckpoint(tmp_path, data, every=4)
    assert kept.restore(make()) == int(model.optimizer.iterations) == 16
    # The second `fit` read the data anew.
    assert kept.position == Position(batch=8)
    uncompiled = make()
    uncompiled.compiled, uncompiled.optimizer = False, None
    with pytest.raises(InputError, match="the model is not compiled"):
        kept.restore(uncompiled)
    assert log.steps == [4, 8, 12, 16]
    assert len(set(log.loss)) == 4


def test_accumulation_is_told_to_both(tmp_path):
    model = make()
    adam = keras.optimizers.Adam(0.1, gradient_accumulation_steps=2)
    model.compile(adam, "mse")
    with pytest.raises(InputError, match="has gradient_accumulation_steps=2"):
        model.fit(Data().dataset(), steps_per_epoch=1, callbacks=[StepLog()])


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path):
    class Broken(Data):
        def dataset(self, start=None):
            self.begun = 0
            for number, (x, y) in enumerate(super().dataset(start)):
                yield x, np.full_like(y, loss) if number == 6 else y

    for every, step, loss in ((7, 7, np.inf), (50, 8, np.nan)):
        folder = tmp_path / str(every)
        data = Broken()
        kept = TrainingCheckpoint(folder, data, every=4)
        with pytest.raises(Diverged, match=f"step {step}: the loss is {loss}"):
            make().fit(
                data.dataset(),
                steps_per_epoch=12,
                callbacks=[*([StepLog(every)] * (every < 50)), kept],
                verbose=0,
            )
        again = TrainingCheckpoint(folder, Data())
        assert again.restore(make()) == 4
