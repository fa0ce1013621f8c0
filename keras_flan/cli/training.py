"""Commands that make models: train, convert, quickstart."""

import enum
from pathlib import Path
from typing import Annotated

import typer

from keras_flan.cli.options import Json, Quiet
from keras_flan.cli.printing import print_json
from keras_flan.errors import InputError

app = typer.Typer()


class Library(str, enum.Enum):
    """Another library, whose model files are converted."""

    huggingface = "huggingface"


class Dtype(str, enum.Enum):
    """The dtype of a model's weights."""

    float32 = "float32"
    bfloat16 = "bfloat16"


@app.command()
def quickstart(
    output: Annotated[
        Path, typer.Option(help="Where the run is written.")
    ] = Path("runs/quickstart"),
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run the whole recipe on the shipped tasks, in a few minutes."""
    from keras_flan.miniature.quickstart import quickstart

    metrics = quickstart(output, quiet=quiet or json_)
    if json_:
        print_json(metrics)


@app.command(context_settings={"allow_interspersed_args": True})
def train(
    config: Annotated[
        Path,
        typer.Argument(help="A training config YAML, or the folder of a run."),
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, dots for nesting.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="Settings of a model of the paper: flan_t5_small."),
    ] = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Finetune a model on a mixture with `model.fit`.

    A run that was killed goes on when it is started again.
    """
    from keras_flan.training.config import TrainConfig
    from keras_flan.training.run import train

    result = train(
        TrainConfig.from_yaml(config, overrides or [], recipe),
        quiet=quiet or json_,
    )
    if json_:
        print_json(result)
    else:
        loss = result["loss"]
        change = f"{loss[0]:.4f} -> " if len(loss) > 1 else ""
        print(
            f"{result['steps']} steps, loss {change}{loss[-1]:.4f}, "
            f"model in {result['model']}"
        )


@app.command()
def convert(
    source: Annotated[
        str, typer.Argument(help="A model folder, or hf://NAME.")
    ],
    output: Annotated[Path, typer.Argument(help="The folder to write.")],
    from_: Annotated[
        Library | None, typer.Option("--from", help="Read its format.")
    ] = None,
    to: Annotated[
        Library | None, typer.Option("--to", help="Write its format.")
    ] = None,
    dtype: Annotated[
        Dtype, typer.Option(help="Of the written weights.")
    ] = Dtype.float32,
) -> None:
    """Convert a T5 from the files of Hugging Face, or to them."""
    from keras_flan import models

    if (from_ is None) == (to is None):
        raise InputError("give either --from huggingface or --to huggingface")
    if to is not None:
        model = models.load(source)
        models.to_huggingface(model, output, dtype=dtype.value)
    else:
        model = models.from_huggingface(source, dtype=dtype.value)
        models.save(model, output)
    print(output)
