"""What asks: a model, or a callable that stands for one."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from keras_flan.errors import InputError


def generator_of(model: Any) -> Callable:
    """Returns `generate` without the model; of a callable, one that checks.

    Args:
        model: A model with a vocabulary, or a callable that is called like
            `keras_flan.generation.generate`, without the model; its paths
            may be plain texts.

    Raises:
        InputError: If it is neither; and when it is called, if a callable
            doesn't take the settings, or returns something else than a list
            of paths a prompt.
    """
    if getattr(model, "vocabulary", None) is not None:
        from keras_flan.generation.engine import generate

        return lambda prompts, **settings: generate(model, prompts, **settings)
    if not callable(model):
        raise InputError(
            f"expected a model with a vocabulary or a callable, found "
            f"{type(model).__name__}; load one with keras_flan.models.load"
        )
    name = getattr(model, "__qualname__", type(model).__name__)

    def ask(prompts: Sequence[str], **settings):
        _check_call(model, name, prompts, settings)
        found = model(prompts, **settings)
        _check_paths(found, name, len(prompts), settings.get("samples", 1))
        return found

    return ask


def _check_call(model: Callable, name: str, prompts, settings: dict) -> None:
    try:
        signature = inspect.signature(model)
    except ValueError:
        return  # Written in C: it says so itself.
    try:
        signature.bind(prompts, **settings)
    except TypeError as error:
        raise InputError(
            f"{name}{signature}: {error}; it is called with prompts and "
            f"{', '.join(settings)}: give it **settings"
        ) from None


def _check_paths(found: Any, name: str, prompts: int, samples: int) -> None:
    expected = f"{name}: expected {_count(prompts, 'list')}, one a prompt, of "
    expected += _count(samples, "text")
    if not isinstance(found, list | tuple):
        raise InputError(f"{expected}; found {found!r:.60}")
    if len(found) != prompts:
        raise InputError(f"{expected}; found {_count(len(found), 'list')}")
    for paths in found:
        if (
            not isinstance(paths, list | tuple)
            or len(paths) != samples
            or not all(isinstance(p, str) or hasattr(p, "text") for p in paths)
        ):
            raise InputError(f"{expected}; found {paths!r:.60} for a prompt")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def likelihoods_of(model: Any) -> Callable:
    """Returns `log_likelihoods` without the model, or the model's own.

    Raises:
        InputError: If it is neither a model with a vocabulary nor has such
            a method.
    """
    if hasattr(model, "log_likelihoods"):
        return model.log_likelihoods
    if getattr(model, "vocabulary", None) is not None:
        from keras_flan.generation.likelihood import log_likelihoods

        return lambda *texts: log_likelihoods(model, *texts)
    raise InputError(
        f"likelihoods need a model, or a callable with a method "
        f"log_likelihoods, found {type(model).__name__}; give the mode "
        "'direct' or 'cot'"
    )
