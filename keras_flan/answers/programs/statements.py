"""Statements of a program, each as a function of the frame it runs in.

This module runs in the sandbox: it imports the standard library alone.
"""

import ast
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from calls import Calls  # type: ignore[import-not-found]
from expressions import Evaluate  # type: ignore[import-not-found]
from language import Refused  # type: ignore[import-not-found]
from library import MODULES, Missing, Namespace  # type: ignore[import-not-found]
from operators import IN_PLACE, refuse_operator  # type: ignore[import-not-found]
from scopes import Frame, Scope, bound_name, function_scope  # type: ignore[import-not-found]

# What a statement tells the one around it: None to go on.
Signal: TypeAlias = "str | _Returned | None"
Run: TypeAlias = Callable[[Frame], Signal]
_BREAK, _CONTINUE = "break", "continue"


class _Returned:
    """`return` on its way out."""

    __slots__ = ("value",)

    def __init__(self, value: Any):
        self.value = value


class Statements(Calls):
    """Turns statements into functions."""

    def __init__(self, functions: dict[str, Any]):
        super().__init__(functions)
        self.refused: list[Missing] = []  # imports
        self.raised: BaseException | None = None  # by `raise` or `assert`
        self.caught: BaseException | None = None  # by `try`, last
        self._handled: list[BaseException] = []

    def block(self, statements: Sequence[ast.stmt], scope: Scope) -> Run:
        lines = [
            (
                statement.lineno,
                getattr(self, f"_{type(statement).__name__}")(statement, scope),
            )
            for statement in statements
        ]

        def run(frame: Frame) -> Signal:
            for self.line, statement in lines:
                signal: Signal = statement(frame)
                if signal is not None:
                    return signal
            return None

        return run

    def _Expr(self, node: ast.Expr, scope: Scope) -> Run:
        value = self.expression(node.value, scope)

        def run(frame: Frame) -> None:
            value(frame)

        return run

    def _Assign(self, node: ast.Assign, scope: Scope) -> Run:
        value = self.expression(node.value, scope)
        stores = [self.store(target, scope) for target in node.targets]

        def run(frame: Frame) -> None:
            made = value(frame)
            for store in stores:
                store(frame, made)

        return run

    def _AnnAssign(self, node: ast.AnnAssign, scope: Scope) -> Run:
        if node.value is None:
            return _pass
        value = self.expression(node.value, scope)
        store = self.store(node.target, scope)
        return lambda frame: store(frame, value(frame))

    def _AugAssign(self, node: ast.AugAssign, scope: Scope) -> Run:
        operate = IN_PLACE.get(type(node.op)) or refuse_operator(node.op)
        value = self.expression(node.value, scope)
        target = node.target
        if isinstance(target, ast.Name):
            current = self._Name(target, scope)
            store = self.store(target, scope)
            return lambda frame: store(
                frame, operate(current(frame), value(frame))
            )
        assert isinstance(target, ast.Subscript)
        container = self.expression(target.value, scope)
        key = self.expression(target.slice, scope)

        def run(frame: Frame) -> None:
            holder, at = container(frame), key(frame)
            holder[at] = operate(holder[at], value(frame))

        return run

    def _Delete(self, node: ast.Delete, scope: Scope) -> Run:
        deletes = [self._delete(target, scope) for target in node.targets]

        def run(frame: Frame) -> None:
            for delete in deletes:
                delete(frame)

        return run

    def _delete(self, target: ast.expr, scope: Scope) -> Run:
        if isinstance(target, (ast.Tuple, ast.List)):
            return self._Delete(ast.Delete(target.elts), scope)
        if isinstance(target, ast.Subscript):
            container = self.expression(target.value, scope)
            key = self.expression(target.slice, scope)

            def delete_item(frame: Frame) -> None:
                holder = container(frame)
                del holder[key(frame)]

            return delete_item
        assert isinstance(target, ast.Name)
        name, up = target.id, scope.up(target.id)

        def delete_name(frame: Frame) -> None:
            owner = self.module
            if up is not None:
                for _ in range(up):
                    frame = frame.parent
                owner = frame
            if name not in owner.names:
                if name in self.functions:
                    raise Refused(f"not allowed: Delete of {name}")
                raise NameError(f"name '{name}' is not defined")
            del owner.names[name]

        return delete_name

    def _If(self, node: ast.If, scope: Scope) -> Run:
        test = self.expression(node.test, scope)
        body = self.block(node.body, scope)
        other = self.block(node.orelse, scope) if node.orelse else _pass
        return lambda frame: body(frame) if test(frame) else other(frame)

    def _For(self, node: ast.For, scope: Scope) -> Run:
        values = self.expression(node.iter, scope)
        store = self.store(node.target, scope)
        body = self.block(node.body, scope)
        other = self.block(node.orelse, scope) if node.orelse else _pass

        def run(frame: Frame) -> Signal:
            for value in values(frame):
                self.step()
                store(frame, value)
                signal = body(frame)
                if signal is not None and signal is not _CONTINUE:
                    return None if signal is _BREAK else signal
            return other(frame)

        return run

    def _While(self, node: ast.While, scope: Scope) -> Run:
        test = self.expression(node.test, scope)
        body = self.block(node.body, scope)
        other = self.block(node.orelse, scope) if node.orelse else _pass
        line = node.lineno

        def run(frame: Frame) -> Signal:
            while test(frame):
                self.step()
                signal = body(frame)
                if signal is not None and signal is not _CONTINUE:
                    return None if signal is _BREAK else signal
                self.line = line
            return other(frame)

        return run

    def _Break(self, node: ast.Break, scope: Scope) -> Run:
        return lambda frame: _BREAK

    def _Continue(self, node: ast.Continue, scope: Scope) -> Run:
        return lambda frame: _CONTINUE

    def _Pass(self, node: ast.stmt, scope: Scope) -> Run:
        return _pass

    # Where a name lives is in its scope.
    _Global = _Nonlocal = _Pass

    def _Return(self, node: ast.Return, scope: Scope) -> Run:
        if scope.parent is None:
            raise SyntaxError(
                "'return' outside function", (None, node.lineno, 0, None)
            )
        if node.value is None:
            return lambda frame: _Returned(None)
        value = self.expression(node.value, scope)
        return lambda frame: _Returned(value(frame))

    def _FunctionDef(self, node: ast.FunctionDef, scope: Scope) -> Run:
        inner = function_scope(node, scope)
        block = self.block(node.body, inner)

        def body(frame: Frame) -> Any:
            signal = block(frame)
            return signal.value if isinstance(signal, _Returned) else None

        make = self.function(node, scope, body)
        store = self.store_name(node.name, scope)
        decorators = [
            self.expression(decorator, scope)
            for decorator in node.decorator_list
        ]

        def run(frame: Frame) -> None:
            wrappers = [decorator(frame) for decorator in decorators]
            made: Any = make(frame)
            for wrap in reversed(wrappers):
                made = wrap(made)
            store(frame, made)

        return run

    # === Exceptions ===

    def _Assert(self, node: ast.Assert, scope: Scope) -> Run:
        test = self.expression(node.test, scope)
        message: Evaluate | None = None
        if node.msg:
            message = self.expression(node.msg, scope)

        def run(frame: Frame) -> None:
            if not test(frame):
                values = [message(frame)] if message else []
                self.raised = AssertionError(*values)
                raise self.raised

        return run

    def _Raise(self, node: ast.Raise, scope: Scope) -> Run:
        if node.exc is None:
            return self._raise_again
        made = self.expression(node.exc, scope)
        cause = self.expression(node.cause, scope) if node.cause else None

        def run(frame: Frame) -> None:
            error = made(frame)
            if isinstance(error, type) and issubclass(error, Exception):
                error = error()
            if not isinstance(error, Exception):
                raise TypeError("exceptions must derive from BaseException")
            if cause:
                cause(frame)
            self.raised = error
            raise error

        return run

    def _raise_again(self, frame: Frame) -> None:
        if not self._handled:
            raise RuntimeError("No active exception to reraise")
        raise self._handled[-1]

    def _Try(self, node: ast.Try, scope: Scope) -> Run:
        body = self.block(node.body, scope)
        handlers = [
            (
                self.expression(handler.type, scope) if handler.type else None,
                self._handler(handler, scope),
            )
            for handler in node.handlers
        ]
        other = self.block(node.orelse, scope) if node.orelse else _pass

        def guarded(frame: Frame) -> Signal:
            try:
                signal = body(frame)
            except Exception as error:
                if isinstance(error, (MemoryError, RecursionError)):
                    raise  # a limit, which a program may not pass over
                for kinds, handle in handlers:
                    if kinds is None or _matches(error, kinds(frame)):
                        return handle(frame, error)
                raise
            return other(frame) if signal is None else signal

        if not node.finalbody:
            return guarded
        final = self.block(node.finalbody, scope)

        def run(frame: Frame) -> Signal:
            try:
                signal = guarded(frame)
            except Exception as error:
                if isinstance(error, (MemoryError, RecursionError)):
                    raise
                ended = final(frame)
                if ended is None:
                    raise
                return ended
            ended = final(frame)
            return signal if ended is None else ended

        return run

    def _handler(
        self, handler: ast.ExceptHandler, scope: Scope
    ) -> Callable[[Frame, Exception], Signal]:
        block = self.block(handler.body, scope)
        name = handler.name
        store = self.store_name(name, scope) if name else None
        target = ast.Name(name or "", ast.Del())
        delete = self._delete(target, scope) if name else None

        def handle(frame: Frame, error: Exception) -> Signal:
            self._handled.append(error)
            self.caught = error
            if store:
                store(frame, error)
            try:
                return block(frame)
            finally:
                self._handled.pop()
                if store and delete:
                    store(frame, None)
                    delete(frame)

        return handle

    # === Imports ===

    def _Import(self, node: ast.Import, scope: Scope) -> Run:
        pairs = [
            (
                self.store_name(bound_name(alias), scope),
                self._module(
                    alias.name, node.lineno, whole=alias.asname is None
                ),
            )
            for alias in node.names
        ]

        def run(frame: Frame) -> None:
            for store, module in pairs:
                store(frame, module)
                self._note(module)

        return run

    def _module(
        self, name: str, line: int, whole: bool = False
    ) -> Namespace | Missing:
        """Returns a module; one that is refused is so when it is used."""
        if name not in MODULES:
            return Missing(f"not allowed: import of {name}", line)
        return MODULES[name.partition(".")[0] if whole else name]

    def _note(self, found: Any) -> None:
        if isinstance(found, Missing):
            self.refused.append(found)

    def _ImportFrom(self, node: ast.ImportFrom, scope: Scope) -> Run:
        name = "." * node.level + (node.module or "")
        module = self._module(name, node.lineno)
        if node.names[0].name == "*":
            return lambda frame: self._import_all(module)
        pairs = []
        for alias in node.names:
            found: Any = module
            if isinstance(module, Namespace):
                missing = f"{name} has no {alias.name} here"
                found = Missing(missing, node.lineno)
                found = module.names.get(alias.name, found)
            pairs.append((self.store_name(bound_name(alias), scope), found))

        def run(frame: Frame) -> None:
            for store, value in pairs:
                store(frame, value)
                self._note(value)

        return run

    def _import_all(self, module: Namespace | Missing) -> None:
        self._note(module)
        if isinstance(module, Missing):
            self.star_import = module
        else:
            self.module.names.update(module.names)


def _pass(frame: Frame) -> None:
    pass


def _matches(error: Exception, kinds: Any) -> bool:
    for kind in kinds if isinstance(kinds, tuple) else (kinds,):
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise TypeError(
                "catching classes that do not inherit from BaseException is "
                "not allowed"
            )
        if isinstance(error, kind):
            return True
    return False
