"""Programs in what a model wrote."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from keras_flan.answers.cues import Found
from keras_flan.answers.numbers import normalise_number
from keras_flan.answers.programs.sandbox import ProgramResult, run_program
from keras_flan.answers.words import normalise_text

_FENCE = re.compile(r"(```|''')[ \t]?(\w{0,20})[^\n]{0,80}$")
_LANGUAGES = {"", "python", "py", "python3"}
_NAME = r"[^\W\d]\w{0,80}"
# What begins a line of code; indented lines belong to it.
_CODE = re.compile(
    r"import[ ]\w|from[ ][\w.]{1,80}[ ]import\b|[@#)\]}]|'''|\"\"\""
    r"|(?:def|for|while|if|elif|else|try|except|finally|with)\b[^\n]{0,2000}:"
    r"|(?:assert|del|global|pass|raise)\b"
    rf"|{_NAME}(?:[ ]?,[ ]?{_NAME}){{0,20}}[ ]{{0,4}}"
    r"(?:[-+*/%|&^]{1,2})?=(?!=)"
    rf"|{_NAME}[ ]?:[ ]?\w{{1,20}}[ ]?=(?!=)"
    r"|[^\W\d][\w.]{0,80}[(\[][^\n]{0,2000}[)\](\[,{]?\s{0,4}$"
)
# A program makes an answer; other lines of code are none.
_ANSWERS = re.compile(
    r"ans[ ]{0,4}=(?!=)|print[ ]?\(|def[ ](?:solution|solver)[ ]?\("
)
# Strings, to their end or that of the line; comments.
_QUOTES = re.compile(
    r"#|'''|\"\"\"|'(?:[^'\\]|\\(?:.|$))*(?:'|$)|\"(?:[^\"\\]|\\(?:.|$))*(?:\"|$)"
)
# Where a model goes on with a problem of its own.
_QUESTION = re.compile(
    r"[#\s]{0,8}(?:\[question\]|(?:question|q|problem|input)"
    r"[ ]?(?:\d{1,4}[ ]?)?:)",
    re.IGNORECASE,
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

    That is the last fenced block of Python. Without one, it is the last run
    of lines of code with a function `solution` or `solver`, a variable `ans`
    or a `print`. A question of the model's own ends the text, but never
    before the first program. The time grows with the length of the text.

    Example:
        >>> extract_program("So:\n```python\nprint(9)\n```").code
        'print(9)\n'
    """
    lines = list(_lines(text))
    return _fenced(lines, text) or _bare(lines, text)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yields where each line begins, and the line."""
    start = 0
    for line in text.split("\n"):
        yield start, line
        start += len(line) + 1


def _fenced(lines: Sequence[tuple[int, str]], text: str) -> Program | None:
    """Returns the last fenced block; one never closed ends with the text."""
    found: Program | None = None
    fence, ours, begin = "", False, 0
    for start, line in lines:
        if fence:
            if not line.startswith(fence):
                continue
            if ours:
                found = Program(text[begin:start], begin, start)
            fence = ""
        elif opened := _FENCE.match(line):
            fence, language = opened.groups()
            ours = language.lower() in _LANGUAGES
            begin = min(start + len(line) + 1, len(text))
        elif found and _QUESTION.match(line):
            return found
    if fence and ours and text[begin:]:
        return Program(text[begin:], begin, len(text))
    return found


def _bare(lines: Sequence[tuple[int, str]], text: str) -> Program | None:
    """Returns the last lines of code that make an answer."""
    found: Program | None = None
    begin = end = 0
    inside = answers = False
    quote = ""  # that is open
    for start, line in lines:
        if not quote and (found or answers) and _QUESTION.match(line):
            break
        blank = not line.strip()
        code = bool(quote or _CODE.match(line))
        code |= inside and (blank or line[0] in " \t")
        if not code:
            if answers:
                found = Program(text[begin:end], begin, end)
            inside = answers = False
            continue
        if not inside:
            inside, begin = True, start
        if not quote and _ANSWERS.match(line):
            answers = True
        quote = _open_quote(line, quote)
        if not blank:
            end = start + len(line.rstrip())
    return Program(text[begin:end], begin, end) if answers else found


def _open_quote(line: str, quote: str) -> str:
    """Returns the triple quotes that are open after a line, or nothing."""
    at = 0
    while True:
        if quote:
            at = line.find(quote, at) + 3
            if at < 3:
                return quote
        opened = _QUOTES.search(line, at)
        if not opened or opened[0] == "#":
            return ""
        at = opened.end()
        quote = opened[0] if opened[0] in ("'''", '"""') else ""


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
