"""A small interpreter of Python's syntax tree.

A program has the values of `library.py` and functions of its own. Its tree
is turned into nested functions once (see `expressions.py`); what follows are
the statements, and where the answer is.

This module runs in the sandbox: it imports the standard library alone.
"""

import ast
from typing import Any

from functions import Function  # type: ignore[import-not-found]
from language import Refused, check  # type: ignore[import-not-found]
from library import FUNCTIONS, PRELUDE  # type: ignore[import-not-found]
from scopes import Scope  # type: ignore[import-not-found]
from statements import Statements  # type: ignore[import-not-found]
from values import answer_text, checked_answer, stable  # type: ignore[import-not-found]

MAX_PRINTED = 1_000_000  # characters
# What the published prompts ask for.
_SOLVERS = ("solution", "solver")
_ANSWER_NAMES = ("answer", "result")


class Interpreter(Statements):
    """Runs one program.

    Args:
        code: The program's text.

    Raises:
        Refused: If it uses what is not allowed, or too much.
        SyntaxError: If it is not Python.
    """

    def __init__(self, code: str):
        super().__init__({**FUNCTIONS, **PRELUDE, "print": self._print})
        self._tree = ast.parse(code)
        check(self._tree)
        self._printed: list[str] = []
        self._size = self._set_at = 0  # where `ans` was set last
        self.module.names["__name__"] = "__main__"

    def run(self) -> tuple[str, str]:
        """Returns the answer and where it is from.

        In this order: the variable `ans`, unless a plain value is printed
        after it was set; what `solution()` or `solver()` returns; the last
        line printed; the variable `answer` or `result`; a closing expression.
        """
        try:
            closing = self._run_module()
            return self._answer(closing)
        except Exception as error:
            if error is not self.raised:
                raise
            if isinstance(error, AssertionError):
                raise Refused("an assertion failed") from None
            kind = type(error).__name__
            raise Refused(f"it raised an exception: {kind}: {error}") from None

    def _run_module(self) -> Any:
        """Runs all statements; returns the value of a closing expression."""
        body, scope = self._tree.body, Scope()
        last = body[-1] if body and isinstance(body[-1], ast.Expr) else None
        names, unset = self.module.names, object()
        before: Any = unset
        runs = [self.block([node], scope) for node in body[:-1] if last]
        if last is None:
            runs = [self.block([node], scope) for node in body]
        closing = last and self.expression(last.value, scope)
        # Finds what the parser does not, such as a `break` without a loop;
        # what is compiled is thrown away and never runs.
        compile(self._tree, "program", "exec", dont_inherit=True)
        for run in runs:
            run(self.module)
            if names.get("ans", unset) is not before:
                before, self._set_at = names.get("ans"), len(self._printed)
        if last and closing:
            self.line = last.lineno
            return closing(self.module)
        return None

    def _answer(self, closing: Any) -> tuple[str, str]:
        names = self.module.names
        if "ans" in names and not self._printed_plainly():
            if names["ans"] is None:
                raise Refused("the variable ans is None")
            return answer_text(names["ans"]), "variable"
        for name in _SOLVERS:
            solve = names.get(name) if "ans" not in names else None
            if isinstance(solve, Function) and not _needs_arguments(solve):
                value = solve()
                if value is not None:
                    return answer_text(value), "solution"
        printed = "".join(self._printed).strip()
        if printed:
            return checked_answer(printed[printed.rfind("\n") + 1 :]), "printed"
        for name in _ANSWER_NAMES:
            if names.get(name) is not None:
                return answer_text(names[name]), "variable"
        if closing is not None:
            return answer_text(closing), "expression"
        for missing in self.refused:
            raise Refused(missing.reason, missing.line)
        reason = "it returns, prints and assigns no answer"
        if self.caught:
            reason += f"; a Try caught {type(self.caught).__name__}"
        raise Refused(reason)

    def _printed_plainly(self) -> bool:
        """Returns whether the last line printed after `ans` is a number."""
        after = "".join(self._printed[self._set_at :]).strip()
        try:
            float(after[after.rfind("\n") + 1 :].replace(",", ""))
        except ValueError:
            return False
        return True

    def _print(
        self,
        *values: Any,
        sep: str | None = " ",
        end: str | None = "\n",
        flush: bool = False,
    ) -> None:
        text = " " if sep is None else sep
        text = text.join(map(str, values)) + ("\n" if end is None else end)
        self._size += len(text)
        if self._size > MAX_PRINTED:
            raise Refused(f"more than {MAX_PRINTED:,} printed characters")
        self._printed.append(stable(text))


def _needs_arguments(function: Function) -> bool:
    signature = function.signature
    needed = {*signature.positional, *signature.named}
    return bool(needed - function.defaults.keys())
