"""Models on disk: keras-hub presets, which plain keras-hub loads too."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from keras_flan.data.vocabularies.sentencepiece import Vocabulary
from keras_flan.disk import bytes_in_hdf5
from keras_flan.errors import InputError, did_you_mean
from keras_flan.files import read_json
from keras_flan.models.adapters.saving import load_adapter, read_settings
from keras_flan.models.backbones import quiet_masks, undrawn
from keras_flan.models.cards import write_saved_card
from keras_flan.models.compression import notes, places, pruning
from keras_flan.models.decoder_only import model as decoder_only
from keras_flan.models.decoder_only.families import FAMILIES
from keras_flan.models.experts import upcycling
from keras_flan.models.gguf.packaged import PACKAGED, read_packaged
from keras_flan.models.gguf.reading import read_gguf
from keras_flan.models.hub import PREFIX, local_folder
from keras_flan.models.huggingface.reading import (
    read_decoder_only,
    read_t5gemma,
)
from keras_flan.models.huggingface.reading_configs import TYPES
from keras_flan.models.language_model import LanguageModel, M
from keras_flan.models.presets import read_preset, shipped, shipped_folder
from keras_flan.models.t5.huggingface.convert import read_huggingface
from keras_flan.models.t5.model import T5
from keras_flan.models.t5gemma.model import T5Gemma
from keras_flan.models.t5gemma.model import read_preset as read_t5gemma_preset
from keras_flan.models.weight_files import (
    check_claims,
    check_h5,
    files_of_weights,
)
from keras_flan.outputs import UNFINISHED, Kind, head_of, replace_folder, settle
from keras_flan.runtime.keras_hub import keras_hub
from keras_flan.runtime.start import prepare_process
from keras_flan.storage import as_path, is_remote

# Where keras-hub keeps the SentencePiece model inside a preset folder.
_VOCABULARY = Path("assets") / "tokenizer" / "vocabulary.spm"
_ADAPTER, _GGUF = ".safetensors", ".gguf"
_T5GEMMA = "T5GemmaBackbone"
# All that is in a folder that `save` writes.
_PRESET_FILES = {
    *("config.json", "metadata.json", "task.json", "preprocessor.json"),
    *("tokenizer.json", "decoder_only.json", "assets", "model.weights.h5"),
    *(places.FILE, pruning.FILE, upcycling.FILE),
}
# Of a model's class: the backbone and the others by name.
Arguments = tuple[Any, dict[str, Any]]


def load(path: str | os.PathLike, **settings: Any) -> LanguageModel:
    """Loads a model from a folder, a file or by name.

    Args:
        path: A folder written by `save`, by `T5.save_to_preset`, by
            keras-hub itself or by transformers, or a GGUF file of a Llama,
            Qwen 2 or 3, or Gemma 3 (`"model.gguf"`), which may be in a bucket
            (`"gs://..."`); or a name: `"hf://google/flan-t5-small"` (either
            format), `"kaggle://keras/t5/keras/t5_small_multi"`,
            `"t5_small_multi"` or `"gemma_2b_en"` (these need the package
            kagglehub); `"gemma3_270m"` and `"smollm2_135m"`, from packages
            that carry their weights; one of `presets.shipped()`, which needs
            nothing; or the file of an adapter that names its base.
        **settings: Arguments of the model's class, such as `remat=True` or
            `scan=True` for `keras_flan.models.T5`; `dropout`, the rate;
            `vocabulary`, instead of its own; and `dtype`, as in Keras:
            `"bfloat16"` is the dtype of weights and of what is computed,
            `"mixed_bfloat16"` keeps the weights in float32. Default: Keras's
            policy, whatever the weights were saved in.

    Returns:
        A `keras_flan.models.T5` or `keras_flan.models.T5Gemma` or, for PaLM
        and the decoder-only families of keras-hub, a
        `keras_flan.models.DecoderOnly`; with its vocabulary.

    Raises:
        InputError: If there is no such model at `path`, it cannot be
            fetched, or it has no such setting.

    Example:
        >>> model = keras_flan.models.load("runs/quickstart/model")
        >>> paths = keras_flan.generation.generate(model, "What is 2 + 2?")
    """
    return load_as(LanguageModel, path, settings)


def load_as(
    wanted: type[M],
    path: str | os.PathLike,
    settings: dict[str, Any],
    weights: bool = True,
) -> M:
    """Loads as `load` does, but only a model of the class `wanted`.

    Args:
        wanted: The class.
        path: As for `load`.
        settings: As for `load`.
        weights: `False` reads the config alone: the weights are drawn, and
            there is no vocabulary. Within
            `keras_flan.distribution.build_abstract` there are none.
    """
    prepare_process()
    text = os.fspath(path)
    if text.endswith(_ADAPTER) and not text.startswith(PREFIX):
        file = as_path(text)
        if file.is_file():
            return _adapted(wanted, file, settings, weights)
    with local_folder(path, weights) as folder:
        return _from_folder(wanted, path, folder, settings, weights)


def _from_folder(
    wanted: type[M],
    path: str | os.PathLike,
    folder: Path,
    settings: dict[str, Any],
    weights: bool,
) -> M:
    source = _source(path, folder, weights)
    if not issubclass(source.model, wanted):
        name = source.model.__name__
        raise InputError(
            f"{path}: found a {name}, expected a {wanted.__name__}; call "
            f"{name}.from_preset or load"
        )
    source.model.check_settings(settings)
    with notes.as_noted(folder) as forms:
        backbone, found = source.read(settings.get("dtype"), weights)
    if not weights:
        notes.prepare(backbone, forms)
    model = source.model.around(backbone, **{**found, **settings})
    if (folder / pruning.FILE).is_file():
        keep = pruning.keep_zeros if weights else pruning.keep_zeros_of_file
        keep(model)
    return model


def save(
    model: LanguageModel, path: str | os.PathLike, *, overwrite: bool = False
) -> None:
    """Writes a model folder; an earlier one is replaced when all is written.

    Args:
        model: A `keras_flan.models.T5` or `keras_flan.models.DecoderOnly`.
            A LoRA adapter is merged into the written weights.
        path: The folder. It loads with `load` and, in plain keras-hub, with
            `from_preset` of `keras_hub.models.T5Seq2SeqLM` or of the
            family's `CausalLM`.
        overwrite: Whether to replace a folder that is neither empty nor a
            model of ours, with all that is in it.

    Raises:
        InputError: If `path` is a folder of something else, or another
            process writes there.
        OSError: If the disk is full.

    Example:

    ```python
    model.fit(dataset, steps_per_epoch=1000)
    save(model, "tuned")
    model = keras_flan.models.load("tuned")
    ```
    """
    # keras-hub makes variables to write a model; on many devices each of them
    # would wait for processes that don't write.
    with (
        undistributed(),
        replace_folder(
            path,
            MODEL,
            "config.json",
            overwrite=overwrite,
            needed=bytes_in_hdf5(model.backbone.variables)
            + len(getattr(model.vocabulary, "proto", b"")),
        ) as folder,
    ):
        model.save_to_preset(folder)
        write_saved_card(folder, model)


def _is_preset(folder: Path) -> bool:
    """Whether a folder is what `save` wrote before it made marks.

    keras-hub writes the same files for a T5; others beside them are not ours.
    """
    names = {child.name for child in folder.iterdir()}
    if not {"config.json", "metadata.json"} <= names <= _PRESET_FILES:
        return False
    found = head_of(folder / "config.json").get("class_name")
    return found == "T5Backbone" or (folder / "decoder_only.json").is_file()


# What takes up a model's folder.
MODEL = Kind("model", _is_preset)


@contextlib.contextmanager
def undistributed() -> Iterator[None]:
    """Makes variables on this process alone, whatever the distribution."""
    import keras

    before = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


def _adapted(
    wanted: type[M], path: Path, settings: dict[str, Any], weights: bool
) -> M:
    """Loads an adapter's base and the adapter."""
    base = read_settings(path)["base"]
    if base is None:
        raise InputError(
            f"{path}: the adapter does not say what its base is; load that, "
            "and give both to load_adapter"
        )
    # A base that is a folder may lie beside the adapter.
    if "://" not in base and (beside := as_path(path.parent, base)).exists():
        base = beside
    model = load_as(wanted, base, settings, weights)
    load_adapter(model, path)
    return model


class _Source(NamedTuple):
    """A model's class, and what makes its arguments.

    `read` takes a dtype or `None`, and whether to read weights.
    """

    model: type[Any]
    read: Callable[[Any, bool], Arguments]


def _source(path: str | os.PathLike, folder: Path, weights: bool) -> _Source:
    if os.fspath(path).endswith(_GGUF) and not folder.is_dir():
        read = functools.partial(read_gguf, folder)
        return _Source(decoder_only.DecoderOnly, read)
    settle(folder)
    if not folder.exists() and not is_remote(path) and _is_name(path):
        return _named(os.fspath(path))
    config = folder / "config.json"
    if not config.is_file():
        found = "no such folder" if not folder.exists() else "no config.json"
        if (folder / UNFINISHED).is_file():
            found = "it was not written to the end"
        raise InputError(
            f"{path}: not a model folder ({found}); give the folder that "
            "`keras-flan train` or `save_to_preset` wrote"
        )
    # Configs of other models, as transformers writes them, hold Infinity.
    values = read_json(config, allow_nan=True)
    values = values if isinstance(values, dict) else {}
    kind, name = values.get("model_type"), values.get("class_name")
    if weights and kind is None:
        check_claims(
            str(config), values.get("config"), files_of_weights(folder)
        )
        for file in folder.glob("*.weights.h5"):
            check_h5(file)
    if kind in TYPES:
        read = functools.partial(read_decoder_only, folder)
        return _Source(decoder_only.DecoderOnly, read)
    if name in FAMILIES:
        return _decoder_only(os.fspath(folder))
    if kind == "t5gemma":
        return _Source(T5Gemma, functools.partial(read_t5gemma, folder))
    if name == _T5GEMMA:
        return _t5gemma(os.fspath(folder))
    if kind is not None:
        return _Source(T5, functools.partial(read_huggingface, folder))
    if name == "T5Backbone":
        return _Source(T5, functools.partial(_read_t5, os.fspath(folder)))
    if name is not None:
        raise InputError(
            f"{config}: found a {name}, expected a T5Backbone, a {_T5GEMMA} "
            f"or one of {', '.join(FAMILIES)}"
        )
    raise InputError(
        f"{config}: not the config of a model (expected a 'class_name', as "
        "keras-hub writes, or a 'model_type', as transformers does)"
    )


def _is_name(path: str | os.PathLike) -> bool:
    """Whether a path that does not exist may be one of keras-hub's names."""
    return "://" in str(path) or (
        not os.path.isabs(path) and len(Path(path).parts) == 1
    )


def _named(name: str) -> _Source:
    if name in PACKAGED:
        read = functools.partial(read_packaged, name)
        return _Source(decoder_only.DecoderOnly, read)
    if name in shipped():
        return _Source(T5, functools.partial(_read_shipped, name))
    ours = [*PACKAGED, *shipped(), *keras_hub.models.T5Backbone.presets]
    theirs = [
        preset
        for family in FAMILIES
        for preset in getattr(
            getattr(keras_hub.models, family, None), "presets", ()
        )
    ]
    if name in theirs:
        return _decoder_only(name)
    pairs = [*keras_hub.models.T5GemmaBackbone.presets]
    if name in pairs or "/t5gemma/" in name:
        return _t5gemma(name)
    if "://" not in name and name not in ours:
        raise InputError(
            f"{name}: neither a folder nor a preset of keras-hub."
            + did_you_mean(name, ours + theirs + pairs)
        )
    return _Source(T5, functools.partial(_read_t5, name))


def _decoder_only(source: str) -> _Source:
    def read(dtype: Any, weights: bool) -> Arguments:
        with _naming(source):
            return decoder_only.read_preset(source, dtype, weights)

    return _Source(decoder_only.DecoderOnly, read)


def _t5gemma(source: str) -> _Source:
    def read(dtype: Any, weights: bool) -> Arguments:
        with _naming(source):
            return read_t5gemma_preset(source, dtype, weights)

    return _Source(T5Gemma, read)


def _read_t5(source: str, dtype: Any, weights: bool) -> Arguments:
    with _naming(source), quiet_masks(), undrawn(weights):
        backbone = keras_hub.models.T5Backbone.from_preset(
            source, load_weights=weights, dtype=dtype
        )
    if not weights:
        return backbone, {}
    if (Path(source) / _VOCABULARY).is_file():
        vocabulary = Vocabulary(Path(source) / _VOCABULARY)
    elif Path(source).is_dir():
        vocabulary = None
    else:
        tokenizer = keras_hub.models.T5Tokenizer.from_preset(source)
        vocabulary = Vocabulary(tokenizer.proto)
    return backbone, {"vocabulary": vocabulary}


def _read_shipped(name: str, dtype: Any, weights: bool) -> Arguments:
    model = read_preset(shipped_folder(name), dtype, weights)
    return model.backbone, {"vocabulary": model.vocabulary}


@contextlib.contextmanager
def _naming(source: str) -> Iterator[None]:
    """Names the source in keras-hub's errors."""
    try:
        yield
    except Exception as error:
        # They differ by source (Kaggle, h5py, its own).
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"{source}: cannot be loaded: {reason}") from error
