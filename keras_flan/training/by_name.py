"""What a run takes from elsewhere by name: callbacks, and a benchmark."""

from collections.abc import Callable, Iterable
from pathlib import Path

import keras

from keras_flan.distribution.start import Setup
from keras_flan.errors import InputError
from keras_flan.extensions import add_module
from keras_flan.lazy import borrowed
from keras_flan.named import load_callable
from keras_flan.training.sections import BenchmarkConfig, CallbackConfig

# The folder in that of a run with the logs of its benchmark, by steps.
BENCHMARK = "benchmark"


def load_callbacks(
    wanted: Iterable[CallbackConfig],
) -> dict[str, keras.callbacks.Callback]:
    """Returns callbacks, by names that are each there once.

    Raises:
        InputError: If a class is not there, can't be called with its settings
            or makes no `keras.callbacks.Callback`.
    """
    found: dict[str, keras.callbacks.Callback] = {}
    for number, one in enumerate(wanted):
        try:
            callback = load_callable(one.name)(**one.settings)
        except TypeError as error:
            raise InputError(
                f"callbacks: {one.name}: can't be made of settings "
                f"{one.settings} ({error}); give what the class takes"
            ) from None
        if not isinstance(callback, keras.callbacks.Callback):
            raise InputError(
                f"callbacks: {one.name}: expected a keras.callbacks.Callback, "
                f"found a {type(callback).__name__}; derive the class from it"
            )
        found[f"callback {number}, {one.name}"] = callback
    return found


def keeps_state(callback: keras.callbacks.Callback) -> bool:
    """Whether checkpoints keep a callback's `state()`."""
    return hasattr(callback, "state") and hasattr(callback, "set_state")


def benchmark_score(
    its: BenchmarkConfig, folder: Path, setup: Setup
) -> Callable[[keras.Model, int], float]:
    """Returns a function of a model and a step: its accuracy.

    Args:
        its: The benchmark, and how it is asked.
        folder: Gets a folder for each step, as `evaluate` writes it.
        setup: The devices.

    Raises:
        InputError: If there are several processes, or data are missing.
    """
    if setup.processes > 1:
        raise InputError(
            "held_out.benchmark: is asked by one process, and there are "
            f"{setup.processes}; leave it out, and take a mixture"
        )
    values = its.model_dump(exclude={"name", "data", "modules"})
    for module in its.modules:
        add_module(module)
    room = "keras_flan.evaluation"
    # What is missing is said before the training.
    load = borrowed(f"{room}.benchmarks.files", "load_benchmark")
    known = borrowed(f"{room}.scores.metrics", "METRICS")
    for metric in load(its.name, its.data, its.split).protocol.metrics:
        known.named(metric)
    evaluate = borrowed(f"{room}.runs.evaluate", "evaluate")

    def score(model: keras.Model, step: int) -> float:
        place = folder / str(step)
        metrics = evaluate(model, its.name, its.data, output=place, **values)
        return float(metrics["accuracy"])

    return score
