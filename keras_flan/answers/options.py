"""The letter of a multiple-choice answer, or the option that a text names.

A letter is read after a cue by its form alone, so that none is favoured: "A"
and "I" are words only where every letter would be one.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from keras_flan.answers.cues import (
    Choices,
    Found,
    Piece,
    Segment,
    segments,
    unannounced,
)
from keras_flan.answers.option_texts import OptionTexts
from keras_flan.answers.texts import plain

# A name: a letter, or two capitals where there are more than 26 options.
_NAME = r"(?:[A-Z]{2}|[A-Za-z])"
# What goes on with a word that a name might begin; scripts that write no
# blanks are none of it.
_LATIN = r"A-Za-z0-9_\u00c0-\u024f"
# What may stand between a cue and the letter: marks, hedges, what it is.
_LEAD = re.compile(
    r"""
    [\s:*_"'`$\\]{0,20}(?:(?:text|textbf|mathrm|mathbf|mathit)\{)?
    (?:(?:most\slikely|most\sprobably|probably|likely|possibly|definitely
      |certainly|clearly|surely|actually|indeed|simply|just|therefore|thus
      |i\sthink|i\sbelieve|either|both|the|correct|right|best|following
      |first|second|third|fourth|fifth|last
      |option|choice|answer|letter|statement|number|that|is|be|it's|it\sis
      |la|el|der|die|das|le|les|opción|opcion|вариант)
      [\s:*_"'`,]{1,5}|(?:选项|選項|选择|選)\s?){0,6}
    [*_"'`$]{0,4}
    """,
    re.VERBOSE | re.IGNORECASE,
)
# A letter where one is expected: in brackets, before one, or bare.
_LETTER = re.compile(
    rf"""
      [\[({{<]\s?(?P<boxed>{_NAME})\s?(?:[\])}}>]|\Z)
    | (?P<closed>{_NAME})[\])]
    | (?P<bare>{_NAME})(?![{_LATIN}+=]|[-.'][{_LATIN}])
    """,
    re.VERBOSE,
)
# A letter that shows itself to be one, anywhere.
_MARKED = re.compile(
    rf"""
      (?<![{_LATIN}])[\[(]\s?({_NAME})\s?(?:[\])]|\Z)
    | (?<![\w'(\[])({_NAME})\)
    | \b(?:[Oo]ption|[Cc]hoice|[Ll]etter)\s({_NAME})(?!\w)
    | \b(?:but|rather|instead|it\sis|it's)\s,?[(\[]?([A-Z]{{1,2}})(?![\w'])
    """,
    re.VERBOSE,
)
_LISTED = re.compile(r"\n[ ]{0,8}[\[(]?[A-Za-z][\])]")
# Behind a bare capital at the beginning of a sentence: it was a letter.
_REASON = re.compile(
    r"\s?(?:[^\w\s]|$|\n)|\s(?:because|since|as|for|is|was|and|or|which|with"
    r"|would|due|by|given|if|but)\b|\s[^a-z]|[^\x00-\u024f]"
)
# Behind a bare small letter: it was no word.
_ENDED = re.compile(r"\s{0,3}(?:[.,;:)\]}\"'*$-]|\n|$)")
_QUOTED = re.compile(r"[\s*_\"'`]{0,10}")
# "(A) or (B)" chooses nothing; "A, B is wrong" does.
_ANOTHER = re.compile(
    rf"""
    \s?[\])}}]?["'*]{{0,3}}\s?
    (?:,\s?(?:and|or)\s|,|;|/|&|\+|\band\s|\bor\s|\bas\swell\sas\s)\s?
    (?:[Oo]ption\s|[Cc]hoice\s|either\s)?
    (?:[\[(]\s?(?P<boxed>{_NAME})\s?[\])]
      |(?P<bare>[A-Z]{{1,2}}|[a-z](?=\s?(?:[.,;)\n]|and\b|or\b|$)))(?![\w']))
    (?!\s(?:is|was|has|does|can|cannot|isn't|would|could|think|believe|will)\b)
    """,
    re.VERBOSE,
)
_DENIED_BEFORE = re.compile(
    r"(?:\b(?:not|never|neither|nor|cannot|than|instead\sof|except|wrong"
    r"|incorrect)|n't)\s{1,3}(?:be\s)?(?:the\s)?(?:option\s|choice\s|letter\s"
    r"|answer\s)?[\[(\"'*]{0,3}$",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"[\])\"'*]{0,3}\s(?:[^A-Za-z\n]{0,20}\s)?(?:(?:is|are|was|would\sbe|seems)\s(?:not\b|never\b"
    r"|clearly\s|definitely\s|obviously\s)?\s?(?:wrong|incorrect|false"
    r"|(?<=not\s)\w+)|(?:is|was)n't\b|cannot\b|can't\b|is\snot\b)"
)
# What says so without the word "answer" before the letter.
_CHOSEN = re.compile(
    rf"""
      \b(?:correct|right|best|final)\s(?:option|choice|letter)\s
      (?:is|would\sbe|:)\s{{0,3}}(?:option\s)?[\[(*"']{{0,3}}({_NAME})(?!\w)
    | \b(?:choose|chose|pick|select|go\swith|opt\sfor)\s(?:the\s)?
      (?:option\s|choice\s|letter\s)?[\[(*"']{{0,3}}([A-Z]{{1,2}})(?!\w)
    | (?:\b[Oo]ption\s|\b[Cc]hoice\s|\b[Aa]nswer\s)?
      (?<![\w'])[\[(]?([A-Z]{{1,2}})[\])]?["'*]{{0,3}}\s
      (?:is|must\sbe|would\sbe|seems|looks)\s(?:\w{{1,12}}\s){{0,2}}
      (?:correct|right|true|best|answer)\b
    | \b(?:[Oo]ption|[Cc]hoice)\s[\[(]?({_NAME})[\])]?\s(?:is|would\sbe)\b
    """,
    re.VERBOSE,
)
# Where a closing line without a cue names its option.
_CLOSING = re.compile(
    rf"""
      (?:^|\b(?:is|be|option|choice)\s|[=:]\s?)[\s*:]{{0,5}}
      (?:option\s)?[\[(]?([A-Z]{{1,2}})(?:[\])]|\.\s)
    | (?:^|\b(?:is|be)\s)[\[(]([a-z])[\])]
    | [\[(]({_NAME})[\])]\W{{0,5}}$
    """,
    re.VERBOSE,
)
_VERB = re.compile(r"\b(?:is|be|it's)\s")
_ALONE = re.compile(rf"\W{{0,20}}({_NAME})\W{{0,20}}")


class _Asked(NamedTuple):
    """The names of the options, if known, and their texts."""

    names: Sequence[str] | None
    texts: OptionTexts | None

    def allows(self, letter: str) -> bool:
        if self.names is None:
            return len(letter) == 1
        return letter.upper() in self.names


# So many cues are looked at for an option with a cue in its text.
_CUES = 8

# A letter with its span; its value is None where a look settles that no
# option is chosen.
Look = tuple[str | None, int, int]


def find_option(text: str, choices: Choices = None) -> Found | None:
    """Returns (name, start, end, rule) of the chosen option.

    After the last cue, in this order: the longest option text that stands
    there; the letter that stands there, however hedged; a letter that shows
    itself to be one (`(b)`, `option B`); the one option whose text stands in
    the rest. What is denied is skipped; several letters choose nothing. What
    calls an option correct is a cue too. Without a cue, the last line counts.

    Args:
        text: What `plain` returned.
        choices: The texts of the options in order, or a string of letters
            such as `"ABCD"` when only their number is known.
    """
    asked = _asked(choices)
    parts = list(segments(text))
    # An option may itself say "the answer is".
    if texts := asked.texts:
        for part in reversed(parts[-_CUES:]):
            if whole := texts.whole(text, part.start, len(text)):
                return (*whole, part.cue)
    chosen = _last_chosen(text, asked)
    for part in parts:
        if chosen and chosen[1] >= part.end:
            break
        if found := _in_segment(text, part, asked):
            if chosen and chosen[1] > found[2] and found[0] is not None:
                break
            return (*found, part.cue)
        if chosen and chosen[1] >= part.start:
            break
    if chosen:
        return (*chosen, "chosen")
    body = unannounced(text, parts)
    return None if body is None else _unannounced(body, asked)


def normalise_option(value: str) -> str | None:
    """Returns the bare letter: `(b)`, `B.` and `B) 300` become `B`."""
    match = re.match(r"\s*[\[(]?\s?([A-Z]{2}|[A-Za-z])(?!\w)", plain(value))
    return match[1].upper() if match else None


def _asked(choices: Choices) -> _Asked:
    if not choices:
        return _Asked(None, None)
    if isinstance(choices, str):
        return _Asked(list(choices), None)
    texts = OptionTexts.of(choices)
    return _Asked(texts.names, texts)


# === Behind a cue ===


def _in_segment(text: str, part: Segment, asked: _Asked) -> Look | None:
    start, end = part.start, part.end
    lead = _LEAD.match(text, start, end)
    first = lead.end() if lead else start
    if texts := asked.texts:
        for begin in (start, first):
            if found := texts.at_start(text, begin, end):
                several = texts.names_another(text, found, end)
                return (None, *found[1:]) if several else found
    letter = _letter_at(text, first, end, part.cue == "label")
    # The options, listed once more, are no answer.
    listed = len(_LISTED.findall(text, start, end)) > 2
    marked = () if listed else _MARKED.finditer(text, start, end)
    for match in (letter, *marked):
        if match is None:
            continue
        name, at, stop = _group(match)
        if asked.allows(name) and not _denied(text, at, stop):
            if _names_another(text, name, stop, end, asked):
                return None, at, stop
            return name.upper(), at, stop
    return texts.inside(text, start, end) if texts else None


def _letter_at(
    text: str, start: int, end: int, sentence: bool
) -> re.Match[str] | None:
    """Matches the letter that stands right here.

    Args:
        text: The text.
        start: Where it is expected.
        end: Where the passage ends.
        sentence: Whether a sentence may begin here, whose first word "A" or
            "I" may be.
    """
    match = _LETTER.match(text, start, end)
    if match is None or not match["bare"]:
        return match
    if match["bare"].isupper():
        follows = not sentence or _REASON.match(text, match.end(), end)
        return match if follows else None
    return match if _ENDED.match(text, match.end(), end) else None


def _group(match: re.Match[str]) -> Piece:
    for number in range(1, (match.re.groups or 0) + 1):
        if match[number]:
            return match[number], *match.span(number)
    return "", match.start(), match.end()


def _denied(text: str, start: int, end: int) -> bool:
    """Whether a passage says that a letter is not the answer."""
    before = _DENIED_BEFORE.search(text, max(0, start - 40), start)
    return bool(before or _DENIED_AFTER.match(text, end))


def _names_another(
    text: str, name: str, start: int, end: int, asked: _Asked
) -> bool:
    match = _ANOTHER.match(text, start, end)
    if not match:
        return False
    other = match["boxed"] or match["bare"]
    return other.upper() != name.upper() and asked.allows(other)


def _last_chosen(text: str, asked: _Asked) -> Look | None:
    """Returns the last letter that is called correct, or chosen."""
    found: Look | None = None
    for match in _CHOSEN.finditer(text):
        name, start, end = _group(match)
        if asked.allows(name) and not _denied(text, start, end):
            several = _names_another(text, name, end, len(text), asked)
            found = (None if several else name.upper()), start, end
    return found


# === Without a cue ===


def _unannounced(text: str, asked: _Asked) -> Found | None:
    stripped = text.strip()
    if not stripped:
        return None
    begin = text.index(stripped)
    last = text.rfind("\n", 0, begin + len(stripped)) + 1
    end = begin + len(stripped)
    if asked.texts:
        for start in dict.fromkeys((begin, last)):
            if found := asked.texts.whole(text, start, end):
                return (*found, "choice")
    found, rule = _closing_letter(text, last, end, last <= begin)
    if found is None:
        found = asked.texts.inside(text, last, end) if asked.texts else None
        return (*found, "choice") if found else None
    name, start, stop = found
    if not asked.allows(name) or _denied(text, start, stop):
        return None
    if _names_another(text, name, stop, end, asked):
        return None
    return name.upper(), start, stop, rule


def _closing_letter(
    text: str, start: int, end: int, single: bool
) -> tuple[Piece | None, str]:
    if match := _ALONE.fullmatch(text, start, end):
        return _group(match), "alone"
    lead = _QUOTED.match(text, start, end)
    first = lead.end() if lead else start
    if single and (match := _letter_at(text, first, end, True)):
        return _group(match), "first"
    if match := _CLOSING.search(text[start:end]):
        name, at, stop = _group(match)
        return (name, start + at, start + stop), "closing"
    for verb in reversed(list(_VERB.finditer(text, start, end))):
        lead = _LEAD.match(text, verb.end(), end)
        match = _letter_at(text, lead.end() if lead else 0, end, True)
        if match and _ENDED.match(text, match.end(), end):
            return _group(match), "closing"
    return None, ""
