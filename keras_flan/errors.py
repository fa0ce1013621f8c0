"""Errors meant for the person at the keyboard."""

import difflib
import inspect
import sys
import warnings
from collections.abc import Iterable


class InputError(ValueError):
    """Input that the user can mend: a file, a row, a field or a config key.

    The message is one line, or one per fault, and names the place, what was
    found, what was expected and what to do. The command line prints it and
    exits with 2.
    """


class Diverged(ArithmeticError):
    """A training whose loss is no longer a number.

    The command line prints the message and exits with 1.
    """


class Interrupted(KeyboardInterrupt):
    """A training that a signal stopped, after the step at hand.

    Args:
        message: What was kept, and how to go on.
        signal: The number of the signal: 2 (SIGINT, from Ctrl-C) or 15
            (SIGTERM). The command line exits with 128 more.

    Example:

    ```python
    try:
        train(config)
    except Interrupted as stopped:
        print(stopped)
    ```
    """

    def __init__(self, message: str, signal: int):
        super().__init__(message)
        self.signal = signal


def deprecated(what: str, instead: str, *, gone: str) -> None:
    """Warns of a public name, setting or flag that goes; refuses it later.

    Called where the old form is met, before it is understood as the new one.
    The warning names the caller's line outside of keras_flan.

    Args:
        what: The old form, and why it goes.
        instead: What to do.
        gone: The version that refuses it, at least a minor one later.

    Raises:
        InputError: From that version on.

    Example:
        >>> deprecated("seeds is now seed", "give seed", gone="9.0")
    """
    package = __name__.partition(".")[0]
    if _numbers(sys.modules[package].__version__) >= _numbers(gone):
        raise InputError(f"{what}; it is refused since {gone}: {instead}")
    level, frame = 1, inspect.currentframe()
    while frame and frame.f_globals.get("__name__", "").startswith(package):
        level, frame = level + 1, frame.f_back
    warnings.warn(
        f"{what}; {instead} (it is refused from {gone} on)",
        FutureWarning,
        stacklevel=level,
    )


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Returns `" Did you mean 'x'?"`, or the choices if none is close.

    Example:
        >>> did_you_mean("qasq", ["qasc", "aqua"])
        " Did you mean 'qasc'?"
    """
    choices = sorted(choices)
    close = difflib.get_close_matches(name, choices, n=1)
    if close:
        return f" Did you mean {close[0]!r}?"
    more = f" and {len(choices) - 20} more" if len(choices) > 20 else ""
    shown = ", ".join(choices[:20]) + more
    return f" Choose from: {shown}." if choices else ""
