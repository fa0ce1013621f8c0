"""The functions of a program, and how their arguments are bound.

This module runs in the sandbox: it imports the standard library alone.
"""

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from language import Refused  # type: ignore[import-not-found]
from scopes import Defined, Frame  # type: ignore[import-not-found]

Invoke: TypeAlias = Callable[["Function", Sequence[Any], dict[str, Any]], Any]


class Signature:
    """The arguments of a function, as its text has them."""

    __slots__ = ("extra", "named", "positional", "rest", "unnamed")

    def __init__(self, node: Defined):
        arguments = node.args
        self.unnamed = [a.arg for a in arguments.posonlyargs]
        self.positional = [*self.unnamed, *(a.arg for a in arguments.args)]
        self.named = [a.arg for a in arguments.kwonlyargs]
        self.rest = arguments.vararg and arguments.vararg.arg
        self.extra = arguments.kwarg and arguments.kwarg.arg


class Function:
    """A function or lambda of the program."""

    __slots__ = ("body", "defaults", "frame", "invoke", "signature")

    def __init__(
        self,
        signature: Signature,
        body: Callable[[Frame], Any],
        frame: Frame,
        defaults: dict[str, Any],
        invoke: Invoke,
    ):
        self.signature = signature
        self.body = body
        self.frame = frame  # where it was defined
        self.defaults = defaults
        self.invoke = invoke

    def __call__(self, *values: Any, **named: Any) -> Any:
        return self.invoke(self, values, named)

    def __repr__(self) -> str:
        # Its text would hold an address, which changes from run to run.
        raise Refused("not allowed: a function as text")


def defaults(arguments: ast.arguments) -> list[tuple[str, ast.expr]]:
    """Returns the arguments that have a default, with its expression."""
    positional = [*arguments.posonlyargs, *arguments.args]
    first = len(positional) - len(arguments.defaults)
    pairs = [
        *zip(positional[first:], arguments.defaults, strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    return [(name.arg, value) for name, value in pairs if value is not None]


def bind(
    function: Function,
    values: Sequence[Any],
    given: Mapping[str, Any],
    names: dict[str, Any],
) -> None:
    """Puts the arguments of a call into `names`."""
    signature = function.signature
    positional = signature.positional
    if len(values) > len(positional) and not signature.rest:
        raise TypeError(f"takes {len(positional)} arguments")
    names.update(zip(positional, values, strict=False))
    extra: dict[str, Any] = {}
    for name, value in given.items():
        known = name in positional or name in signature.named
        if not known or name in signature.unnamed:
            extra[name] = value
        elif name in names:
            raise TypeError(f"two values for the argument {name}")
        else:
            names[name] = value
    if extra and not signature.extra:
        raise TypeError(f"unknown argument {next(iter(extra))}")
    for name in (*positional, *signature.named):
        if name not in names:
            if name not in function.defaults:
                raise TypeError(f"the argument {name} is missing")
            names[name] = function.defaults[name]
    if signature.rest:
        names[signature.rest] = tuple(values[len(positional) :])
    if signature.extra:
        names[signature.extra] = extra
