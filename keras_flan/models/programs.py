"""What was compiled of a model; it is kept with it until it changes."""

from typing import Any

from keras_flan.models.language_model import LanguageModel

_NAME = "_compiled_programs"


def programs_of(model: LanguageModel, kind: str) -> dict[Any, Any]:
    """Returns the programs of a kind so far, to be added to.

    Args:
        model: The model.
        kind: What their user calls them.

    Example:
        >>> kept = programs_of(model, "scoring")
        >>> if top not in kept:
        ...     kept[top] = compile_it(model, top)
    """
    if not hasattr(model, _NAME):
        # Not an attribute that Keras should track.
        object.__setattr__(model, _NAME, {})
    return getattr(model, _NAME).setdefault(kind, {})


def forget_programs(model: LanguageModel) -> None:
    """Drops what was compiled: the model computes something else now."""
    model.train_function = None
    model.test_function = None
    model.predict_function = None
    model.__dict__.pop(_NAME, None)
