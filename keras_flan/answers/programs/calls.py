"""Calls, functions and comprehensions of a program.

This module runs in the sandbox: it imports the standard library alone.
"""

import ast
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from expressions import MAX_STEPS, Evaluate, Expressions, Store  # type: ignore[import-not-found]
from functions import Function, Signature, bind, defaults  # type: ignore[import-not-found]
from language import Refused  # type: ignore[import-not-found]
from scopes import (  # type: ignore[import-not-found]
    Comprehension,
    Defined,
    Frame,
    Scope,
    comprehension_scope,
    function_scope,
)
from values import stable  # type: ignore[import-not-found]

MAX_DEPTH = 980  # calls within calls; Python has 1,000


class Calls(Expressions):
    """Expressions that call what a program defines."""

    def _Call(self, node: ast.Call, scope: Scope) -> Evaluate:
        called = self.expression(node.func, scope)
        items = self._items(node.args, scope)
        keywords = [
            (keyword.arg, self.expression(keyword.value, scope))
            for keyword in node.keywords
        ]
        line = node.lineno

        def evaluate(frame: Frame) -> Any:
            function = called(frame)
            values = items(frame)
            named: dict[str, Any] = {}
            for name, value in keywords:
                given = {name: value(frame)} if name else dict(value(frame))
                for key in given:
                    if key in named:
                        raise TypeError(f"two values for the argument {key}")
                named.update(given)
            self.steps += 1
            if self.steps > MAX_STEPS:
                raise Refused(f"more than {MAX_STEPS:,} steps")
            if type(function) is Function:
                made = self.invoke(function, values, named)
                self.line = line
                return made
            made = function(*values, **named)
            return stable(made) if function is str else made

        return evaluate

    def invoke(
        self, function: Function, values: Sequence[Any], named: dict[str, Any]
    ) -> Any:
        """Calls a function of the program."""
        frame = Frame(function.frame)
        bind(function, values, named, frame.names)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Refused(f"more than {MAX_DEPTH} calls within calls")
        try:
            return function.body(frame)
        finally:
            self.depth -= 1

    def function(
        self, node: Defined, scope: Scope, body: Evaluate
    ) -> Callable[[Frame], Function]:
        """Returns the function that makes a function with this body."""
        signature = Signature(node)
        given = [
            (name, self.expression(value, scope))
            for name, value in defaults(node.args)
        ]

        def make(frame: Frame) -> Function:
            values = {name: value(frame) for name, value in given}
            return Function(signature, body, frame, values, self._called)

        return make

    def _called(
        self, function: Function, values: Sequence[Any], named: dict[str, Any]
    ) -> Any:
        """A call from without: by `sorted`, `map` and the like."""
        self.step()
        return self.invoke(function, values, named)

    def _Lambda(self, node: ast.Lambda, scope: Scope) -> Evaluate:
        inner = function_scope(node, scope)
        return self.function(node, scope, self.expression(node.body, inner))

    # === Comprehensions ===

    def _loops(
        self, node: Comprehension, scope: Scope, *parts: ast.expr
    ) -> "_Loops":
        inner = comprehension_scope(node, scope)
        first, *others = node.generators
        return _Loops(
            self.step,
            self.expression(first.iter, scope),
            [self.expression(loop.iter, inner) for loop in others],
            [self.store(loop.target, inner) for loop in node.generators],
            [self._all(loop.ifs, inner) for loop in node.generators],
            self._all(parts, inner),
        )

    def _GeneratorExp(self, node: ast.GeneratorExp, scope: Scope) -> Evaluate:
        loops = self._loops(node, scope, node.elt)
        return lambda frame: loops.lazily(*loops.begin(frame))

    def _ListComp(self, node: ast.ListComp, scope: Scope) -> Evaluate:
        loops = self._loops(node, scope, node.elt)

        def evaluate(frame: Frame) -> list[Any]:
            made: list[Any] = []
            loops.fill(made.append, *loops.begin(frame))
            return made

        return evaluate

    def _SetComp(self, node: ast.SetComp, scope: Scope) -> Evaluate:
        loops = self._loops(node, scope, node.elt)

        def evaluate(frame: Frame) -> set[Any]:
            made: set[Any] = set()
            loops.fill(made.add, *loops.begin(frame))
            return made

        return evaluate

    def _DictComp(self, node: ast.DictComp, scope: Scope) -> Evaluate:
        loops = self._loops(node, scope, node.key, node.value)

        def evaluate(frame: Frame) -> dict[Any, Any]:
            made: dict[Any, Any] = {}
            loops.fill(made.__setitem__, *loops.begin(frame))
            return made

        return evaluate


@dataclasses.dataclass
class _Loops:
    """The loops of a comprehension: they share one frame.

    The first loop's values are there at once, the others' when needed.
    """

    step: Callable[[], None]
    source: Evaluate
    sources: list[Evaluate]
    stores: list[Store]
    tests: list[list[Evaluate]]
    parts: list[Evaluate]

    def begin(self, frame: Frame) -> tuple[Frame, Iterator[Any]]:
        values = iter(self.source(frame))
        return Frame(frame), values

    def fill(
        self,
        add: Callable[..., object],
        frame: Frame,
        values: Iterator[Any],
        level: int = 0,
    ) -> None:
        """Adds what each round makes."""
        store, tests = self.stores[level], self.tests[level]
        for value in values:
            self.step()
            store(frame, value)
            for test in tests:
                if not test(frame):
                    break
            else:
                if level == len(self.sources):
                    add(*[part(frame) for part in self.parts])
                else:
                    inner = iter(self.sources[level](frame))
                    self.fill(add, frame, inner, level + 1)

    def lazily(
        self, frame: Frame, values: Iterator[Any], level: int = 0
    ) -> Iterator[Any]:
        """Yields what each round makes."""
        store, tests = self.stores[level], self.tests[level]
        for value in values:
            self.step()
            store(frame, value)
            for test in tests:
                if not test(frame):
                    break
            else:
                if level == len(self.sources):
                    yield self.parts[0](frame)
                else:
                    inner = iter(self.sources[level](frame))
                    yield from self.lazily(frame, inner, level + 1)
