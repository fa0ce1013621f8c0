"""A keras-hub backbone from a folder of transformers.

keras-hub has converters too, but they leave out the epsilon of a Llama's
norms, read a Mistral in half precision, and don't know how transformers 5
writes the scaling of positions.
"""

import contextlib
import inspect
from pathlib import Path
from typing import Any

from keras_flan.data.templates.chat_jinja import TOKENIZER_CONFIG, read_config
from keras_flan.data.vocabularies.hub import HubVocabulary
from keras_flan.errors import InputError
from keras_flan.files import read_json_object
from keras_flan.models.backbones import undrawn
from keras_flan.models.huggingface.checkpoint import Checkpoint
from keras_flan.models.huggingface.families import tensors
from keras_flan.models.huggingface.reading_configs import backbone_arguments
from keras_flan.models.huggingface.tokenizer_files import SENTENCEPIECE, framed
from keras_flan.models.t5.huggingface.tokenizer_json import FILE
from keras_flan.models.weight_files import check_claims, files_of_weights
from keras_flan.runtime.keras_hub import keras_hub

# What else such files hold, that no layer reads.
_UNUSED = (".rotary_emb.inv_freq", ".attn.masked_bias", ".attn.bias")


def read_decoder_only(
    folder: Path, dtype: Any = None, weights: bool = True
) -> tuple[Any, dict[str, Any]]:
    """Returns a backbone, and the other arguments of `DecoderOnly`.

    Args:
        folder: As for `read_backbone`. Its tokenizer is read by keras-hub;
            without one the model has no vocabulary.
        dtype: Of the weights; default: Keras's policy.
        weights: `False` draws the weights, and gives no vocabulary.
    """
    backbone = read_backbone(folder, dtype, weights)
    if not weights:
        return backbone, {}
    found: dict[str, Any] = {"separate": False}
    files = (FILE, SENTENCEPIECE, "tekken.json")
    if any((folder / name).is_file() for name in files):
        start, found["separate"] = framed(folder) or (None, False)
        found["vocabulary"] = _vocabulary(folder, backbone, start)
    if (folder / TOKENIZER_CONFIG).is_file():
        # It is read when it is used, which needs jinja2.
        with contextlib.suppress(InputError):
            found["chat"] = read_config(folder)
    return backbone, found


def read_t5gemma(
    folder: Path, dtype: Any = None, weights: bool = True
) -> tuple[Any, dict[str, Any]]:
    """Returns a backbone, and the other arguments of `T5Gemma`.

    Args:
        folder: As for `read_backbone`. Without a `tokenizer.model` the model
            has no vocabulary.
        dtype: Of the weights; default: Keras's policy.
        weights: `False` draws the weights, and gives no vocabulary.
    """
    backbone = read_backbone(folder, dtype, weights)
    if not weights:
        return backbone, {}
    found: dict[str, Any] = {"separate": False}
    if (folder / SENTENCEPIECE).is_file():
        start, found["separate"] = framed(folder) or (False, False)
        proto = (folder / SENTENCEPIECE).read_bytes()
        tokenizer = keras_hub.models.T5GemmaTokenizer(proto)
        found["vocabulary"] = HubVocabulary(tokenizer, start)
    config = read_json_object(folder / "config.json", allow_nan=True)
    start_id = config.get("decoder_start_token_id")
    if start_id is None:
        start_id = config["decoder"].get("bos_token_id")
    if isinstance(start_id, int):
        found["start_id"] = start_id
    return backbone, found


def _vocabulary(
    folder: Path, backbone: Any, start: bool | None
) -> HubVocabulary:
    try:
        if type(backbone).__name__ == "LlamaBackbone":
            # keras-hub takes every Llama for a Llama 3.
            model = (folder / SENTENCEPIECE).read_bytes()
            return HubVocabulary(keras_hub.models.LlamaTokenizer(model), start)
        return HubVocabulary(
            keras_hub.models.CausalLMPreprocessor.from_preset(str(folder)),
            start,
        )
    except Exception as error:  # keras-hub's are of many kinds.
        if isinstance(error, InputError):
            raise
        reason = str(error).strip().split("\n")[0]
        raise InputError(
            f"{folder}: its tokenizer cannot be read: {reason}"
        ) from error


def read_backbone(folder: Path, dtype: Any = None, weights: bool = True) -> Any:
    """Returns a keras-hub backbone.

    Tensors are read from disk one at a time.

    Args:
        folder: Holds `config.json`, and `model.safetensors` or its shards.
        dtype: Of the weights; default: Keras's policy.
        weights: `False` draws the weights.

    Raises:
        InputError: If a file is missing or broken, or the model is one that
            keras-hub's layers can't express.
    """
    place = folder / "config.json"
    config = read_json_object(place, allow_nan=True)
    name, arguments = backbone_arguments(config, str(place))
    make = getattr(keras_hub.models, name)
    known = inspect.signature(make).parameters
    arguments = {k: v for k, v in arguments.items() if k in known}
    if not weights:
        return make(**arguments, dtype=dtype)
    check_claims(str(place), arguments, files_of_weights(folder))
    with Checkpoint(folder) as checkpoint:
        with undrawn():
            backbone = make(**arguments, dtype=dtype)
        _read_weights(backbone, checkpoint)
    return backbone


def _read_weights(backbone: Any, checkpoint: Checkpoint) -> None:
    names = set(checkpoint.names)
    # A backbone alone has been saved without its head.
    bare = "embed_tokens.weight" in names
    known = set()
    for tensor in tensors(backbone):
        name = tensor.name.removeprefix("model.") if bare else tensor.name
        array = checkpoint.read(name, tensor.shape)
        tensor.variable.assign(tensor.taken(array))
        known.add(name)
        if name.endswith("embed_tokens.weight"):
            embedding = name  # The decoder's comes last.
    # Some files have what is tied twice.
    for head in {"lm_head.weight", "lm_head.out_proj.weight"} - known:
        checkpoint.check_tied(head, embedding)
        known.add(head)
    unknown = sorted(n for n in names - known if not n.endswith(_UNUSED))
    if unknown:
        raise InputError(
            f"{checkpoint.folder}: found {len(unknown)} tensors that are no "
            f"part of a {type(backbone).__name__}, first {unknown[0]!r}; merge "
            "adapters before"
        )
