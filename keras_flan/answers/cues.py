"""Where in a text an answer stands: what is read of it, and its cues."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

# A piece of a text, and where it begins and ends.
Piece: TypeAlias = tuple[str, int, int]
# The canonical value (None: a look at it settles that there is none), where
# it begins and ends in the text, and the rule that found it.
Found: TypeAlias = tuple[str | None, int, int, str]
# The texts of the options in order, or a string of letters such as "ABCD".
Choices: TypeAlias = Sequence[str] | None

# An answer stands at the end; a bound keeps every rule fast on any input.
WINDOW = 10_000

# What a model writes when it goes on with a question of its own: at the
# beginning of a line, or, as T5 knows no line break, anywhere.
_NEXT_QUESTION = re.compile(
    r"""
      (?P<sure>\n\s{0,20}(?:Q|Question|Problem)\s?\d{0,3}:)
    | (?<![^\s])\#{0,4}[ ]?
      (?:(?:Next\s|New\s)?(?:Q|Question|Problem|Input|Task|Exercise|Instruction
        |Instructions|Passage|Premise|Human|User)\s?\d{0,3}:(?!\w)
      |\[(?:Question|Problem|Input|Instruction|Task)\])
    """,
    re.VERBOSE,
)
# Who announces more answers than these announces none.
_MOST_CUES = 100
# A line that short, with nothing announced in it, is an answer.
_BARE = 40

# The marks are unambiguous; a phrase is followed by the answer itself; a
# label may be followed by a whole sentence.
_CUE = re.compile(
    r"""
      (?P<mark>\#\#\#\#|\\f?boxed\s?\{|\bans\s?=)
    | (?P<phrase>
        \banswer\b(?!\s(?:choice|option)s)(?:[^\n.:]{0,40}?\b(?:is|are|was|were
          |(?:would|should|must|will|could)\sbe)\b|\s?=)[\s:]*
      | \bAntwort\s(?:ist|lautet|beträgt)[\s:]*
      | \brespuesta\s(?:final\s|correcta\s)?es[\s:]*
      | \bréponse\s(?:finale\s|correcte\s)?est[\s:]*
      | \bresposta\s(?:final\s|correta\s)?é[\s:]*
      | \brisposta\s(?:finale\s|corretta\s)?è[\s:]*
      | \bJibu\s(?:la\smwisho\s)?ni
      | Ответ\s?[-:]
      | উত্তর\s?(?:হলো|হল|:)
      | సమాధానం
      | คำตอบ\s?(?:คือ|:)
      | 答えは
      | 答案\s?(?:应该是|應該是|是|为|為|选|選|:)
      | (?:정답|답)(?:은|:)
      )
    | (?P<label>\b(?:answer|Antwort|Respuesta|Réponse|Resposta|Risposta|Jibu)
        \s?\**:|^\s{0,20}A\s?:)
    """,
    re.VERBOSE | re.IGNORECASE | re.MULTILINE,
)
_NOTHING = " \n\t*:_$"
# The language that a cue is in, by how it begins.
_LANGUAGES = {
    "antwort": "de",
    "respuesta": "es",
    "réponse": "fr",
    "resposta": "pt",
    "risposta": "it",
    "jibu": "sw",
    "ответ": "ru",
}


class Segment(NamedTuple):
    """The text between one cue and the next: `text[start:end]`.

    Args:
        cue: `mark`, `phrase` or `label`.
        at: Where the cue begins.
        start: Where it ends, and the segment begins.
        end: Where the segment ends.
        language: The language of the cue, where it matters to numbers.
    """

    cue: str
    at: int
    start: int
    end: int
    language: str | None


def last_group(match: re.Match[str]) -> Piece:
    """Returns the group that matched last."""
    group = match.lastindex or 0
    return match[group], *match.span(group)


def window(text: str) -> tuple[str, int]:
    """Returns the last 10,000 characters, and where they begin."""
    offset = max(0, len(text) - WINDOW)
    return text[offset:], offset


def heads(text: str) -> Iterator[str]:
    r"""Yields what to read of a text, in the order to try.

    A model may go on with a question of its own, whose answer is none. The
    text ends there; but never before its first answer, so a text that asks
    before it answers is read further, up to the next question behind its
    first cue or to its end.

    Example:
        >>> list(heads("The answer is 5. Q: 2 + 2? A: The answer is 4."))[0]
        'The answer is 5. '
    """
    # A text that opens with a line break has not answered anything yet.
    lead = len(text) - len(text.lstrip())
    cue = _CUE.search(text)
    answered = cue.end() if cue else len(text)
    markers = list(_NEXT_QUESTION.finditer(text, lead + 1))
    behind = next((m.start() for m in markers if m.start() >= answered), None)
    for marker in markers:
        end = marker.start()
        if marker["sure"] or end == behind or _is_bare(text[lead:end]):
            yield text[:end]
            if cue and end < answered:
                yield text[:behind]
            return
    yield text


def before_next_question(text: str) -> str:
    """Returns a text up to a line in which the model asks a question."""
    lead = len(text) - len(text.lstrip())
    for marker in _NEXT_QUESTION.finditer(text, lead + 1):
        if marker["sure"]:
            return text[: marker.start()]
    return text


def _is_bare(text: str) -> bool:
    """Whether a text is a bare answer: short, and it announces nothing."""
    return len(text) <= _BARE and not re.search(r"[:\n]", text.strip())


def cut_at_stop(text: str, stop: Sequence[str]) -> str:
    r"""Returns the part of an output before the first stop text.

    A stop text before anything was written doesn't count: a model may open
    with line breaks.

    Example:
        >>> cut_at_stop(" 4\nQ: next", ["\nQ:"])
        ' 4'
    """
    start = len(text) - len(text.lstrip())
    ends = [text.find(mark, start) for mark in stop]
    return text[: min((end for end in ends if end >= 0), default=None)]


def segments(text: str) -> Iterator[Segment]:
    """Yields what follows each of the last cues, the last one first."""
    end = len(text)
    for cue in reversed(list(_CUE.finditer(text))[-_MOST_CUES:]):
        kind, words = cue.lastgroup or "", cue[0].lower()
        language = next(
            (name for word, name in _LANGUAGES.items() if word in words), None
        )
        yield Segment(kind, cue.start(), cue.end(), end, language)
        end = cue.start()


def unannounced(text: str, parts: Sequence[Segment]) -> str | None:
    """Returns what closes without a cue; None where a cue announces.

    Labels with nothing behind them announce nothing: they close what stands
    before them.

    Args:
        text: The text.
        parts: Its `segments`.
    """
    for part in parts:
        if text[part.start : part.end].strip(_NOTHING):
            return None
    return text[: parts[-1].at] if parts else text
