"""The card of a model's folder that no run has written about."""

import os
from pathlib import Path

from keras_flan.files import atomic_write, read_text
from keras_flan.models.language_model import LanguageModel
from keras_flan.pages.cards import CARD_FILE, LOADS, model_card, of_library
from keras_flan.storage import as_path


def write_saved_card(
    folder: Path, model: LanguageModel, library: str = "keras-hub"
) -> None:
    """Writes what a model's folder itself knows.

    Args:
        folder: The folder.
        model: The model in it.
        library: Hugging Face's name of the library whose files they are.
    """
    name = type(model.backbone).__name__
    metadata = {
        "license": "unknown",
        "library_name": "keras-hub",
        "tags": ["keras_flan"],
    }
    sections = {
        "Use": LOADS,
        "Model": f"{name}, {model.count_params():,} parameters. What it was "
        "trained on is not known to this folder.",
    }
    card = model_card(name, metadata, sections)
    with atomic_write(folder / CARD_FILE) as f:
        f.write(of_library(card, library))


def carry_card(
    source: str | os.PathLike, folder: Path, library: str = "keras-hub"
) -> None:
    """Gives a converted model the card of what it was made of, if it has one.

    Args:
        source: The folder of the model.
        folder: The folder of the converted one.
        library: Hugging Face's name of the library whose files these are.
    """
    card = as_path(source) / CARD_FILE
    if card.is_file():
        with atomic_write(folder / CARD_FILE) as f:
            f.write(of_library(read_text(card), library))
