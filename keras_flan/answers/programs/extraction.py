"""Programs in what a model wrote."""

import re
from typing import NamedTuple

from keras_flan.answers.cues import Found
from keras_flan.answers.numbers import normalise_number
from keras_flan.answers.programs.sandbox import ProgramResult, run_program
from keras_flan.answers.words import normalise_text

# A fence that is never closed ends with the text.
_FENCE = re.compile(
    r"^(?P<fence>```|''')[ \t]?(?P<language>\w{0,20})[^\n]{0,80}\n"
    r"(?P<code>.*?)(?:^(?P=fence)|\Z)",
    re.MULTILINE | re.DOTALL,
)
_LANGUAGES = {"", "python", "py", "python3"}
# Without a fence: `solution` and what is indented below it.
_SOLUTION = re.compile(
    r"^(?:(?:from|import)[ ][^\n]{1,80}\n\s{0,20})*"
    r"def[ ]solution\b[^\n]{0,200}(?:\n(?:[ \t][^\n]*)?)*",
    re.MULTILINE,
)
_NUMBER = re.compile(
    r"[+-]?(?:\d{1,60}/\d{1,60}|\d{1,60}(?:\.\d{0,60})?(?:e[+-]?\d{1,2})?)"
)


class Program(NamedTuple):
    """A program in a text: `text[start:end]` is its code."""

    code: str
    start: int
    end: int


def extract_program(text: str) -> Program | None:
    r"""Returns the last program of a text, None if there is none.

    That is the last fenced block of Python; without one, the last function
    `solution` with the imports before it.

    Example:
        >>> extract_program("So:\n```python\nprint(9)\n```").code
        'print(9)\n'
    """
    fenced = [
        match
        for match in _FENCE.finditer(text)
        if match["language"].lower() in _LANGUAGES
    ]
    if fenced:
        return Program(fenced[-1]["code"], *fenced[-1].span("code"))
    found = list(_SOLUTION.finditer(text))
    if not found:
        return None
    code = found[-1][0].rstrip()
    return Program(code, found[-1].start(), found[-1].start() + len(code))


def program_answer(
    text: str, *, timeout: float = 3.0, memory: int = 256 * 2**20
) -> ProgramResult:
    r"""Runs the last program of a text; see `run_program`.

    Example:
        >>> program_answer("```python\nprint(23 - 20 + 6)\n```")
        ProgramResult(answer='9', reason='printed')

    Source: program-aided language models, arXiv:2211.10435.
    """
    program = extract_program(text)
    if program is None:
        return ProgramResult(None, "no program")
    return run_program(program.code, timeout=timeout, memory=memory)


def find_program_answer(text: str) -> Found | None:
    """Returns (value, start, end, rule) for the answer kind `program`.

    The span is the program's; the rule says where its answer is from.
    """
    program = extract_program(text)
    if program is None:
        return None
    result = run_program(program.code)
    if result.answer is None:
        return None
    value = normalise_program_answer(result.answer)
    return value, program.start, program.end, result.reason


def normalise_program_answer(value: str) -> str | None:
    """Returns the canonical form of a number or text.

    Example:
        >>> normalise_program_answer("9.0"), normalise_program_answer("Yes")
        ('9', 'yes')
    """
    value = value.strip()
    if _NUMBER.fullmatch(value):
        return normalise_number(value)
    return normalise_text(value)
