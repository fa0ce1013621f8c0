"""A small interpreter of Python's syntax tree.

The text of a program is parsed, never compiled: no `exec`, no `eval`. A
program has the values of `language.py` and functions of its own.

This module runs in the sandbox: it imports the standard library alone.
"""

import ast
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, TypeAlias

from functions import Function, Scope, bind  # type: ignore[import-not-found]
from language import (  # type: ignore[import-not-found]
    ATTRIBUTES,
    BINARY,
    COMPARE,
    FUNCTIONS,
    MODULES,
    UNARY,
    Namespace,
    Refused,
    attribute,
    check,
)

Operate: TypeAlias = Callable[..., Any]
Generated: TypeAlias = ast.GeneratorExp | ast.ListComp | ast.SetComp

MAX_STEPS = 1_000_000  # expressions and statements
MAX_DEPTH = 400  # calls within calls
MAX_PRINTED = 65_536  # characters
_CONVERSIONS: dict[str, Operate] = {"s": str, "r": repr, "a": ascii}
_ANSWER_NAMES = ("answer", "ans", "result")


class _Leave(Exception):
    """`return`, `break` or `continue` on its way out."""

    def __init__(self, value: Any = None):
        self.value = value


class _Return(_Leave): ...


class _Break(_Leave): ...


class _Continue(_Leave): ...


class Interpreter:
    """Runs one program.

    Args:
        code: The program's text.

    Raises:
        Refused: If it uses what is not allowed, or too much.
        SyntaxError: If it is not Python.
    """

    def __init__(self, code: str):
        self._tree = ast.parse(code)
        check(self._tree)
        self._steps = self._depth = self._size = 0
        self._printed: list[str] = []
        self.line = 0  # that runs, for error messages
        self._globals = Scope()
        self._globals.names["__name__"] = "__main__"
        self._functions = {**FUNCTIONS, "print": self._print}
        self._handlers = {
            getattr(ast, name[1:]): getattr(self, name)
            for name in dir(self)
            if name[1:2].isupper()
        }

    def run(self) -> tuple[str, str]:
        """Returns the answer and where it is from.

        In this order: what `solution()` returns, the last line printed, the
        variable `answer`, `ans` or `result`, a closing expression.
        """
        body = self._tree.body
        last = body[-1] if body and isinstance(body[-1], ast.Expr) else None
        self._block(body[:-1] if last else body, self._globals)
        closing = None
        if last:
            self.line = last.lineno
            closing = self.evaluate(last.value, self._globals)
        names = self._globals.names
        if isinstance(solve := names.get("solution"), Function):
            value = solve()
            if value is not None:
                return _text(value), "solution"
        printed = "".join(self._printed).strip()
        if printed:
            return printed[printed.rfind("\n") + 1 :].strip(), "printed"
        for name in _ANSWER_NAMES:
            if names.get(name) is not None:
                return _text(names[name]), "variable"
        if closing is not None:
            return _text(closing), "expression"
        raise Refused("it returns, prints and assigns no answer")

    def evaluate(self, node: ast.AST, scope: Scope) -> Any:
        """Returns the value of an expression, or runs a statement."""
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise Refused(f"more than {MAX_STEPS:,} steps")
        return self._handlers[type(node)](node, scope)

    def call(self, function: Function, values: Any, named: Any) -> Any:
        """Calls a function of the program."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Refused(f"more than {MAX_DEPTH} calls within calls")
        scope = Scope(function.scope, function.own)
        bind(function, values, named, scope.names)
        node = function.node
        try:
            if isinstance(node, ast.Lambda):
                return self.evaluate(node.body, scope)
            self._block(node.body, scope)
        except _Return as leave:
            return leave.value
        finally:
            self._depth -= 1

    def _print(
        self,
        *values: Any,
        sep: str | None = " ",
        end: str | None = "\n",
        flush: bool = False,
    ) -> None:
        text = (sep or "").join(map(str, values)) + (end or "")
        self._size += len(text)
        if self._size > MAX_PRINTED:
            raise Refused(f"more than {MAX_PRINTED:,} printed characters")
        self._printed.append(text)

    # === Statements ===

    def _block(self, statements: Sequence[ast.stmt], scope: Scope) -> None:
        for statement in statements:
            self.line = statement.lineno
            self.evaluate(statement, scope)

    def _Expr(self, node: ast.Expr, scope: Scope) -> None:
        self.evaluate(node.value, scope)

    def _Assign(self, node: ast.Assign, scope: Scope) -> None:
        value = self.evaluate(node.value, scope)
        for target in node.targets:
            self._store(target, value, scope)

    def _AnnAssign(self, node: ast.AnnAssign, scope: Scope) -> None:
        if node.value is not None:
            self._store(node.target, self.evaluate(node.value, scope), scope)

    def _AugAssign(self, node: ast.AugAssign, scope: Scope) -> None:
        target = node.target
        operate = BINARY.get(type(node.op)) or _refuse_operator(node.op)
        if isinstance(target, ast.Name):
            current = self._Name(target, scope)
            value = self.evaluate(node.value, scope)
            scope.assign(target.id, self._augment(operate, current, value))
        elif isinstance(target, ast.Subscript):
            container = self.evaluate(target.value, scope)
            key = self.evaluate(target.slice, scope)
            value = self.evaluate(node.value, scope)
            container[key] = self._augment(operate, container[key], value)
        else:
            raise Refused("not allowed: assignment to an attribute")

    def _augment(self, operate: Operate, current: Any, value: Any) -> Any:
        # Lists grow in place: other names of the list see it.
        if isinstance(current, list) and operate is BINARY[ast.Add]:
            current.extend(value)
            return current
        return operate(current, value)

    def _If(self, node: ast.If, scope: Scope) -> None:
        chosen = node.body if self.evaluate(node.test, scope) else node.orelse
        self._block(chosen, scope)

    def _For(self, node: ast.For, scope: Scope) -> None:
        for item in self.evaluate(node.iter, scope):
            self._store(node.target, item, scope)
            try:
                self._block(node.body, scope)
            except _Break:
                return
            except _Continue:
                pass
        self._block(node.orelse, scope)

    def _While(self, node: ast.While, scope: Scope) -> None:
        while self.evaluate(node.test, scope):
            try:
                self._block(node.body, scope)
            except _Break:
                return
            except _Continue:
                pass
        self._block(node.orelse, scope)

    def _Break(self, node: ast.Break, scope: Scope) -> None:
        raise _Break

    def _Continue(self, node: ast.Continue, scope: Scope) -> None:
        raise _Continue

    def _Pass(self, node: ast.Pass, scope: Scope) -> None:
        pass

    def _Return(self, node: ast.Return, scope: Scope) -> None:
        raise _Return(node.value and self.evaluate(node.value, scope))

    def _FunctionDef(self, node: ast.FunctionDef, scope: Scope) -> None:
        scope.assign(node.name, Function(self, node, scope))

    def _Global(self, node: ast.Global, scope: Scope) -> None:
        for name in node.names:
            scope.elsewhere[name] = self._globals

    def _Nonlocal(self, node: ast.Nonlocal, scope: Scope) -> None:
        for name in node.names:
            found = scope.parent.find(name)
            if found is None:
                raise Refused(f"no outer variable {name}")
            scope.elsewhere[name] = found

    def _Import(self, node: ast.Import, scope: Scope) -> None:
        for alias in node.names:
            scope.assign(alias.asname or alias.name, MODULES[alias.name])

    def _ImportFrom(self, node: ast.ImportFrom, scope: Scope) -> None:
        module = MODULES[node.module]
        for alias in node.names:
            if alias.name == "*":
                for name, value in module.names.items():
                    scope.assign(name, value)
            else:
                value = attribute(module, alias.name)
                scope.assign(alias.asname or alias.name, value)

    def _Assert(self, node: ast.Assert, scope: Scope) -> None:
        if not self.evaluate(node.test, scope):
            raise Refused("an assertion failed")

    def _Raise(self, node: ast.Raise, scope: Scope) -> None:
        raise Refused("it raised an exception")

    def _store(self, target: ast.expr, value: Any, scope: Scope) -> None:
        if isinstance(target, ast.Name):
            scope.assign(target.id, value)
        elif isinstance(target, ast.Subscript):
            container = self.evaluate(target.value, scope)
            container[self.evaluate(target.slice, scope)] = value
        elif isinstance(target, (ast.Tuple, ast.List)):
            self._unpack(target.elts, list(value), scope)
        else:
            raise Refused("not allowed: assignment to an attribute")

    def _unpack(
        self, targets: list[Any], values: list[Any], scope: Scope
    ) -> None:
        starred = [isinstance(t, ast.Starred) for t in targets]
        if True in starred:
            at = starred.index(True)
            rest = len(targets) - at - 1
            end = len(values) - rest
            if end < at:
                raise ValueError("not enough values to unpack")
            values = [*values[:at], values[at:end], *values[end:]]
            targets = [*targets[:at], targets[at].value, *targets[at + 1 :]]
        for target, value in zip(targets, values, strict=True):
            self._store(target, value, scope)

    # === Expressions ===

    def _Constant(self, node: ast.Constant, scope: Scope) -> Any:
        return node.value

    def _Name(self, node: ast.Name, scope: Scope) -> Any:
        found = scope.find(node.id)
        if found is not None:
            return found.names[node.id]
        if node.id in self._functions:
            return self._functions[node.id]
        raise NameError(f"no {node.id} here")

    def _NamedExpr(self, node: ast.NamedExpr, scope: Scope) -> Any:
        value = self.evaluate(node.value, scope)
        self._store(node.target, value, scope)
        return value

    def _Attribute(self, node: ast.Attribute, scope: Scope) -> Any:
        return attribute(self.evaluate(node.value, scope), node.attr)

    def _Subscript(self, node: ast.Subscript, scope: Scope) -> Any:
        container = self.evaluate(node.value, scope)
        if isinstance(container, type):
            raise Refused("not allowed: a subscript of a type")
        return container[self.evaluate(node.slice, scope)]

    def _Slice(self, node: ast.Slice, scope: Scope) -> Any:
        parts = (node.lower, node.upper, node.step)
        return slice(*(part and self.evaluate(part, scope) for part in parts))

    def _Call(self, node: ast.Call, scope: Scope) -> Any:
        function = self.evaluate(node.func, scope)
        values = self._items(node.args, scope)
        named: dict[str, Any] = {}
        for keyword in node.keywords:
            value = self.evaluate(keyword.value, scope)
            named.update({keyword.arg: value} if keyword.arg else value)
        return function(*values, **named)

    def _BinOp(self, node: ast.BinOp, scope: Scope) -> Any:
        left = self.evaluate(node.left, scope)
        right = self.evaluate(node.right, scope)
        operate = BINARY.get(type(node.op)) or _refuse_operator(node.op)
        return operate(left, right)

    def _UnaryOp(self, node: ast.UnaryOp, scope: Scope) -> Any:
        return UNARY[type(node.op)](self.evaluate(node.operand, scope))

    def _BoolOp(self, node: ast.BoolOp, scope: Scope) -> Any:
        enough = isinstance(node.op, ast.Or)
        for operand in node.values:
            value = self.evaluate(operand, scope)
            if bool(value) is enough:
                break
        return value

    def _Compare(self, node: ast.Compare, scope: Scope) -> Any:
        left, result = self.evaluate(node.left, scope), True
        for op, comparator in zip(node.ops, node.comparators, strict=True):
            right = self.evaluate(comparator, scope)
            result = COMPARE[type(op)](left, right)
            if not result:
                break
            left = right
        return result

    def _IfExp(self, node: ast.IfExp, scope: Scope) -> Any:
        chosen = node.body if self.evaluate(node.test, scope) else node.orelse
        return self.evaluate(chosen, scope)

    def _Lambda(self, node: ast.Lambda, scope: Scope) -> Any:
        return Function(self, node, scope)

    def _items(self, nodes: Sequence[ast.expr], scope: Scope) -> list[Any]:
        values = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                values.extend(self.evaluate(node.value, scope))
            else:
                values.append(self.evaluate(node, scope))
        return values

    def _List(self, node: ast.List, scope: Scope) -> Any:
        return self._items(node.elts, scope)

    def _Tuple(self, node: ast.Tuple, scope: Scope) -> Any:
        return tuple(self._items(node.elts, scope))

    def _Set(self, node: ast.Set, scope: Scope) -> Any:
        return set(self._items(node.elts, scope))

    def _Dict(self, node: ast.Dict, scope: Scope) -> Any:
        made: dict[Any, Any] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            value = self.evaluate(value, scope)
            made.update({self.evaluate(key, scope): value} if key else value)
        return made

    def _comprehend(
        self,
        scope: Scope,
        generators: Sequence[ast.comprehension],
        make: Callable[[Scope], Any],
    ) -> Iterator[Any]:
        """Yields `make(scope)` for each round of the loops."""
        first, *others = generators
        for item in self.evaluate(first.iter, scope):
            inner = Scope(scope)
            self._store(first.target, item, inner)
            if all(self.evaluate(test, inner) for test in first.ifs):
                if others:
                    yield from self._comprehend(inner, others, make)
                else:
                    yield make(inner)

    def _GeneratorExp(self, node: Generated, scope: Scope) -> Iterator[Any]:
        return self._comprehend(
            scope, node.generators, lambda s: self.evaluate(node.elt, s)
        )

    def _ListComp(self, node: ast.ListComp, scope: Scope) -> list[Any]:
        return list(self._GeneratorExp(node, scope))

    def _SetComp(self, node: ast.SetComp, scope: Scope) -> set[Any]:
        return set(self._GeneratorExp(node, scope))

    def _DictComp(self, node: ast.DictComp, scope: Scope) -> Any:
        def make(s: Scope) -> tuple[Any, Any]:
            return self.evaluate(node.key, s), self.evaluate(node.value, s)

        return dict(self._comprehend(scope, node.generators, make))

    def _JoinedStr(self, node: ast.JoinedStr, scope: Scope) -> Any:
        return "".join(self.evaluate(part, scope) for part in node.values)

    def _FormattedValue(self, node: ast.FormattedValue, scope: Scope) -> Any:
        value = self.evaluate(node.value, scope)
        if node.conversion != -1:
            value = _CONVERSIONS[chr(node.conversion)](value)
        spec = node.format_spec and self.evaluate(node.format_spec, scope)
        return format(value, spec or "")


def _refuse_operator(operator: ast.operator) -> NoReturn:
    raise Refused(f"not allowed: the operator {type(operator).__name__}")


def _text(value: Any) -> str:
    """Returns a value as an answer."""
    if isinstance(value, float) and not -1e300 < value < 1e300:
        raise Refused(f"the result is {value}")
    if isinstance(value, (Namespace, Function, type)) or (
        type(value) not in ATTRIBUTES and not isinstance(value, bool)
    ):
        raise Refused(f"the result is of type {type(value).__name__}")
    text = str(value).strip()
    if len(text) > MAX_PRINTED:
        raise Refused(f"a result of more than {MAX_PRINTED:,} characters")
    if not text:
        raise Refused("the result is empty")
    return text
