"""Commands that make models: train, convert, quickstart."""

import contextlib
import enum
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from keras_flan.cli.options import (
    Json,
    Overwrite,
    Quiet,
    path_argument,
    path_option,
)
from keras_flan.cli.printing import print_json
from keras_flan.errors import InputError, Interrupted
from keras_flan.storage import local_path

app = typer.Typer()


class Library(enum.StrEnum):
    """Another library, whose model files are converted."""

    huggingface = "huggingface"


class Target(enum.StrEnum):
    """What can be written for another library."""

    huggingface = "huggingface"
    peft = "peft"


class Dtype(enum.StrEnum):
    """The dtype of a model's weights."""

    float32 = "float32"
    bfloat16 = "bfloat16"


class Bits(enum.StrEnum):
    """How weights are held in few bits."""

    int8 = "int8"
    int4 = "int4"
    gptq = "gptq"


@app.command()
def quickstart(
    output: Annotated[
        Path, path_option("Where the run is written.", local_path)
    ] = Path("runs/quickstart"),
    overwrite: Overwrite = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run the whole recipe on the shipped tasks, in a few minutes."""
    from keras_flan.miniature.quickstart import quickstart

    metrics = quickstart(output, quiet=quiet or json_, overwrite=overwrite)
    if json_:
        print_json(metrics)


@app.command(context_settings={"allow_interspersed_args": True})
def train(
    config: Annotated[
        Path, path_argument("A training config YAML, or the folder of a run.")
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, dots for nesting.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="Settings of a model of the paper: flan_t5_small."),
    ] = None,
    overwrite: Overwrite = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Finetune a model on a mixture with `model.fit`.

    A run that was stopped or killed goes on when it is started again. Ctrl-C
    and SIGTERM stop it after the step at hand, with a checkpoint.
    """
    with _ends_at_once():
        from keras_flan.distribution.hosts import leave
        from keras_flan.training.config import TrainConfig
        from keras_flan.training.run import train

        settings = TrainConfig.from_yaml(config, overrides or [], recipe)
        try:
            result = train(settings, quiet=quiet or json_, overwrite=overwrite)
        except Interrupted as stopped:
            print(f"keras-flan: {stopped}", file=sys.stderr)
            leave(128 + stopped.signal)
    if json_:
        print_json(result)
    else:
        loss = result["loss"]
        change = f"{loss[0]:.4f} -> " if len(loss) > 1 else ""
        print(
            f"{result['steps']} steps, loss {change}{loss[-1]:.4f}, "
            f"model in {result['model']}"
        )
        if its := result.get("held_out"):
            ended = "; training ended early" if its["stopped"] else ""
            print(f"held-out: best at step {its['best']}, in best/{ended}")


@app.command(context_settings={"allow_interspersed_args": True})
def improve(
    config: Annotated[
        Path, path_argument("An improvement config YAML, or a run's folder.")
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, dots for nesting.")
    ] = None,
    overwrite: Overwrite = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Let a model learn from its own answers: sample, judge, weigh, train.

    A run that was stopped or killed goes on when it is started again.
    """
    with _ends_at_once():
        from keras_flan.improvement.config import ImproveConfig
        from keras_flan.improvement.run import improve

        settings = ImproveConfig.from_yaml(config, overrides or [])
        try:
            result = improve(
                settings, quiet=quiet or json_, overwrite=overwrite
            )
        except Interrupted as stopped:
            print(f"keras-flan: {stopped}", file=sys.stderr)
            raise typer.Exit(128 + stopped.signal) from None
    if json_:
        print_json(result)
        return
    rows, held_out = result["rounds"], result["guard"]["reward"]
    rewards = [row["reward"] for row in rows if "reward" in row]
    words = [f"{len(rows)} rounds, {result['steps']} steps"]
    for name, values in (("reward", rewards), ("held out", held_out)):
        if values:
            words.append(f"{name} {values[0]:.3f} -> {values[-1]:.3f}")
    print(f"{', '.join(words)}, model in {result['model']}")


@contextlib.contextmanager
def _ends_at_once() -> Iterator[None]:
    """Has Ctrl-C end the process, also while something compiles.

    Python's own handler runs when that is done, and its exception may be
    raised in a place that swallows it.
    """
    former = signal.getsignal(signal.SIGINT)
    if former is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)


@app.command()
def convert(
    source: Annotated[
        str, typer.Argument(help="A model, an adapter, or hf://NAME.")
    ],
    output: Annotated[Path, path_argument("The folder to write.")],
    from_: Annotated[
        Library | None, typer.Option("--from", help="Read its format.")
    ] = None,
    to: Annotated[
        Target | None, typer.Option("--to", help="Write its format.")
    ] = None,
    dtype: Annotated[
        Dtype, typer.Option(help="Of the written weights.")
    ] = Dtype.float32,
    quantize: Annotated[
        Bits | None, typer.Option(help="Write the weights in 8 or 4 bits.")
    ] = None,
    group: Annotated[
        int, typer.Option(min=2, help="Weights per scale, in 4 bits.")
    ] = 64,
    calibration: Annotated[
        str | None, typer.Option(help="A mixture, for gptq.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Convert a model: from and to the files of Hugging Face, or to few bits.

    An adapter is merged into its base for huggingface, and written alone for
    peft.
    """
    from keras_flan import models
    from keras_flan.models.adapters.saving import read_settings
    from keras_flan.models.cards import carry_card
    from keras_flan.models.hub import PREFIX

    if (from_ is not None) + (to is not None) + (quantize is not None) != 1:
        raise InputError(
            "give one of --from huggingface, --to huggingface, --to peft and "
            "--quantize (which reads files of Hugging Face too)"
        )
    if (calibration is not None) != (quantize == Bits.gptq):
        raise InputError(
            "--calibration: goes with --quantize gptq, which needs it"
        )
    if quantize is not None:
        model = models.load(source, dtype=dtype.value)
        batches = None
        if calibration is not None:
            from keras_flan.models.compression.calibration import packed_batches

            batches = packed_batches(calibration, model)
        model.quantize(quantize.value, group=group, calibration=batches)
        models.save(model, output, overwrite=overwrite)
        carry_card(source, output)
    elif to == Target.peft:
        base = read_settings(source)["base"] or ""
        name = base.removeprefix(PREFIX) if base.startswith(PREFIX) else None
        models.to_peft(models.load(source), output, name, overwrite=overwrite)
    elif to is not None:
        model = models.load(source)
        models.to_huggingface(
            model, output, dtype=dtype.value, overwrite=overwrite
        )
        carry_card(source, output, "transformers")
    else:
        model = models.load(source, dtype=dtype.value)
        models.save(model, output, overwrite=overwrite)
    print(output)


@app.command()
def card(
    run: Annotated[Path, path_argument("The folder of a finished training.")],
    scores: Annotated[
        list[Path] | None, path_argument("Outputs of `keras-flan evaluate`.")
    ] = None,
    license_: Annotated[
        str | None,
        typer.Option("--license", help="Of the model, such as apache-2.0."),
    ] = None,
    language: Annotated[
        list[str] | None, typer.Option(help="Its code; again for another.")
    ] = None,
) -> None:
    """Write the model card of a training, with scores, for Hugging Face."""
    from keras_flan.training.cards import write_card

    print(
        write_card(
            run, scores or (), license=license_, languages=language or ()
        )
    )
