"""What a program may be: the syntax that is allowed, and why one is refused.

This module runs in the sandbox: it imports the standard library alone.
"""

import ast
from collections.abc import Callable
from typing import Any

# Whole numbers of more bits (about 20,000 digits) are no quantity.
MAX_BITS = 65_536


class Refused(BaseException):
    """A program did what it may not do, or too much of it.

    No `Exception`: neither a program nor the library may catch it.
    """

    def __init__(self, reason: str, line: int | None = None):
        super().__init__(reason)
        self.line = line


def bounded(bits: int) -> None:
    """Raises `Refused` for a number of too many bits."""
    if bits > MAX_BITS:
        raise Refused(f"a number of more than {MAX_BITS:,} bits")


_NODES = (
    ast.Module, ast.Expr, ast.Assign, ast.AnnAssign, ast.AugAssign,
    ast.If, ast.For, ast.While, ast.Break, ast.Continue, ast.Pass,
    ast.FunctionDef, ast.Lambda, ast.Return, ast.arguments, ast.arg,
    ast.Global, ast.Nonlocal, ast.Import, ast.ImportFrom, ast.alias,
    ast.Assert, ast.Raise, ast.Try, ast.ExceptHandler, ast.Delete,
    ast.Name, ast.Constant, ast.Attribute,
    ast.Subscript, ast.Slice, ast.Starred, ast.Call, ast.keyword,
    ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp,
    ast.NamedExpr, ast.List, ast.Tuple, ast.Dict, ast.Set,
    ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp,
    ast.comprehension, ast.JoinedStr, ast.FormattedValue,
    ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip
_CONSTANTS = (int, float, str, bool, type(None), type(Ellipsis))
# The decorators that keep a function's results.
_CACHES = {"cache", "lru_cache"}


def _kinds(kinds: tuple[type, ...]) -> frozenset[type]:
    """Returns the classes of nodes, those of operators one by one."""
    return frozenset(
        k for kind in kinds for k in (kind, *kind.__subclasses__())
    )


_ALLOWED = _kinds(_NODES)


def check(tree: ast.Module) -> None:
    """Raises `Refused` for the first thing that is not allowed."""
    for node in ast.walk(tree):
        kind = type(node)
        found = None
        if kind not in _ALLOWED:
            found = kind.__name__
        elif kind in _CHECKS:
            found = _CHECKS[kind](node)
        if found:
            raise Refused(f"not allowed: {found}", getattr(node, "lineno", 1))


def _constant(node: ast.Constant) -> str | None:
    if isinstance(node.value, _CONSTANTS):
        return None
    return f"a constant of type {type(node.value).__name__}"


def _attribute(node: ast.Attribute) -> str | None:
    if node.attr.startswith("_"):
        return f"the attribute {node.attr}"
    if not isinstance(node.ctx, ast.Load):
        return "assignment to an attribute"
    return None


def _names(*fields: str) -> Callable[[ast.AST], str | None]:
    """Returns what finds names of the interpreter's own in a node."""

    def find(node: ast.AST) -> str | None:
        for field in fields:
            found = getattr(node, field)
            for name in found if isinstance(found, list) else [found]:
                if name and name.startswith("__") and name != "__name__":
                    return f"the name {name}"
        return None

    return find


def _function(node: ast.FunctionDef) -> str | None:
    return _names("name")(node) or _decorated(node)


def _decorated(node: ast.FunctionDef) -> str | None:
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call):
            decorator = decorator.func
        name = getattr(decorator, "attr", getattr(decorator, "id", None))
        if name not in _CACHES:
            return "a decorator"
    return None


_CHECKS: dict[type, Callable[[Any], str | None]] = {
    ast.Constant: _constant,
    ast.Attribute: _attribute,
    ast.FunctionDef: _function,
    ast.Name: _names("id"),
    ast.arg: _names("arg"),
    ast.keyword: _names("arg"),
    ast.ExceptHandler: _names("name"),
    ast.alias: _names("asname"),
    ast.Global: _names("names"),
    ast.Nonlocal: _names("names"),
}
