"""Expressions of a program, each as a function of the frame it runs in.

What Python makes of a program's text never runs: no `exec`, no `eval`. Its
tree is turned into nested functions of this package once, and these run.

This module runs in the sandbox: it imports the standard library alone.
"""

import ast
import builtins
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from language import Refused  # type: ignore[import-not-found]
from operators import BINARY, COMPARE, UNARY, refuse_operator  # type: ignore[import-not-found]
from scopes import Frame, Scope  # type: ignore[import-not-found]
from values import Missing, attribute, format_value, stable, text_of  # type: ignore[import-not-found]

Evaluate: TypeAlias = Callable[[Frame], Any]
Store: TypeAlias = Callable[[Frame, Any], None]

MAX_STEPS = 5_000_000  # rounds of loops, and calls
_CONVERSIONS: dict[int, Callable[[Any], str]] = {
    -1: lambda value: value,
    ord("s"): lambda value: stable(str(value)),
    ord("r"): text_of,
    ord("a"): lambda value: stable(ascii(value)),
}


class Expressions:
    """Turns expressions into functions, and counts what these do."""

    def __init__(self, functions: dict[str, Any]):
        self.module = Frame(None)
        self.functions = functions
        self.star_import: Missing | None = None
        self.steps = self.depth = self.line = 0
        self._constants: dict[tuple[type, str], Any] = {}

    def step(self) -> None:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise Refused(f"more than {MAX_STEPS:,} steps")

    def expression(self, node: ast.expr, scope: Scope) -> Evaluate:
        """Returns the function that evaluates an expression."""
        made: Evaluate = getattr(self, f"_{type(node).__name__}")(node, scope)
        return made

    def _all(self, nodes: Iterable[ast.expr], scope: Scope) -> list[Evaluate]:
        return [self.expression(node, scope) for node in nodes]

    def _Constant(self, node: ast.Constant, scope: Scope) -> Evaluate:
        # Equal constants are one object, as in Python.
        key = (type(node.value), repr(node.value))
        value = self._constants.setdefault(key, node.value)
        return lambda frame: value

    # === Names ===

    def _Name(self, node: ast.Name, scope: Scope) -> Evaluate:
        name, up = node.id, scope.up(node.id)
        if up is None:
            names = self.module.names

            def of_module(frame: Frame) -> Any:
                try:
                    value = names[name]
                except KeyError:
                    value = self._built_in(name)
                if type(value) is Missing:
                    value.refuse()
                return value

            return of_module

        def of_function(frame: Frame) -> Any:
            for _ in range(up):
                frame = frame.parent
            try:
                value = frame.names[name]
            except KeyError:
                raise _unbound(name, up) from None
            if type(value) is Missing:
                value.refuse()
            return value

        return of_function

    def _built_in(self, name: str) -> Any:
        if name in self.functions:
            return self.functions[name]
        if self.star_import:
            self.star_import.refuse()
        if hasattr(builtins, name):
            raise Refused(f"NameError: no {name} here")
        raise NameError(f"name '{name}' is not defined")

    def store_name(self, name: str, scope: Scope) -> Store:
        """Returns the function that gives a name a value."""
        up = scope.up(name)
        if up is None:
            names = self.module.names

            def to_module(frame: Frame, value: Any) -> None:
                names[name] = value

            return to_module

        def to_function(frame: Frame, value: Any) -> None:
            for _ in range(up):
                frame = frame.parent
            frame.names[name] = value

        return to_function

    def store(self, target: ast.expr, scope: Scope) -> Store:
        """Returns the function that gives a target a value."""
        if isinstance(target, ast.Name):
            return self.store_name(target.id, scope)
        if isinstance(target, (ast.Tuple, ast.List)):
            return self._unpack(target.elts, scope)
        assert isinstance(target, ast.Subscript)
        container = self.expression(target.value, scope)
        key = self.expression(target.slice, scope)

        def to_item(frame: Frame, value: Any) -> None:
            holder = container(frame)
            holder[key(frame)] = value

        return to_item

    def _unpack(self, targets: list[ast.expr], scope: Scope) -> Store:
        starred = [isinstance(target, ast.Starred) for target in targets]
        at = starred.index(True) if True in starred else None
        stores = [
            self.store(t.value if isinstance(t, ast.Starred) else t, scope)
            for t in targets
        ]

        def to_all(frame: Frame, value: Any) -> None:
            values = _unpacked(value, len(stores), at)
            for store, one in zip(stores, values, strict=True):
                store(frame, one)

        return to_all

    def _NamedExpr(self, node: ast.NamedExpr, scope: Scope) -> Evaluate:
        value = self.expression(node.value, scope)
        store = self.store(node.target, scope)

        def evaluate(frame: Frame) -> Any:
            made = value(frame)
            store(frame, made)
            return made

        return evaluate

    # === Parts of values ===

    def _Attribute(self, node: ast.Attribute, scope: Scope) -> Evaluate:
        value, name = self.expression(node.value, scope), node.attr

        def evaluate(frame: Frame) -> Any:
            found = attribute(value(frame), name)
            if type(found) is Missing:
                found.refuse()
            return found

        return evaluate

    def _Subscript(self, node: ast.Subscript, scope: Scope) -> Evaluate:
        container = self.expression(node.value, scope)
        key = self.expression(node.slice, scope)

        def evaluate(frame: Frame) -> Any:
            holder = container(frame)
            if isinstance(holder, type):
                raise Refused("not allowed: a subscript of a type")
            return holder[key(frame)]

        return evaluate

    def _Slice(self, node: ast.Slice, scope: Scope) -> Evaluate:
        parts = [
            self.expression(part, scope) if part else lambda frame: None
            for part in (node.lower, node.upper, node.step)
        ]
        return lambda frame: slice(*[part(frame) for part in parts])

    def _items(
        self, nodes: Sequence[ast.expr], scope: Scope
    ) -> Callable[[Frame], list[Any]]:
        """Returns the function that gives the values of `a, *b, c`."""
        if not any(isinstance(node, ast.Starred) for node in nodes):
            each = self._all(nodes, scope)
            return lambda frame: [one(frame) for one in each]
        parts = [
            (isinstance(node, ast.Starred), self.expression(inner, scope))
            for node in nodes
            for inner in [node.value if isinstance(node, ast.Starred) else node]
        ]

        def evaluate(frame: Frame) -> list[Any]:
            values: list[Any] = []
            for starred, part in parts:
                if starred:
                    values.extend(part(frame))
                else:
                    values.append(part(frame))
            return values

        return evaluate

    def _List(self, node: ast.List, scope: Scope) -> Evaluate:
        return self._items(node.elts, scope)

    def _Tuple(self, node: ast.Tuple, scope: Scope) -> Evaluate:
        items = self._items(node.elts, scope)
        return lambda frame: tuple(items(frame))

    def _Set(self, node: ast.Set, scope: Scope) -> Evaluate:
        items = self._items(node.elts, scope)
        return lambda frame: set(items(frame))

    def _Dict(self, node: ast.Dict, scope: Scope) -> Evaluate:
        pairs = [
            (self.expression(key, scope) if key else None, value)
            for key, value in zip(
                node.keys, self._all(node.values, scope), strict=True
            )
        ]

        def evaluate(frame: Frame) -> dict[Any, Any]:
            made: dict[Any, Any] = {}
            for key, value in pairs:
                if key is None:
                    made.update(value(frame))
                else:
                    name = key(frame)
                    made[name] = value(frame)
            return made

        return evaluate

    # === Operators ===

    def _BinOp(self, node: ast.BinOp, scope: Scope) -> Evaluate:
        left = self.expression(node.left, scope)
        right = self.expression(node.right, scope)
        operate = BINARY.get(type(node.op)) or refuse_operator(node.op)
        if not isinstance(node.op, ast.Mod):
            return lambda frame: operate(left(frame), right(frame))

        def remainder(frame: Frame) -> Any:
            made = operate(left(frame), right(frame))
            return stable(made) if type(made) is str else made

        return remainder

    def _UnaryOp(self, node: ast.UnaryOp, scope: Scope) -> Evaluate:
        operand = self.expression(node.operand, scope)
        operate = UNARY[type(node.op)]
        return lambda frame: operate(operand(frame))

    def _BoolOp(self, node: ast.BoolOp, scope: Scope) -> Evaluate:
        *first, last = self._all(node.values, scope)
        enough = isinstance(node.op, ast.Or)

        def evaluate(frame: Frame) -> Any:
            for operand in first:
                value = operand(frame)
                if bool(value) is enough:
                    return value
            return last(frame)

        return evaluate

    def _Compare(self, node: ast.Compare, scope: Scope) -> Evaluate:
        first = self.expression(node.left, scope)
        others = self._all(node.comparators, scope)
        operators = [COMPARE[type(op)] for op in node.ops]
        if len(others) == 1:
            [compare], [other] = operators, others
            return lambda frame: compare(first(frame), other(frame))
        *pairs, (last_compare, last) = zip(operators, others, strict=True)

        def evaluate(frame: Frame) -> Any:
            left = first(frame)
            for compare, other in pairs:
                right = other(frame)
                result = compare(left, right)
                if not result:
                    return result
                left = right
            return last_compare(left, last(frame))

        return evaluate

    def _IfExp(self, node: ast.IfExp, scope: Scope) -> Evaluate:
        test = self.expression(node.test, scope)
        body = self.expression(node.body, scope)
        other = self.expression(node.orelse, scope)
        return lambda frame: body(frame) if test(frame) else other(frame)

    # === Text ===

    def _JoinedStr(self, node: ast.JoinedStr, scope: Scope) -> Evaluate:
        parts = self._all(node.values, scope)
        return lambda frame: "".join([part(frame) for part in parts])

    def _FormattedValue(
        self, node: ast.FormattedValue, scope: Scope
    ) -> Evaluate:
        value = self.expression(node.value, scope)
        convert = _CONVERSIONS[node.conversion]
        spec: Evaluate = lambda frame: ""  # noqa: E731
        if node.format_spec:
            spec = self.expression(node.format_spec, scope)
        return lambda frame: format_value(convert(value(frame)), spec(frame))


def _unbound(name: str, up: int) -> NameError:
    if up:
        return NameError(
            f"cannot access free variable '{name}' where it is not associated "
            "with a value in enclosing scope"
        )
    return UnboundLocalError(
        f"cannot access local variable '{name}' where it is not associated "
        "with a value"
    )


def _unpacked(value: Any, count: int, at: int | None) -> list[Any]:
    """Returns the values for `count` targets, of which `at` has a star."""
    try:
        values = iter(value)
    except TypeError:
        kind = type(value).__name__
        raise TypeError(f"cannot unpack non-iterable {kind} object") from None
    if at is None:
        found = list(itertools.islice(values, count + 1))
        if len(found) > count:
            raise ValueError(f"too many values to unpack (expected {count})")
        if len(found) < count:
            raise ValueError(
                f"not enough values to unpack (expected {count}, got "
                f"{len(found)})"
            )
        return found
    found = list(values)
    after = count - at - 1
    if len(found) < at + after:
        raise ValueError(
            f"not enough values to unpack (expected at least {at + after}, "
            f"got {len(found)})"
        )
    end = len(found) - after
    return [*found[:at], found[at:end], *found[end:]]
