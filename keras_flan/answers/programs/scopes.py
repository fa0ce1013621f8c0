"""Where the variables of a program live, decided before it runs.

This module runs in the sandbox: it imports the standard library alone.
"""

import ast
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from language import Refused  # type: ignore[import-not-found]

Defined: TypeAlias = ast.FunctionDef | ast.Lambda
Comprehension: TypeAlias = (
    ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
)
_COMPREHENSIONS = (
    ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp
)  # fmt: skip


class Frame:
    """The variables of a running function, comprehension or module."""

    __slots__ = ("names", "parent")

    def __init__(self, parent: "Frame | None"):
        self.names: dict[str, Any] = {}
        self.parent = parent


class Scope:
    """The names that the text of a function or comprehension binds."""

    __slots__ = ("elsewhere", "own", "parent")

    def __init__(
        self,
        parent: "Scope | None" = None,
        own: Iterable[str] = (),
        elsewhere: Iterable[str] = (),
    ):
        self.parent = parent
        self.own = frozenset(own)
        self.elsewhere = frozenset(elsewhere)  # by `global`

    def up(self, name: str) -> int | None:
        """Returns how many frames up a name lives; None: in the module."""
        scope, up = self, 0
        while scope.parent is not None:
            if name in scope.elsewhere:
                return None
            if name in scope.own:
                return up
            scope, up = scope.parent, up + 1
        return None


def function_scope(node: Defined, parent: Scope) -> Scope:
    """Returns the scope of a function's or lambda's body."""
    body = [node.body] if isinstance(node, ast.Lambda) else node.body
    own, module, outer = bindings(body)
    own |= {argument.arg for argument in _arguments(node.args)}
    scope = Scope(parent, own - module - outer, module)
    for name in outer:
        if parent.up(name) is None:
            raise Refused(f"no outer variable {name}", node.lineno)
    return scope


def comprehension_scope(node: Comprehension, parent: Scope) -> Scope:
    """Returns the one scope of a comprehension's loops."""
    targets = [generator.target for generator in node.generators]
    return Scope(parent, bindings(targets)[0])


def _arguments(arguments: ast.arguments) -> Iterator[ast.arg]:
    yield from (*arguments.posonlyargs, *arguments.args)
    yield from arguments.kwonlyargs
    yield from filter(None, (arguments.vararg, arguments.kwarg))


def bindings(body: Iterable[ast.AST]) -> tuple[set[str], set[str], set[str]]:
    """Returns the names that a body binds, its globals and its nonlocals."""
    own: set[str] = set()
    module: set[str] = set()
    outer: set[str] = set()
    nodes: list[tuple[ast.AST, bool]] = [(node, False) for node in body]
    while nodes:
        node, comprehends = nodes.pop()
        inner: Iterable[ast.AST] = ast.iter_child_nodes(node)
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            if isinstance(node, ast.FunctionDef):
                own.add(node.name)
            # What the body binds is its own; defaults are evaluated here.
            inner = filter(None, (*node.args.defaults, *node.args.kw_defaults))
        elif isinstance(node, ast.NamedExpr):
            # Binds here even from within a comprehension.
            own.add(node.target.id)
        elif isinstance(node, _COMPREHENSIONS):
            comprehends = True
        elif isinstance(node, ast.Name):
            if not comprehends and not isinstance(node.ctx, ast.Load):
                own.add(node.id)
        elif isinstance(node, ast.ExceptHandler):
            own.update(filter(None, [node.name]))
        elif isinstance(node, ast.Global):
            module.update(node.names)
        elif isinstance(node, ast.Nonlocal):
            outer.update(node.names)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            own.update(bound_name(alias) for alias in node.names)
        nodes.extend((child, comprehends) for child in inner)
    return own, module, outer


def bound_name(alias: ast.alias) -> str:
    """Returns the name that an import binds: `a` for `import a.b`."""
    return alias.asname or alias.name.partition(".")[0]
