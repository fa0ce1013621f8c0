"""A training run from a config: data, model, `fit`, files."""

import contextlib
import functools
import inspect
import sys
import time

from keras_flan.errors import InputError
from keras_flan.files import atomic_write, write_json
from keras_flan.training.config import TrainConfig
from keras_flan.training.run_folder import CHECKPOINTS, close_run, open_run

ADAPTER = "adapter.safetensors"


def train(config: TrainConfig, *, model=None, quiet: bool = False) -> dict:
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
    from keras_flan.distribution.hosts import ending_together

    run = start_devices(config)
    with ending_together(run.process, run.processes):
        return _train(config, run, model, quiet)


def _train(config: TrainConfig, run, model, quiet: bool) -> dict:
    """Does what `train` promises, as one of the processes of `run`."""
    from keras_flan.data.mixtures.mixture import Mixture
    from keras_flan.distribution.hosts import agreed, gathered
    from keras_flan.distribution.table import print_layouts
    from keras_flan.training.callbacks import CutsNote, StepLog
    from keras_flan.training.telemetry import Telemetry

    begin = time.monotonic()
    alone = run.processes == 1
    if not alone and (config.adapter or config.held_out):
        raise InputError(
            "adapter, held_out: not with many processes; start one process, "
            "or leave them out"
        )
    mixture = Mixture.from_yaml(config.mixture, config.records, config.missing)
    stopped = agreed(run.writes and open_run(config, mixture))
    if model is None:
        model = start_model(config)
    # A step of `fit` is a part of a batch.
    parts = config.optimizer.accumulate
    shape = run.pipeline_settings(config.data.batch_size // parts)
    pipeline = _pipeline(config, mixture, model, **shape)
    _compile(config, model)
    quiet = quiet or not run.writes
    if not quiet and run.layouts is not None:
        print_layouts(run.layouts.check(model), file=sys.stderr)

    output = config.output
    log = StepLog(
        config.log_every * parts,
        total=config.steps * parts,
        progress=not quiet,
        reset=True,
    )
    telemetry = Telemetry(
        config.log_every * parts,
        csv=output / "telemetry.csv",
        tensorboard=output / "tensorboard" if config.tensorboard else None,
        quiet=True,
    )
    watched = {"log": log}
    if alone:
        watched["telemetry"] = telemetry
    held_out = _held_out(config, model, parts, shape)
    if held_out is not None:
        watched["held_out"] = held_out
    done, dataset, callbacks = 0, pipeline.dataset, [*watched.values()]
    if not quiet:
        data = config.data
        callbacks.append(
            CutsNote(pipeline, data.input_length, data.target_length)
        )
    if config.checkpoint_every and alone:
        from keras_flan.training.checkpoints import TrainingCheckpoint

        checkpoint = TrainingCheckpoint(
            output / CHECKPOINTS,
            pipeline,
            every=config.checkpoint_every * parts,
            states=watched,
        )
        callbacks.append(checkpoint)
        if stopped:
            done = checkpoint.restore(model)
            dataset = functools.partial(dataset, checkpoint.position)
    fit_begin = time.monotonic()
    left = config.steps * parts - done
    if left > 0:
        with _named_damage(mixture):
            model.fit(
                telemetry.watch(dataset()) if alone else dataset(),
                steps_per_epoch=left,
                shuffle=False,
                callbacks=callbacks,
                verbose=0,
            )
    seconds = time.monotonic() - fit_begin
    metrics = {
        "steps": config.steps,
        "loss": log.loss,
        "loss_steps": [step // parts for step in log.steps],
        "gradient_norm": log.gradient_norm,
        "speed": telemetry.summary() if alone else {},
        "parameters": model.count_params(),
        "seconds": {"fit": seconds, "total": time.monotonic() - begin},
        "model": str(output / "model"),
    }
    if held_out is not None:
        best = min(range(len(held_out.loss)), key=held_out.loss.__getitem__)
        metrics["held_out"] = {
            "steps": [step // parts for step in held_out.steps],
            "loss": held_out.loss,
            "best": held_out.steps[best] // parts,
        }
    whole = gathered(model)
    if run.writes:
        metrics["model"] = str(_save(config, whole, output / "model"))
        _write(config, metrics)
        close_run(config)
    return metrics


def start_devices(config: TrainConfig):
    """Returns the `keras_flan.distribution.Setup` that a run asks for.

    To be called before the model is made; without `distribution` in the
    config it is that of one device.
    """
    from keras_flan.distribution.start import Setup, setup

    if config.distribution is None:
        return Setup()
    return setup(**config.distribution.model_dump(), seed=config.seed)


def start_model(config: TrainConfig):
    """Returns the model that a run starts from, with its vocabulary.

    Also seeds Keras, for the weights and for dropout.
    """
    import keras

    keras.utils.set_random_seed(config.seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.precision)
    try:
        model = _start(config)
    finally:
        keras.config.set_dtype_policy(before)
    adapter = config.adapter
    if adapter is not None:
        from keras_flan.models.adapters.saving import KINDS

        add = KINDS[adapter.kind].add
        known = inspect.signature(add).parameters
        settings = adapter.model_dump(include=set(known))
        add(model, **settings)
    return model


def _start(config):
    from keras_flan.data.vocabularies.sentencepiece import Vocabulary
    from keras_flan.models.loading import load
    from keras_flan.models.t5.model import T5

    init, dropout = config.model.init, config.model.dropout
    if not config.brings_no_vocabulary:
        return load(init, dropout=dropout)
    vocabulary = Vocabulary(config.vocabulary)
    if init is not None:
        from keras_flan.models.decoder_only.model import DecoderOnly
        from keras_flan.models.decoder_only.palm import PaLMBackbone

        backbone = PaLMBackbone.from_preset(
            init, load_weights=False, dropout=dropout
        )
        return DecoderOnly(backbone, vocabulary)
    sizes = config.model.model_dump(exclude={"init"})
    # Rows are padded, as T5's are: products are faster in round sizes.
    rows = -(-vocabulary.size // 128) * 128
    return T5.from_config_values(
        vocabulary_size=rows, vocabulary=vocabulary, **sizes
    )


def _pipeline(config, mixture, model, **settings):
    from keras_flan.data.pipeline.pipeline import Pipeline

    return Pipeline(
        mixture,
        model.vocabulary,
        input_length=config.data.input_length,
        target_length=config.data.target_length,
        pack=config.data.pack,
        seed=config.seed,
        decoder_only=model.decoder_only,
        **settings,
    )


def _compile(config, model):
    from keras_flan.training.adafactor import Adafactor
    from keras_flan.training.losses import TokenCrossentropy
    from keras_flan.training.optimizers import Adam, Warmdown

    settings = config.optimizer
    optimizer = {"adafactor": Adafactor, "adam": Adam}[settings.name]
    parts = settings.accumulate
    rate = settings.learning_rate
    if settings.warmdown:
        rate = Warmdown(rate, config.steps * parts, settings.warmdown)
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


def _held_out(config, model, parts, shape):
    if config.held_out is None:
        return None
    from keras_flan.data.mixtures.mixture import Mixture
    from keras_flan.training.held_out import HeldOutLoss

    mixture = Mixture.from_yaml(
        config.held_out.mixture, config.records, config.missing
    )
    batches = _pipeline(config, mixture, model, **shape).dataset()

    def keep(step, loss):
        _save(config, model, config.output / "best")

    return HeldOutLoss(
        # The same batches every time.
        list(batches.take(config.held_out.batches).as_numpy_iterator()),
        every=config.held_out.every * parts,
        on_best=keep,
    )


def _save(config, model, folder):
    """Writes what was trained; returns what `load` takes."""
    from keras_flan.models.adapters.saving import KINDS, save_adapter
    from keras_flan.models.loading import save

    if config.adapter is None:
        save(model, folder)
        return folder
    # `best/` has an adapter of its own.
    name = "" if folder.name == "model" else f"{folder.name}_"
    path = folder.parent / f"{name}{ADAPTER}"
    save_adapter(model, path, base=config.model.init)
    if not KINDS[config.adapter.kind].mergeable:
        return path
    save(model, folder)
    return folder


@contextlib.contextmanager
def _named_damage(mixture):
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


def _write(config: TrainConfig, metrics: dict) -> None:
    """Writes what a run leaves beside the model."""
    curves = {"loss": metrics["loss"]}
    if metrics["gradient_norm"]:
        curves["gradient_norm"] = metrics["gradient_norm"]
    for name, values in curves.items():
        _write_curve(config, name, name, metrics["loss_steps"], values)
    if "held_out" in metrics:
        curve = metrics["held_out"]
        _write_curve(config, "held_out", "loss", curve["steps"], curve["loss"])
    write_json(config.output / "metrics.json", metrics)


def _write_curve(config, file: str, name: str, steps, values) -> None:
    with atomic_write(config.output / f"{file}.csv") as f:
        f.write(f"step,{name}\n")
        for step, value in zip(steps, values, strict=True):
            f.write(f"{step},{value:.6f}\n")
