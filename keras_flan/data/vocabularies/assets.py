"""Vocabularies as files beside a model."""

from pathlib import Path

import keras

from keras_flan.data.vocabularies.hub import HubVocabulary
from keras_flan.data.vocabularies.sentencepiece import Vocabulary
from keras_flan.files import read_json, write_json

_SENTENCEPIECE = "vocabulary.model"
_TOKENIZER = "tokenizer.json"


def save_vocabulary(
    vocabulary: Vocabulary | HubVocabulary | None, folder: Path
) -> None:
    """Writes a vocabulary into an existing folder; of `None` nothing."""
    if isinstance(vocabulary, Vocabulary):
        (folder / _SENTENCEPIECE).write_bytes(vocabulary.proto)
    elif isinstance(vocabulary, HubVocabulary):
        config = {
            "tokenizer": keras.saving.serialize_keras_object(
                vocabulary.tokenizer
            ),
            "start": vocabulary.bos_id is not None,
        }
        write_json(folder / _TOKENIZER, config)
        vocabulary.tokenizer.save_assets(str(folder))


def read_vocabulary(folder: Path) -> Vocabulary | HubVocabulary | None:
    """Returns what `save_vocabulary` wrote, or `None` if it wrote nothing.

    Raises:
        InputError: If a file is broken.
    """
    if (folder / _SENTENCEPIECE).is_file():
        return Vocabulary(folder / _SENTENCEPIECE)
    if not (folder / _TOKENIZER).is_file():
        return None
    config = read_json(folder / _TOKENIZER)
    tokenizer = keras.saving.deserialize_keras_object(config["tokenizer"])
    tokenizer.load_assets(str(folder))
    return HubVocabulary(tokenizer, start=config["start"])
