"""The published sizes of T5 v1.1 and PaLM, by name; needs no Keras."""

import functools
from pathlib import Path

from keras_flan.schema import read_yaml

_FOLDER = Path(__file__).parent


@functools.cache
def t5_sizes() -> dict[str, dict[str, int]]:
    """Returns the sizes for `T5.from_config_values`, by name.

    Example:
        >>> T5.from_config_values(**t5_sizes()["t5_1_1_small"])
    """
    return read_yaml(_FOLDER / "t5" / "t5_sizes.yaml")


@functools.cache
def palm_sizes() -> dict[str, dict[str, int]]:
    """Returns the sizes for `PaLMBackbone`, by name.

    Source: arXiv:2204.02311, table 1.
    """
    return read_yaml(_FOLDER / "decoder_only" / "palm_sizes.yaml")
