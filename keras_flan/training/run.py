"""A training run from a config: data, model, `fit`, files."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from keras_flan.distribution.hosts import agreed, ending_together, gathered
from keras_flan.errors import InputError
from keras_flan.runtime.start import prepare_process
from keras_flan.training.config import HeldOutConfig, TrainConfig
from keras_flan.training.run_folder import (
    CHECKPOINTS,
    close_run,
    open_run,
    save_trained,
    write_metrics,
)
from keras_flan.training.start import start_devices, start_model

if TYPE_CHECKING:
    import keras

    from keras_flan.data.mixtures.mixture import Mixture
    from keras_flan.data.pipeline.pipeline import Pipeline
    from keras_flan.distribution.start import Setup
    from keras_flan.models.language_model import LanguageModel
    from keras_flan.training.callbacks import StepLog
    from keras_flan.training.checkpoints import TrainingCheckpoint
    from keras_flan.training.held_out import HeldOutLoss
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
        `Telemetry`), `seconds`, `parameters`, `model`, the model's folder,
        and with `held_out` that curve and its `best` step.

    Raises:
        InputError: If a file or setting is wrong.

    Example:
        >>> train(TrainConfig.from_yaml("train.yaml", ["steps=100"]))["loss"]
        [6.91, 5.3, 4.8, 4.4, 4.1]
    """
    prepare_process()
    run = start_devices(config)
    with ending_together(run.process, run.processes):
        return _train(config, run, model, quiet)


def _train(
    config: TrainConfig,
    run: Setup,
    model: LanguageModel | None,
    quiet: bool,
) -> dict[str, Any]:
    """Does what `train` promises, as one of the processes of `run`."""
    from keras_flan.data.mixtures.mixture import Mixture
    from keras_flan.distribution.table import print_layouts

    begin = time.monotonic()
    if run.processes > 1 and (config.adapter or config.held_out):
        raise InputError(
            "adapter, held_out: not with many processes; start one process, "
            "or leave them out"
        )
    mixture = Mixture.from_yaml(config.mixture, config.records, config.missing)
    stopped = agreed(run.writes and open_run(config, mixture))
    if model is None:
        model = start_model(config)
    pipeline = _pipeline(config, run, mixture, model)
    _compile(config, model)
    quiet = quiet or not run.writes
    if not quiet and run.layouts is not None:
        print_layouts(run.layouts.check(model), file=sys.stderr)
    watch = _watch(config, run, model, pipeline, quiet)
    fit_begin = time.monotonic()
    with _named_damage(mixture):
        _fit(config, model, pipeline, watch, stopped)
    seconds = time.monotonic() - fit_begin
    metrics: dict[str, Any] = {
        "steps": config.steps,
        "loss": watch.log.loss,
        "loss_steps": watch.log.steps,
        "gradient_norm": watch.log.gradient_norm,
        "speed": watch.telemetry.summary() if watch.telemetry else {},
        "parameters": model.count_params(),
        "seconds": {"fit": seconds, "total": time.monotonic() - begin},
        "model": str(config.output / "model"),
    }
    if watch.held_out is not None:
        metrics["held_out"] = {
            "steps": watch.held_out.steps,
            "loss": watch.held_out.loss,
            "best": watch.held_out.best,
        }
    whole = gathered(model)
    if whole is not None:
        trained = save_trained(config, whole, config.output / "model")
        metrics["model"] = str(trained)
        write_metrics(config, metrics)
        close_run(config)
    return metrics


@dataclasses.dataclass
class _Watch:
    """What looks on as `fit` trains; `None` is not there."""

    log: StepLog
    telemetry: Telemetry | None
    held_out: HeldOutLoss | None
    cuts: keras.callbacks.Callback | None
    checkpoint: TrainingCheckpoint | None

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """Returns all that are there, the checkpoint last."""
        found = [getattr(self, f.name) for f in dataclasses.fields(self)]
        return [callback for callback in found if callback is not None]


def _watch(
    config: TrainConfig,
    run: Setup,
    model: LanguageModel,
    pipeline: Pipeline,
    quiet: bool,
) -> _Watch:
    """Makes the callbacks of a run."""
    from keras_flan.training.callbacks import CutsNote, StepLog
    from keras_flan.training.telemetry import Telemetry

    alone, output, data = run.processes == 1, config.output, config.data
    accumulate = config.optimizer.accumulate
    watch = _Watch(
        log=StepLog(
            config.log_every,
            total=config.steps,
            progress=not quiet,
            reset=True,
            accumulate=accumulate,
        ),
        telemetry=Telemetry(
            config.log_every,
            csv=output / "telemetry.csv",
            tensorboard=output / "tensorboard" if config.tensorboard else None,
            quiet=True,
            accumulate=accumulate,
        )
        if alone
        else None,
        held_out=_held_out(config, config.held_out, run, model)
        if config.held_out
        else None,
        cuts=CutsNote(pipeline, data.input_length, data.target_length)
        if not quiet
        else None,
        checkpoint=None,
    )
    if config.checkpoint_every and alone:
        from keras_flan.training.checkpoints import TrainingCheckpoint

        kept = ("log", "telemetry", "held_out")
        states = {name: getattr(watch, name) for name in kept}
        watch.checkpoint = TrainingCheckpoint(
            output / CHECKPOINTS,
            pipeline,
            every=config.checkpoint_every,
            states={name: v for name, v in states.items() if v is not None},
            accumulate=accumulate,
        )
    return watch


def _fit(
    config: TrainConfig,
    model: LanguageModel,
    pipeline: Pipeline,
    watch: _Watch,
    stopped: bool,
) -> None:
    """Trains to the last step, from the first or where a run was stopped."""
    from keras_flan.data.pipeline.position import Position

    done, position = 0, Position()
    if watch.checkpoint is not None and stopped:
        done = watch.checkpoint.restore(model)
        position = watch.checkpoint.position
    if done >= config.steps:
        return
    batches: Iterable[tuple] = pipeline.dataset(position)
    if watch.telemetry is not None:
        batches = watch.telemetry.watch(batches)
    model.fit(
        batches,
        steps_per_epoch=config.optimizer.accumulation.calls(
            config.steps - done
        ),
        shuffle=False,
        callbacks=watch.callbacks(),
        verbose=0,
    )


def _pipeline(
    config: TrainConfig, run: Setup, mixture: Mixture, model: LanguageModel
) -> Pipeline:
    from keras_flan.data.pipeline.pipeline import Pipeline

    data = config.data
    rows = config.optimizer.accumulation.rows(data.batch_size)
    return Pipeline(
        mixture,
        model.vocabulary,
        input_length=data.input_length,
        target_length=data.target_length,
        pack=data.pack,
        seed=config.seed,
        decoder_only=model.decoder_only,
        **run.pipeline_settings(rows),
    )


def _compile(config: TrainConfig, model: LanguageModel) -> None:
    from keras_flan.training.adafactor import Adafactor
    from keras_flan.training.losses import TokenCrossentropy
    from keras_flan.training.optimizers import Adam, Warmdown

    settings = config.optimizer
    optimizer = {"adafactor": Adafactor, "adam": Adam}[settings.name]
    parts, rate = settings.accumulate, settings.learning_rate
    if settings.warmdown:
        calls = settings.accumulation.calls(config.steps)
        rate = Warmdown(rate, calls, settings.warmdown)
    model.compile(
        optimizer=optimizer(
            rate,
            global_clipnorm=settings.clip_norm,
            gradient_accumulation_steps=parts if parts > 1 else None,
        ),
        loss=TokenCrossentropy(
            z_loss=settings.z_loss, chunk=settings.loss_chunk
        ),
    )


def _held_out(
    config: TrainConfig,
    settings: HeldOutConfig,
    run: Setup,
    model: LanguageModel,
) -> HeldOutLoss:
    from keras_flan.data.mixtures.mixture import Mixture
    from keras_flan.training.held_out import HeldOutLoss

    mixture = Mixture.from_yaml(
        settings.mixture, config.records, config.missing
    )
    batches = _pipeline(config, run, mixture, model).dataset()

    def keep(step: int, loss: float) -> None:
        save_trained(config, model, config.output / "best")

    return HeldOutLoss(
        # The same batches every time.
        list(batches.take(settings.batches).as_numpy_iterator()),
        every=settings.every,
        on_best=keep,
        accumulate=config.optimizer.accumulate,
    )


@contextlib.contextmanager
def _named_damage(mixture: Mixture) -> Iterator[None]:
    """Turns TensorFlow's word of a corrupt record into one with its place."""
    from keras_flan.data.records.shards import verify_records
    from keras_flan.runtime.tensorflow import tf

    try:
        yield
    except tf().errors.DataLossError:
        for stage in mixture.stages:
            for part in stage.tasks:
                verify_records(part.task.directory)
        raise
