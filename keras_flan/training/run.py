"""A training run from a config: start, watch, fit, write."""

import atexit
import contextlib
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import keras

from keras_flan.data.mixtures.mixture import Mixture
from keras_flan.data.pipeline.pipeline import Pipeline
from keras_flan.data.pipeline.position import Position
from keras_flan.data.records.shards import verify_records
from keras_flan.distribution.hosts import agreed, ending_together, gathered
from keras_flan.distribution.start import Setup
from keras_flan.distribution.table import print_layouts
from keras_flan.errors import InputError
from keras_flan.models.language_model import LanguageModel
from keras_flan.runtime.products import products_in
from keras_flan.runtime.start import prepare_process
from keras_flan.runtime.tensorflow import tf
from keras_flan.training.by_name import (
    BENCHMARK,
    benchmark_score,
    keeps_state,
    load_callbacks,
)
from keras_flan.training.callbacks import CutsNote, StepLog
from keras_flan.training.checkpoints import TrainingCheckpoint
from keras_flan.training.config import TrainConfig
from keras_flan.training.held_out import HeldOutLoss
from keras_flan.training.profiling import Profile
from keras_flan.training.run_folder import (
    CHECKPOINTS,
    close_run,
    open_run,
    run_folder,
    save_trained,
)
from keras_flan.training.sections import HeldOutConfig
from keras_flan.training.signals import StopOnSignal
from keras_flan.training.start import (
    compile_model,
    start_chat,
    start_devices,
    start_model,
)
from keras_flan.training.steps import profiled_steps
from keras_flan.training.telemetry import Telemetry


def train(
    config: TrainConfig,
    *,
    model: LanguageModel | None = None,
    quiet: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Finetunes a model as `config` says and writes it.

    A run that was stopped or killed goes on from its latest checkpoint, and
    has the losses that it would have had, also on another mesh or another
    number of processes. The output folder gets

    - `config.yaml`, from which the run can be made again, and `run.json`:
      seed, versions, checksums of the data;
    - `loss.csv`, `gradient_norm.csv`, `telemetry.csv`, `metrics.json`, with
      `held_out` or `validation` also `held_out.csv`; `loss.png`, and the page
      `training.html`, see `report_training`;
    - `draws.csv`: of each task and format how many examples were drawn, left
      out and cut since the run began or went on, and its share;
    - `model/`, a keras-hub preset; with `held_out` also `best/`. With an
      adapter `adapter.safetensors`, and `model/` if it can be merged.

    With `distribution` in the config every process calls this, and the first
    one writes (of checkpoints each its own part). Ctrl-C and SIGTERM end the
    run after the step at hand, with a checkpoint; see `StopOnSignal`.

    Args:
        config: The settings.
        model: The model to train, if it is in memory already; it is changed.
            Default: `start_model(config)`.
        quiet: Whether to show no progress.
        overwrite: Whether to write over an output that is neither empty nor
            a run: what has the names of a run's files is replaced.

    Returns:
        What `metrics.json` holds: `steps` that were trained, `loss` (mean
        over each `log_every` steps), `loss_steps`, `gradient_norm` and
        `learning_rate`, `speed` (see `Telemetry`), `seconds`, `parameters`,
        `attention`, the form that ran, `data` (see `Pipeline.cuts`),
        `model`, the model's folder, and under `held_out` the curves of
        `loss` and `score`, the `best` step, and whether the training was
        `stopped` early.

    Raises:
        InputError: If a file or setting is wrong, the output holds something
            else, or another process trains there.
        OSError: If the disk is full; says how much is missing.
        Interrupted: If a signal stopped the training; a `KeyboardInterrupt`.

    Example:
        >>> train(TrainConfig.from_yaml("train.yaml", ["steps=100"]))["loss"]
        [6.91, 5.3, 4.8, 4.4, 4.1]
    """
    prepare_process()
    setup = start_devices(config)
    held = run_folder(config, overwrite)
    with (
        ending_together(setup.process, setup.processes),
        held if setup.writes else contextlib.nullcontext(),
    ):
        run = _Run(config, setup, model, quiet, overwrite)
        run.fit()
        return run.write()


class _Run:
    """A training run, as one of the processes of `setup`; see `train`."""

    def __init__(
        self,
        config: TrainConfig,
        setup: Setup,
        model: LanguageModel | None,
        quiet: bool,
        overwrite: bool,
    ):
        self.begin = time.monotonic()
        self.overwrite = overwrite
        self.config, self.setup = config, setup
        self.mixture = self._mixture(config.mixture)
        self.stopped = agreed(setup.writes and open_run(config, self.mixture))
        self.model = start_model(config) if model is None else model
        self.chat = start_chat(self.model, config)
        if self.chat is None and hasattr(self.model, "separate"):
            # As the rows do: a pretrained model goes on with a text.
            self.model.separate = True
        self.pipeline = self._pipeline(self.mixture)
        compile_model(self.model, config)
        lengths = config.data.input_length, config.data.target_length
        row = sum(lengths) if self.model.decoder_only else max(lengths)
        self.attention = self.model.chosen_attention(row)
        self.quiet = quiet or not setup.writes
        if not self.quiet and setup.layouts is not None:
            print_layouts(setup.layouts.check(self.model), file=sys.stderr)
        if not self.quiet:
            print(f"attention: {self.attention}", file=sys.stderr)
        self._watch()

    def fit(self) -> None:
        """Trains to the last step, from the first or where it was stopped."""
        begin, config = time.monotonic(), self.config
        done, start = 0, Position()
        if self.checkpoint is not None and self.stopped:
            done = self.checkpoint.restore(self.model)
            start = self.checkpoint.position
        if done > config.steps:
            raise InputError(
                f"{config.output}: has a checkpoint of step {done:,}, more "
                f"than steps={config.steps:,}; give at least as many, or "
                "another output"
            )
        left = config.optimizer.accumulation.calls(config.steps - done)
        over = self.held_out is not None and self.held_out.is_over
        if left > 0 and not over:
            batches = self.telemetry.watch(self.pipeline.dataset(start))
            named = _named_damage(self.mixture, self.pipeline)
            products = products_in(config.products)
            with products, named, _ended(batches), self.stop:
                self.model.fit(
                    batches,
                    steps_per_epoch=left,
                    shuffle=False,
                    callbacks=self.callbacks,
                    verbose=0,
                )
        else:
            self._end()
        self.seconds = time.monotonic() - begin

    def _end(self) -> None:
        """Does what `fit` does after the last step."""
        callbacks = keras.callbacks.CallbackList(
            self.callbacks, model=self.model
        )
        self.model.stop_training = False
        callbacks.on_train_begin()
        callbacks.on_epoch_begin(0)
        logs = self.model.get_metrics_result()
        callbacks.on_epoch_end(0, logs)
        callbacks.on_train_end(logs)

    def write(self) -> dict[str, Any]:
        """Writes what was trained; returns the metrics."""
        config, total = self.config, time.monotonic() - self.begin
        metrics: dict[str, Any] = {
            "steps": self.log.step,
            "loss": self.log.loss,
            "loss_steps": self.log.steps,
            "gradient_norm": self.log.gradient_norm,
            "learning_rate": self.log.learning_rate,
            "speed": self.telemetry.summary(),
            "parameters": self.model.count_params(),
            "attention": self.attention.form,
            "data": self.pipeline.cuts(),
            "seconds": {"fit": self.seconds, "total": total},
            "model": str(config.output / "model"),
        }
        if self.profile is not None:
            metrics["speed"]["profile"] = self.profile.summary
        if self.held_out is not None:
            metrics["held_out"] = {
                "steps": self.held_out.steps,
                "loss": self.held_out.loss,
                "score": self.held_out.score,
                "best": self.held_out.best,
                "stopped": self.log.step < config.steps,
            }
        trained = self._save("model")
        if trained is not None:
            metrics["model"] = str(trained)
            close_run(config, metrics, self.pipeline.fates())
        return metrics

    def _save(self, name: str) -> Path | None:
        """Writes the model as it is; the first process returns where."""
        whole = gathered(self.model)
        if whole is None:
            return None
        return save_trained(
            self.config, whole, self.config.output / name, self.overwrite
        )

    def _mixture(self, path: Path) -> Mixture:
        return Mixture.from_yaml(path, self.config.records, self.config.missing)

    def _pipeline(self, mixture: Mixture, **settings: Any) -> Pipeline:
        config, data = self.config, self.config.data
        rows = self.config.optimizer.accumulation.rows(data.batch_size)
        return Pipeline(
            mixture,
            self.model.vocabulary,
            input_length=data.input_length,
            target_length=data.target_length,
            pack=data.pack,
            seed=config.seed if data.seed is None else data.seed,
            prefetch=data.prefetch,
            validation=config.validation,
            decoder_only=self.model.decoder_only,
            chat=self.chat,
            loss_on=data.loss_on,
            long=data.long.model_dump(),
            **self.setup.pipeline_settings(rows),
            **settings,
        )

    def _watch(self) -> None:
        """Makes the callbacks."""
        config, output, setup = self.config, self.config.output, self.setup
        parts = config.optimizer.accumulate
        events = output / "tensorboard" if config.tensorboard else None
        self.telemetry = Telemetry(
            config.log_every,
            csv=output / "telemetry.csv" if setup.writes else None,
            tensorboard=events if setup.writes else None,
            quiet=True,
            accumulate=parts,
            copies=setup.processes // setup.hosts,
        )
        self.held_out = self._held_out()
        held_out = self.held_out
        self.log = StepLog(
            config.log_every,
            total=config.steps,
            progress=not self.quiet,
            reset=True,
            accumulate=parts,
            also=str if held_out is None else lambda: held_out.note,
        )
        watched: dict[str, Any] = {"log": self.log}
        if held_out is not None:
            # Before telemetry, which leaves its time out.
            watched["held_out"] = held_out
        watched["telemetry"] = self.telemetry
        self.profile: Profile | None = None
        if config.profile and setup.writes:
            self.profile = Profile(
                output / "profile", profiled_steps(config.profile), parts
            )
            watched["profile"] = self.profile
        own = load_callbacks(config.callbacks) if setup.writes else {}
        self.callbacks = [*watched.values(), *own.values()]
        watched |= {name: c for name, c in own.items() if keeps_state(c)}
        if not self.quiet:
            self.callbacks.append(CutsNote(self.pipeline))
        self.checkpoint: TrainingCheckpoint | None = None
        if config.checkpoint_every:
            self.checkpoint = TrainingCheckpoint(
                output / CHECKPOINTS,
                self.pipeline,
                every=config.checkpoint_every,
                states=watched,
                accumulate=parts,
            )
            self.callbacks.append(self.checkpoint)
        self.stop = StopOnSignal(self.checkpoint)
        self.callbacks.append(self.stop)

    def _held_out(self) -> HeldOutLoss | None:
        config, its = self.config, self.config.evaluated
        if its is None or its.every is None:
            return None
        score = None
        if its.benchmark is not None:
            folder = config.output / BENCHMARK
            score = benchmark_score(its.benchmark, folder, self.setup)

        def keep(step: int, value: float) -> None:
            self._save("best")

        return HeldOutLoss(
            self._held_out_batches(its),
            every=its.every,
            on_best=keep,
            accumulate=config.optimizer.accumulate,
            score=score,
            patience=its.patience,
            telemetry=self.telemetry,
        )

    def _held_out_batches(self, its: HeldOutConfig) -> list[tuple] | None:
        """Returns the same batches for every time; `None` if there are none."""
        if its.mixture is not None:
            pipeline = self._pipeline(self._mixture(its.mixture))
        elif self.config.validation:
            # The last stage's tasks: a mixture of stages has no one pass.
            last = self.mixture.stages[-1]
            pipeline = self._pipeline(last, split="validation", repeat=False)
        else:
            return None
        batches = pipeline.dataset().take(its.batches)
        return list(batches.as_numpy_iterator())


@contextlib.contextmanager
def _ended(batches: Generator) -> Iterator[None]:
    """Has what makes batches end before Python does, or that would hang.

    It runs Python, and ends with the chunk at hand. A run that was stopped
    does not wait for that here.
    """
    atexit.register(batches.close)
    yield
    batches.close()
    atexit.unregister(batches.close)


@contextlib.contextmanager
def _named_damage(mixture: Mixture, pipeline: Pipeline) -> Iterator[None]:
    """Turns TensorFlow's word of a record into one with its place.

    Of a corrupt one, or one that is too long where that is an error.
    """
    try:
        yield
    # The pipeline's own check of checksums comes as the second.
    except (tf().errors.DataLossError, tf().errors.InvalidArgumentError):
        if pipeline.failure is not None:
            raise pipeline.failure from None
        for stage in mixture.stages:
            for part in stage.tasks:
                verify_records(part.task.directory)
        raise
