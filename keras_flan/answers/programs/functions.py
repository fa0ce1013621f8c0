"""The functions of a program, and where their variables live.

This module runs in the sandbox: it imports the standard library alone.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

Defined: TypeAlias = ast.FunctionDef | ast.Lambda


class Scope:
    """The variables of a function, a comprehension or the module."""

    __slots__ = ("elsewhere", "names", "own", "parent")

    def __init__(
        self, parent: "Scope | None" = None, own: frozenset[str] = frozenset()
    ):
        self.names: dict[str, Any] = {}
        self.parent = parent
        # Names that are assigned in the function's body, and thus its own
        # from its first line on.
        self.own = own
        # By `global` and `nonlocal`.
        self.elsewhere: dict[str, Scope] = {}

    def find(self, name: str) -> "Scope | None":
        """Returns the scope that has a variable, or None."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.elsewhere:
                scope = scope.elsewhere[name]
            if name in scope.names:
                return scope
            if name in scope.own:
                raise UnboundLocalError(f"{name} has no value yet")
            scope = scope.parent
        return None

    def assign(self, name: str, value: Any) -> None:
        self.elsewhere.get(name, self).names[name] = value


class Function:
    """A function or lambda of the program."""

    __slots__ = ("defaults", "interpreter", "node", "own", "scope")

    def __init__(self, interpreter: Any, node: Defined, scope: Scope):
        self.interpreter = interpreter
        self.node = node
        self.scope = scope
        self.defaults = {
            argument.arg: interpreter.evaluate(default, scope)
            for argument, default in _defaults(node.args)
        }
        self.own = frozenset(_assigned(node))

    def __call__(self, *values: Any, **named: Any) -> Any:
        return self.interpreter.call(self, values, named)


def _assigned(function: Defined) -> Iterator[str]:
    """Yields the names that a function's body assigns."""
    if isinstance(function, ast.Lambda):
        return
    elsewhere: set[str] = set()
    found: list[str] = []
    nodes: list[ast.AST] = list(function.body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.append(node.id)
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            elsewhere.update(node.names)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found += [alias.asname or alias.name for alias in node.names]
        elif isinstance(node, ast.FunctionDef):
            found.append(node.name)
        # What these assign is theirs.
        if not isinstance(
            node,
            (ast.FunctionDef, ast.Lambda, ast.ListComp, ast.SetComp,
             ast.DictComp, ast.GeneratorExp),
        ):  # fmt: skip
            nodes.extend(ast.iter_child_nodes(node))
    yield from (name for name in found if name not in elsewhere)


def _defaults(arguments: ast.arguments) -> Iterator[tuple[ast.arg, ast.expr]]:
    """Yields the arguments that have a default, with its expression."""
    positional = [*arguments.posonlyargs, *arguments.args]
    first = len(positional) - len(arguments.defaults)
    yield from zip(positional[first:], arguments.defaults, strict=True)
    pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    yield from ((name, value) for name, value in pairs if value is not None)


def bind(
    function: Function,
    values: Sequence[Any],
    named: Mapping[str, Any],
    names: dict[str, Any],
) -> None:
    """Puts the arguments of a call into `names`."""
    arguments = function.node.args
    positional = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
    only_named = [a.arg for a in arguments.kwonlyargs]
    if len(values) > len(positional) and not arguments.vararg:
        raise TypeError(f"takes {len(positional)} arguments")
    names.update(function.defaults)
    given = dict(zip(positional, values, strict=False))
    extra: dict[str, Any] = {}
    for name, value in named.items():
        if name in given:
            raise TypeError(f"two values for the argument {name}")
        known = name in positional or name in only_named
        (given if known else extra)[name] = value
    if extra and not arguments.kwarg:
        raise TypeError(f"unknown argument {next(iter(extra))}")
    names.update(given)
    for name in (*positional, *only_named):
        if name not in names:
            raise TypeError(f"the argument {name} is missing")
    if arguments.vararg:
        names[arguments.vararg.arg] = tuple(values[len(positional) :])
    if arguments.kwarg:
        names[arguments.kwarg.arg] = extra
