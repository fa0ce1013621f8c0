"""A training run from a config: data, model, `fit`, files."""

import contextlib
import sys
import time

from keras_flan.files import atomic_write, write_json
from keras_flan.training.config import TrainConfig


def train(config: TrainConfig, *, model=None, quiet: bool = False) -> dict:
    """Finetunes a model as `config` says and writes it.

    The output folder gets `model/` (a keras-hub preset), `config.yaml`,
    `loss.csv` and `metrics.json`. With `distribution` in the config every
    process calls this, and the first one writes.

    Args:
        config: The settings.
        model: The model to train, if it is in memory already; it is changed.
            Default: `start_model(config)`.
        quiet: Whether to show no progress.

    Returns:
        What `metrics.json` holds: `steps`, `loss` (mean over each
        `log_every` steps) and `loss_steps`, `seconds`, `parameters` and
        `model`, the model's folder.

    Raises:
        InputError: If a file or setting is wrong.

    Example:
        >>> train(TrainConfig.from_yaml("train.yaml", ["steps=100"]))["loss"]
        [6.91, 5.3, 4.8, 4.4, 4.1]
    """
    from keras_flan.data.mixtures import Mixture
    from keras_flan.data.tf_runtime import tf

    tf()  # first, so that it starts quietly

    from keras_flan.data.pipeline import build_dataset
    from keras_flan.distribution.hosts import ending_together, gathered
    from keras_flan.distribution.table import print_layouts
    from keras_flan.models.loading import save
    from keras_flan.training.adafactor import Adafactor
    from keras_flan.training.callbacks import StepLog
    from keras_flan.training.losses import TokenCrossentropy

    begin = time.monotonic()
    run = start_devices(config)
    mixture = Mixture.from_yaml(config.mixture, config.records, config.missing)
    if model is None:
        model = start_model(config)
    dataset = build_dataset(
        mixture,
        model.vocabulary,
        input_length=config.data.input_length,
        target_length=config.data.target_length,
        **run.pipeline_settings(config.data.batch_size),
        pack=config.data.pack,
        seed=config.seed,
    )
    model.compile(
        optimizer=Adafactor(config.optimizer.learning_rate),
        loss=TokenCrossentropy(z_loss=config.optimizer.z_loss),
    )
    quiet = quiet or not run.writes
    if not quiet and run.layouts is not None:
        print_layouts(run.layouts.check(model), file=sys.stderr)
    log = StepLog(config.log_every, total=config.steps, progress=not quiet)
    fit_begin = time.monotonic()
    with (
        ending_together(run.process, run.processes),
        _named_damage(mixture),
    ):
        model.fit(
            dataset,
            steps_per_epoch=config.steps,
            shuffle=False,
            callbacks=[log],
            verbose=0,
        )
    seconds = time.monotonic() - fit_begin
    metrics = {
        "steps": config.steps,
        "loss": log.loss,
        "loss_steps": log.steps,
        "parameters": model.count_params(),
        "seconds": {"fit": seconds, "total": time.monotonic() - begin},
        "model": str(config.output / "model"),
    }
    whole = gathered(model)
    if run.writes:
        save(whole, config.output / "model")
        _write(config, metrics)
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

    from keras_flan.data.tokenizers import Vocabulary
    from keras_flan.models.loading import load
    from keras_flan.models.t5 import T5

    keras.utils.set_random_seed(config.seed)
    if config.model.init is not None:
        return load(config.model.init)
    vocabulary = Vocabulary(config.vocabulary)
    sizes = config.model.model_dump(exclude={"init"})
    # Rows are padded, as T5's are: products are faster in round sizes.
    rows = -(-vocabulary.size // 128) * 128
    return T5.from_config_values(
        vocabulary_size=rows, vocabulary=vocabulary, **sizes
    )


@contextlib.contextmanager
def _named_damage(mixture):
    """Turns TensorFlow's word of a corrupt record into one with its place."""
    from keras_flan.data.records import verify_records
    from keras_flan.data.tf_runtime import tf

    try:
        yield
    except tf().errors.DataLossError:
        for stage in mixture.stages:
            for part in stage.tasks:
                verify_records(part.task.directory)
        raise


def _write(config: TrainConfig, metrics: dict) -> None:
    """Writes what a run leaves beside the model."""
    with atomic_write(config.output / "config.yaml") as f:
        f.write(config.to_yaml())
    with atomic_write(config.output / "loss.csv") as f:
        f.write("step,loss\n")
        for step, loss in zip(
            metrics["loss_steps"], metrics["loss"], strict=True
        ):
            f.write(f"{step},{loss:.6f}\n")
    write_json(config.output / "metrics.json", metrics)
