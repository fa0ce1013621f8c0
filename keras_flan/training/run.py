"""A training run from a config: start, watch, fit, write."""

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from keras_flan.data.mixtures.mixture import Mixture
from keras_flan.data.pipeline.pipeline import Pipeline
from keras_flan.data.pipeline.position import Position
from keras_flan.data.records.shards import verify_records
from keras_flan.distribution.hosts import agreed, ending_together, gathered
from keras_flan.distribution.start import Setup
from keras_flan.distribution.table import print_layouts
from keras_flan.errors import InputError
from keras_flan.models.language_model import LanguageModel
from keras_flan.runtime.start import prepare_process
from keras_flan.runtime.tensorflow import tf
from keras_flan.training.callbacks import CutsNote, StepLog
from keras_flan.training.checkpoints import TrainingCheckpoint
from keras_flan.training.config import HeldOutConfig, TrainConfig
from keras_flan.training.held_out import HeldOutLoss
from keras_flan.training.profiling import Profile
from keras_flan.training.run_folder import (
    CHECKPOINTS,
    close_run,
    open_run,
    save_trained,
    write_metrics,
)
from keras_flan.training.start import compile_model, start_devices, start_model
from keras_flan.training.steps import profiled_steps
from keras_flan.training.telemetry import Telemetry


def train(
    config: TrainConfig,
    *,
    model: LanguageModel | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Finetunes a model as `config` says and writes it.

    A run that was killed goes on from its latest checkpoint, and has the
    losses that it would have had. The output folder gets

    - `config.yaml`, from which the run can be made again, and `run.json`:
      seed, versions, checksums of the data;
    - `loss.csv`, `gradient_norm.csv`, `telemetry.csv`, `metrics.json`, with
      `held_out` also `held_out.csv`;
    - `model/`, a keras-hub preset; with `held_out` also `best/`. With an
      adapter `adapter.safetensors`, and `model/` if it can be merged.

    With `distribution` in the config every process calls this, and the first
    one writes; runs of many processes have no checkpoints yet.

    Args:
        config: The settings.
        model: The model to train, if it is in memory already; it is changed.
            Default: `start_model(config)`.
        quiet: Whether to show no progress.

    Returns:
        What `metrics.json` holds: `steps`, `loss` (mean over each
        `log_every` steps), `loss_steps` and `gradient_norm`, `speed` (see
        `Telemetry`), `seconds`, `parameters`, `attention`, the form that ran,
        `model`, the model's folder, and with `held_out` that curve and its
        `best` step.

    Raises:
        InputError: If a file or setting is wrong.

    Example:
        >>> train(TrainConfig.from_yaml("train.yaml", ["steps=100"]))["loss"]
        [6.91, 5.3, 4.8, 4.4, 4.1]
    """
    prepare_process()
    setup = start_devices(config)
    with ending_together(setup.process, setup.processes):
        run = _Run(config, setup, model, quiet)
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
    ):
        self.begin = time.monotonic()
        self.config, self.setup = config, setup
        if setup.processes > 1 and (config.adapter or config.held_out):
            raise InputError(
                "adapter, held_out: not with many processes; start one "
                "process, or leave them out"
            )
        self.mixture = self._mixture(config.mixture)
        self.stopped = agreed(setup.writes and open_run(config, self.mixture))
        self.model = start_model(config) if model is None else model
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
        batches: Iterable[tuple] = self.pipeline.dataset(start)
        if self.telemetry is not None:
            batches = self.telemetry.watch(batches)
        left = config.optimizer.accumulation.calls(config.steps - done)
        if left > 0:
            with _named_damage(self.mixture):
                self.model.fit(
                    batches,
                    steps_per_epoch=left,
                    shuffle=False,
                    callbacks=self.callbacks,
                    verbose=0,
                )
        self.seconds = time.monotonic() - begin

    def write(self) -> dict[str, Any]:
        """Writes what was trained; returns the metrics."""
        config, total = self.config, time.monotonic() - self.begin
        metrics: dict[str, Any] = {
            "steps": config.steps,
            "loss": self.log.loss,
            "loss_steps": self.log.steps,
            "gradient_norm": self.log.gradient_norm,
            "speed": self.telemetry.summary() if self.telemetry else {},
            "parameters": self.model.count_params(),
            "attention": self.attention.form,
            "seconds": {"fit": self.seconds, "total": total},
            "model": str(config.output / "model"),
        }
        if self.profile is not None:
            metrics["speed"]["profile"] = self.profile.summary
        if self.held_out is not None:
            metrics["held_out"] = {
                "steps": self.held_out.steps,
                "loss": self.held_out.loss,
                "best": self.held_out.best,
            }
        whole = gathered(self.model)
        if whole is not None and self.setup.writes:
            trained = save_trained(config, whole, config.output / "model")
            metrics["model"] = str(trained)
            write_metrics(config, metrics)
            close_run(config)
        return metrics

    def _mixture(self, path: Path) -> Mixture:
        return Mixture.from_yaml(path, self.config.records, self.config.missing)

    def _pipeline(self, mixture: Mixture) -> Pipeline:
        data = self.config.data
        rows = self.config.optimizer.accumulation.rows(data.batch_size)
        return Pipeline(
            mixture,
            self.model.vocabulary,
            input_length=data.input_length,
            target_length=data.target_length,
            pack=data.pack,
            seed=self.config.seed,
            decoder_only=self.model.decoder_only,
            **self.setup.pipeline_settings(rows),
        )

    def _watch(self) -> None:
        """Makes the callbacks."""
        config, output = self.config, self.config.output
        parts = config.optimizer.accumulate
        watched: dict[str, Any] = {
            "log": StepLog(
                config.log_every,
                total=config.steps,
                progress=not self.quiet,
                reset=True,
                accumulate=parts,
            )
        }
        if self.setup.processes == 1:
            watched["telemetry"] = Telemetry(
                config.log_every,
                csv=output / "telemetry.csv",
                tensorboard=output / "tensorboard"
                if config.tensorboard
                else None,
                quiet=True,
                accumulate=parts,
            )
        if config.profile and self.setup.writes:
            watched["profile"] = Profile(
                output / "profile", profiled_steps(config.profile), parts
            )
        if config.held_out:
            watched["held_out"] = self._held_out(config.held_out)
        self.log: StepLog = watched["log"]
        self.telemetry = watched.get("telemetry")
        self.held_out = watched.get("held_out")
        self.profile: Profile | None = watched.get("profile")
        self.checkpoint, self.callbacks = None, [*watched.values()]
        if not self.quiet:
            self.callbacks.append(CutsNote(self.pipeline, config.data))
        if config.checkpoint_every and self.setup.processes == 1:
            self.checkpoint = TrainingCheckpoint(
                output / CHECKPOINTS,
                self.pipeline,
                every=config.checkpoint_every,
                states=watched,
                accumulate=parts,
            )
            self.callbacks.append(self.checkpoint)

    def _held_out(self, settings: HeldOutConfig) -> HeldOutLoss:
        mixture = self._mixture(settings.mixture)
        batches = self._pipeline(mixture).dataset().take(settings.batches)

        def keep(step: int, loss: float) -> None:
            save_trained(self.config, self.model, self.config.output / "best")

        return HeldOutLoss(
            # The same batches every time.
            list(batches.as_numpy_iterator()),
            every=settings.every,
            on_best=keep,
            accumulate=self.config.optimizer.accumulate,
        )


@contextlib.contextmanager
def _named_damage(mixture: Mixture) -> Iterator[None]:
    """Turns TensorFlow's word of a corrupt record into one with its place."""
    try:
        yield
    except tf().errors.DataLossError:
        for stage in mixture.stages:
            for part in stage.tasks:
                verify_records(part.task.directory)
        raise
