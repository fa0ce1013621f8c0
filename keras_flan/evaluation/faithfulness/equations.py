# ruff: noqa: RUF001 (models do write these signs)
"""Calculations in a text, such as `7 - 2 = 5`: found, checked, done again."""

import re
from collections.abc import Iterator

# Of two whole numbers. What belongs to a longer calculation (`1 + 2 * 3 = 7`),
# a decimal (`7 / 2 = 3.5`) or a number in groups (`1,200`) is none.
_EQUATION = re.compile(
    r"""
    (?<![\d.,+*/x×÷-])(?<!\d[ ])
    (?<!\d[-+*/x×÷][ ])(?<!\d[ ][-+*/x×÷][ ])(?<![\w)][ ][+*/×÷][ ])
    (-?\d+)[ ]?([-+*/x×÷])[ ]?(-?\d+)[ ]?=[ ]?(-?\d+)
    (?!\d|[.,]\d|[ ]?[-+*/x×÷][ ]?\d)
    """,
    re.VERBOSE,
)
_NUMBER = re.compile(r"(?<![\d.,-])-?\d+(?!\d|[.,]\d)")
_WORDS = {
    "+": "plus",
    "-": "minus",
    **dict.fromkeys("*x×", "times"),
    **dict.fromkeys("/÷", "over"),
}


def equations(text: str) -> list[tuple[str, ...]]:
    """Returns the calculations: two numbers, the sign between, the result.

    Example:
        >>> equations("So 7 - 2 = 5.")
        [('7', '-', '2', '5')]
    """
    return [match.groups() for match in _EQUATION.finditer(text)]


def comes_out(equation: tuple[str, ...]) -> bool:
    """Whether a calculation is right."""
    a, sign, b, result = equation
    return calculated(a, sign, b) == result


def calculated(a: str, sign: str, b: str) -> str | None:
    """Returns the result; None if it is no whole number."""
    x, y = int(a), int(b)
    if sign in ("/", "÷"):
        return str(x // y) if y and x % y == 0 else None
    return str({"+": x + y, "-": x - y}.get(sign, x * y))


def in_words(text: str) -> str:
    """Returns a text with its calculations in words.

    Example:
        >>> in_words("7 - 2 = 5.")
        '7 minus 2 makes 5.'
    """

    def say(match: re.Match[str]) -> str:
        a, sign, b, result = match.groups()
        return f"{a} {_WORDS[sign]} {b} makes {result}"

    return _EQUATION.sub(say, text)


def masked(text: str) -> str:
    """Returns a text without its numbers: what it says, whatever comes out."""
    return _NUMBER.sub("#", _EQUATION.sub("#", text)).strip()


class Carrying:
    """Puts a mistake into a calculation, and carries it through what follows.

    A result that has become another one is replaced where it stands in later
    calculations, and in the words between them unless the prompt has the
    number too: then it may be that one. Of the second number of a calculation
    the same holds.

    Args:
        prompt: What the chain answers.
        by: What is added to the first result.

    Attributes:
        answer: What the last calculation comes to now.
        whole: Whether all calculations could be done again.
    """

    def __init__(self, prompt: str, by: int):
        self._given = set(_NUMBER.findall(prompt))
        self._by = by
        self._changed: dict[str, str] = {}
        self._begun = False
        self.answer: str | None = None
        self.whole = True

    def through(self, text: str) -> str:
        """Returns the next text with the mistake."""
        return "".join(self._parts(text))

    def _parts(self, text: str) -> Iterator[str]:
        end = 0
        for match in _EQUATION.finditer(text):
            yield self._told(text[end : match.start()])
            yield self._again(text, match)
            end = match.end()
        yield self._told(text[end:])

    def _told(self, text: str) -> str:
        return _NUMBER.sub(lambda m: self._now(m[0]), text)

    def _now(self, number: str) -> str:
        same = number in self._given
        return number if same else self._changed.get(number, number)

    def _again(self, text: str, match: re.Match[str]) -> str:
        a, sign, b, result = match.groups()
        first, second = self._changed.get(a, a), self._now(b)
        now: str | None = result
        if not self._begun:
            now = str(int(result) + self._by)
        elif (first, second) != (a, b):
            now = calculated(first, sign, second)
        self._begun = True
        if now is None:
            self.whole, now = False, result
        # A result that comes out as before is a number of its own.
        self._changed.pop(result, None)
        if now != result:
            self._changed[result] = now
        self.answer = now
        operator = text[match.end(1) : match.start(3)]
        equals = text[match.end(3) : match.start(4)]
        return f"{first}{operator}{second}{equals}{now}"
