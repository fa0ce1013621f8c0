# ruff: noqa: RUF001 (models do write these quotes, signs and dashes)
"""Answers in words: yes or no, validity, free text, lists and brackets."""

import re
from collections.abc import Mapping

from keras_flan.answers.cues import Found, Piece, last_group, segments
from keras_flan.answers.texts import folded, plain

_YES_NO = {"yes": "yes", "no": "no", "true": "yes", "false": "no"}
_VALIDITY = {"valid": "valid", "invalid": "invalid"}
_YES_NO_WORD = re.compile(r"(?<!\w)(?:yes|no|true|false)(?!\w)", re.IGNORECASE)
_VALIDITY_WORD = re.compile(r"(?<!\w)(?:in)?valid(?!\w)", re.IGNORECASE)
_SIDE = re.compile(
    r"(?P<word>\b(?:yes|no)\b)"
    r"|(?P<not>\b(?:not|no longer)\s(?:still\s|now\s)?)?"
    r"(?<!\ba coin is )\b(?P<side>heads|tails)[\s-]up(?![\"”']?\?)",
    re.IGNORECASE,
)
# Quoted, announced or alone in the closing line.
_SPELLED = re.compile(
    r"""
      ["“'‘]([^"”'’\n]{1,200})["”'’]
    | (?:^|\b(?:is|are)\s|[:=→]\s?)
      ([^\W\d_](?:[\s,.-]{0,3}[^\W\d_]){0,100})\s?\.?\s?$
    """,
    re.VERBOSE | re.MULTILINE,
)
_SENTENCE = re.compile(r"(?:^|(?<=[.!?]\s))[\s\"'“*(]{0,10}", re.MULTILINE)
_WHOLE_SENTENCE = re.compile(r"[^\s.!?][^\n.!?]{0,1000}")
_CONCLUSION = re.compile(r"(?:Therefore|Thus|Hence|So|In conclusion)\b")
_STATES = re.compile(
    r"\b(?:is|are|was|were|can|could|cannot|would|will|do|does|did|has|have|had"
    r"|should|may|might|must)\b|n't\b",
    re.IGNORECASE,
)
_DENIES = re.compile(
    r"\b(?:not|no|never|cannot|unlikely|impossible|neither|none)\b|n't\b",
    re.IGNORECASE,
)
_UNSURE = re.compile(
    r"\b(?:unclear|unknown|unsure|uncertain|insufficient|depends?|difficult"
    r"|hard\sto|not\s(?:enough|sufficient|clear|known)|don't\sknow"
    r"|(?:cannot|not|impossible|can't)\s(?:\w{1,12}\s){0,2}"
    r"(?:determined?|answer(?:ed)?|know[n]?|say|said|tell|told))\b",
    re.IGNORECASE,
)
# Longer lines are cut before rules that look at the closing line only.
_CLOSING = 300
_EDGES = " \t\r\n\"'“”‘’`*_"
_BULLET = re.compile(r"(?:^|\n)[ ]{0,8}(?:[-*•]|\d{1,3}[.)])[ ]")
_BULLETS = re.compile(rf"\s*?(?:{_BULLET.pattern}[^\n]{{1,200}}){{1,100}}")
_BRACKETS = re.compile(r"[\[\](){}<>][\[\](){}<>\s]*")


def find_yes_no(text: str) -> Found | None:
    """Returns (yes or no, start, end, rule); true and false count too.

    Without such a word, a conclusion answers by what it states or denies:
    `Answer: Pigs cannot fly.` A conclusion is the only sentence behind a
    label, or one that begins with "Therefore" and the like; what is unsure,
    or states no fact, is none.
    """
    return _find_word(text, _YES_NO_WORD, _YES_NO) or _stated(text)


def _stated(text: str) -> Found | None:
    parts = list(segments(text))
    if parts and parts[0].cue != "label":
        return None
    start, end = parts[0][2:4] if parts else (_closing(text), len(text))
    sentences = list(_WHOLE_SENTENCE.finditer(text, start, end))
    concluding = [s for s in sentences if _CONCLUSION.match(s[0])]
    if not concluding and not (parts and len(sentences) == 1):
        return None
    said = (concluding or sentences)[-1]
    if _UNSURE.search(said[0]) or not _STATES.search(said[0]):
        return None
    value = "no" if _DENIES.search(said[0]) else "yes"
    return value, *said.span(), "statement"


def find_coin(text: str) -> Found | None:
    """Returns (yes or no, start, end, rule): is the coin still heads up?

    Besides yes and no, a statement of the side counts.
    """
    for cue, _, start, end, _ in segments(text):
        if cue == "label":
            if found := _coin(text, start, end):
                return (*found, cue)
        else:
            line = _line(text, start, end)
            found = _coin(text, start, line[2]) if line else None
            return (*found, cue) if found else None
    found = _coin(text, _closing(text), len(text))
    return (*found, "closing") if found else None


def find_letters(text: str) -> Found | None:
    """Returns (joined letters, start, end, rule).

    That is the text after the last cue, else what a closing line quotes or
    announces: `The concatenated last letters are "yajo".`
    """
    found = _answer_line(text)
    if found and " " not in found[0]:
        return (normalise_letters(found[0]), *found[1:])
    matches = list(_SPELLED.finditer(text, _closing(text)))
    if not matches:
        return None
    value, start, end = last_group(matches[-1])
    return normalise_letters(value), start, end, "closing"


def find_validity(text: str) -> Found | None:
    """Returns (valid or invalid, start, end, rule)."""
    return _find_word(text, _VALIDITY_WORD, _VALIDITY)


def find_text(text: str) -> Found | None:
    """Returns (value, start, end, rule) of a free-text answer.

    It is the line after the last cue. A text of a single line without a cue
    is the answer itself; of several lines it is a rationale that never came
    to its answer, and abstains.
    """
    found = _answer_line(text)
    return found and (normalise_text(found[0]), *found[1:])


def find_list(text: str) -> Found | None:
    """Returns (items joined by blanks, start, end, rule).

    They stand in the line after the last cue, or below it behind bullets.
    """
    for cue, _, start, end, _ in segments(text):
        if items := _BULLETS.match(text, start, end):
            return normalise_list(items[0]), *_trim(items), cue
        break
    found = _answer_line(text)
    return found and (normalise_list(found[0]), *found[1:])


def find_brackets(text: str) -> Found | None:
    """Returns (brackets joined by blanks, start, end, rule)."""
    for cue, _, start, end, _ in segments(text):
        if match := _BRACKETS.search(text, start, end):
            return normalise_brackets(match[0]), *_trim(match), cue
    if match := _BRACKETS.fullmatch(text.strip(_EDGES + ".")):
        start = text.index(match[0])
        return (
            normalise_brackets(match[0]),
            start,
            start + len(match[0]),
            "whole",
        )
    return None


def normalise_yes_no(value: str) -> str | None:
    """Returns yes or no for the first such word, else None."""
    match = _YES_NO_WORD.search(value)
    return match and _YES_NO[match[0].lower()]


def normalise_validity(value: str) -> str | None:
    """Returns valid or invalid for the first such word, else None."""
    match = _VALIDITY_WORD.search(value)
    return match and _VALIDITY[match[0].lower()]


def normalise_letters(value: str) -> str | None:
    """Returns the letters without blanks, quotes, commas and hyphens."""
    return re.sub(r"[\s,.\-\"'“”‘’`*_]", "", value).casefold() or None


def normalise_text(value: str) -> str | None:
    """Folds Unicode forms, case, quotes, blanks and a final full stop."""
    value = folded(value).strip(_EDGES).removesuffix(".")
    return value.strip(_EDGES) or None


def normalise_list(value: str) -> str | None:
    """Returns the items joined by blanks, without commas, bullets and quotes.

    Example:
        >>> normalise_list("ant, 'bee' and cat"), normalise_list("ant bee cat")
        ('ant bee cat', 'ant bee cat')
    """
    value = folded(_BULLET.sub(", ", plain(value)))
    items = [item.strip(_EDGES) for item in re.split("[,;]", value)]
    if len(items := [item for item in items if item]) > 1:
        *items, last = items
        last = last.removeprefix("and ").replace(" and ", " ")
        items.append(last)
    words = re.split(r"\s+", " ".join(items).strip(_EDGES + ".[](),;"))
    return " ".join(word.strip(_EDGES + ",") for word in words) or None


def normalise_brackets(value: str) -> str | None:
    """Returns the brackets of a text, joined by blanks."""
    return " ".join(re.findall(r"[\[\](){}<>]", value)) or None


def _coin(text: str, start: int, end: int) -> Piece | None:
    """Returns what a passage says first in words, or last about the side."""
    found = None
    for match in _SIDE.finditer(text, start, end):
        if match["word"] and found is None:
            return match["word"].lower(), *match.span()
        if match["side"]:
            heads = (match["side"].lower() == "heads") != bool(match["not"])
            found = ("yes" if heads else "no", *match.span())
    return found


def _find_word(
    text: str, pattern: re.Pattern[str], values: Mapping[str, str]
) -> Found | None:
    for cue, _, start, end, _ in segments(text):
        if match := pattern.search(text, start, end):
            return values[match[0].lower()], *match.span(), cue
        if cue != "label":
            return None
    # A sentence that opens with the word answers; inside one, "no" is often
    # a mere determiner.
    if match := pattern.match(text, len(text) - len(text.lstrip(_EDGES + "("))):
        return values[match[0].lower()], *match.span(), "first"
    for sentence in _SENTENCE.finditer(text, _closing(text)):
        if match := pattern.match(text, sentence.end()):
            return values[match[0].lower()], *match.span(), "closing"
    return None


def _answer_line(text: str) -> tuple[str, int, int, str] | None:
    for cue, _, start, end, _ in segments(text):
        # After a label, several lines are a rationale, not an answer.
        if cue == "label" and "\n" in text[start:end].strip():
            continue
        if found := _line(text, start, end):
            return (*found, cue)
    if "\n" not in text.strip() and (found := _line(text, 0, len(text))):
        return (*found, "whole")
    return None


def _closing(text: str) -> int:
    """Returns where the last line begins, at most 300 characters back."""
    end = len(text.rstrip())
    return max(text.rfind("\n", 0, end) + 1, end - _CLOSING)


def _line(text: str, start: int, end: int) -> Piece | None:
    """Returns the first line with something on it, trimmed, and its span."""
    for line in re.finditer(r"[^\n]+", text[start:end]):
        value = line[0].strip(_EDGES).removesuffix(".").strip(_EDGES)
        if value.strip(":.,;!?"):
            first = start + line.start() + line[0].index(value)
            return value, first, first + len(value)
    return None


def _trim(match: re.Match[str]) -> tuple[int, int]:
    return match.start(), match.start() + len(match[0].rstrip())
