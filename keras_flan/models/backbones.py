"""keras-hub backbones: making and copying them."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def quiet_masks() -> Iterator[None]:
    """Silences keras-hub's T5 about masks while its own graph is built.

    Its attention takes masks as arguments and warns that Keras's implicit
    ones are dropped, which is as it should be.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*destroy the mask.*")
        yield


def copy_backbone(backbone: Any, **changes: Any) -> Any:
    """Returns a backbone with weights of its own, which start as the other's.

    Args:
        backbone: A backbone of keras-hub, or one like it.
        **changes: Arguments of its class to use instead.
    """
    with quiet_masks():
        copy = type(backbone).from_config({**backbone.get_config(), **changes})
    for new, old in zip(copy.weights, backbone.weights, strict=True):
        new.assign(old)
    return copy
