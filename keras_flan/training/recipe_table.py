"""The paper's hyperparameters, by the names of its models."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_flan.errors import InputError, did_you_mean
from keras_flan.schema import Strict, read_yaml, validate

if TYPE_CHECKING:
    from keras_flan.training.adafactor import Adafactor
    from keras_flan.training.losses import TokenCrossentropy

_TABLE = Path(__file__).with_name("recipes.yaml")


class PublishedRun(Strict):
    """What the paper prints about a model (tables 2 and 22, section 2.2).

    Attributes:
        pretraining_flops: Operations of the pretraining.
        finetuning_flops: Operations of the finetuning.
        percent: The second in percent of the first.
        chips: TPU chips, where it says so.
        hours: Hours on these.
    """

    pretraining_flops: float
    finetuning_flops: float
    percent: float
    chips: int | None = None
    hours: float | None = None


class Misprint(Strict):
    """What the paper should have printed, and the steps of what it did."""

    finetuning_flops: float
    pretraining_flops: float
    steps_printed: int


class Recipe(Strict):
    """How the paper finetuned a model.

    Attributes:
        title: The model's name in the paper.
        size: The name of its size, see `keras_flan.models.sizes`.
        nominal: The paper's N, the parameters in the model's name.
        init: What it starts from, as `keras_flan.models.load` takes it; for
            PaLM the name of a size, whose weights were never published.
        batch_size: Packed rows per step.
        dropout: Dropout rate.
        learning_rate: Constant rate of Adafactor.
        steps: Steps to the checkpoint that was best on held-out tasks.
        input_length: Tokens of inputs per row.
        target_length: Tokens of targets per row.
        z_loss: Weight of the z-loss.
        decoder_only: Whether inputs and targets share a row.
        pretraining_tokens: Tokens that the initialisation has seen.
        published: What the paper prints.
        misprint: If that is wrong, what it should be.

    Source: arXiv:2210.11416, tables 2 and 22.
    """

    title: str
    size: str
    nominal: float
    init: str
    batch_size: int
    dropout: float
    learning_rate: float
    steps: int
    input_length: int
    target_length: int
    z_loss: float
    decoder_only: bool
    pretraining_tokens: float
    published: PublishedRun
    misprint: Misprint | None = None

    def optimizer(self) -> "Adafactor":
        """Returns the optimizer, an `Adafactor`."""
        from keras_flan.training.adafactor import Adafactor

        return Adafactor(self.learning_rate)

    def loss(self) -> "TokenCrossentropy":
        """Returns the loss, a `TokenCrossentropy`."""
        from keras_flan.training.losses import TokenCrossentropy

        return TokenCrossentropy(z_loss=self.z_loss)

    def settings(self) -> dict[str, Any]:
        """Returns it as keys of a `TrainConfig`."""
        return {
            "steps": self.steps,
            "model": {"init": self.init, "dropout": self.dropout},
            "data": {
                "input_length": self.input_length,
                "target_length": self.target_length,
                "batch_size": self.batch_size,
            },
            "optimizer": {
                "name": "adafactor",
                "learning_rate": self.learning_rate,
                "z_loss": self.z_loss,
            },
        }


@functools.cache
def recipes() -> dict[str, Recipe]:
    """Returns all recipes, by name.

    Example:
        >>> "flan_t5_xl" in recipes()
        True
    """
    return {
        name: validate(Recipe, values, f"{_TABLE.name}: {name}")
        for name, values in read_yaml(_TABLE).items()
        if values["title"]
    }


def recipe(name: str) -> Recipe:
    """Returns the recipe of a model of the paper.

    Args:
        name: `"flan_t5_small"`, `"flan_t5_base"`, `"flan_t5_large"`,
            `"flan_t5_xl"`, `"flan_t5_xxl"`, `"flan_palm_8b"`,
            `"flan_palm_62b"`, `"flan_palm_540b"`, `"flan_cont_palm_62b"` or
            `"flan_u_palm_540b"`.

    Raises:
        InputError: If there is no such recipe.

    Example:
        >>> xl = recipe("flan_t5_xl")
        >>> xl.steps, xl.batch_size, xl.dropout, xl.learning_rate
        (38000, 64, 0.05, 0.0005)
        >>> model.compile(optimizer=xl.optimizer(), loss=xl.loss())
    """
    if name not in recipes():
        raise InputError(
            f"recipe: no recipe {name!r}; the paper has "
            f"{', '.join(recipes())}." + did_you_mean(name, recipes())
        )
    return recipes()[name]
