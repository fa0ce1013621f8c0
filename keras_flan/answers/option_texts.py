"""Options found by their texts: the longest and whole ones win."""

import itertools
import re
import string
from collections.abc import Sequence
from typing import NamedTuple

from keras_flan.answers.cues import Piece
from keras_flan.answers.texts import plain

# So much of a text is searched for options behind a cue.
_REACH = 3000
_EDGES = " \t\n\"'`*_.:;,$"
_LEADS = ("", "the ", "a ", "an ", "that ", "$", "\\(", "\\text{", "to ")
_LINK = re.compile(r"[\s\"'*]{0,3}(?:,|;|/|\bor\b|\band\b|&)\s?(?:or\s|and\s)?")
_DENIED = re.compile(
    r"\b(?:not|never|isn't|nor|neither|than|instead of)\s(?:the\s|an?\s)?$"
)

# How a list of options names them.
_MARKS = (
    re.compile(r"(?<!\w)\(([A-Z])\)\s*"),
    *(
        re.compile(rf"(?<![\w(])([A-Z]){sign}\s+")
        for sign in (r"\)", r"\.", ":")
    ),
)


def option_names(number: int) -> list[str]:
    """Returns the names of so many options: A to Z, then AA, AB, ...

    Example:
        >>> option_names(28)[-3:]
        ['Z', 'AA', 'AB']
    """
    letters = string.ascii_uppercase
    names = (
        "".join(name)
        for size in itertools.count(1)
        for name in itertools.product(letters, repeat=size)
    )
    return list(itertools.islice(names, number))


def listed_options(question: str) -> list[str]:
    """Returns the texts of the options that a question lists last.

    They are listed from A on, all as `(A)`, `A)`, `A.` or `A:`; the last one
    ends with its line.

    Args:
        question: Or a whole prompt.

    Returns:
        The texts in order; none if fewer than two are listed.

    Example:
        >>> listed_options("Which is hot? Options: (A) fire (B) an ice cube")
        ['fire', 'an ice cube']
    """
    best: list[re.Match[str]] = []
    for mark in _MARKS:
        run: list[re.Match[str]] = []
        for found in mark.finditer(question):
            place = string.ascii_uppercase.index(found[1])
            if place != len(run):
                run = []  # Another list begins, or none.
            if place == len(run):
                run = [*run, found]
            if len(run) > 1 and (not best or run[0].start() >= best[0].start()):
                best = run
    if not best:
        return []
    end = question.find("\n", best[-1].end())
    ends = [m.start() for m in best[1:]]
    ends.append(end if end >= 0 else len(question))
    return [
        question[m.end() : end].strip()
        for m, end in zip(best, ends, strict=True)
    ]


class OptionTexts(NamedTuple):
    """The texts of the options of a question, to look for.

    Args:
        names: Their names: A, B, ...
        written: Their texts, as they were written.
        texts: The same, squeezed; empty where a text can't be told from
            another option's text or name.
    """

    names: Sequence[str]
    written: Sequence[str]
    texts: Sequence[str]

    @classmethod
    def of(cls, options: Sequence[str]) -> "OptionTexts":
        """Returns them for texts in order."""
        names = option_names(len(options))
        squeezed = [_squeeze(plain(text))[0].strip(_EDGES) for text in options]
        taken = {name.lower() for name in names}
        unclear = {
            text for text in squeezed if squeezed.count(text) > 1
        } | taken
        texts = ["" if text in unclear else text for text in squeezed]
        written = [plain(text).strip() for text in options]
        return cls(names, written, texts)

    def at_start(self, text: str, start: int, end: int) -> Piece | None:
        """Finds the longest option that `text[start:end]` begins with.

        Quotes, emphasis and articles before it don't count.
        """
        squeezed, offsets = _squeeze(text, start, min(end, start + _REACH))
        begin = len(squeezed) - len(squeezed.lstrip(_EDGES))
        best: tuple[int, int, int] | None = None
        for at, option in enumerate(self.texts):
            for lead in _LEADS if option else ():
                first = begin + len(lead)
                last = first + len(option)
                if (
                    squeezed.startswith(lead + option, begin)
                    and (best is None or last - begin > best[2] - begin)
                    and _ends(squeezed, last)
                ):
                    best = at, first, last
        return best and self._piece(best, offsets)

    def names_another(self, text: str, found: Piece, end: int) -> bool:
        """Whether another option is named behind one: `cats or dogs`."""
        link = _LINK.match(text, found[2], end)
        other = self.at_start(text, link.end(), end) if link else None
        return other is not None and other[0] != found[0]

    def whole(self, text: str, start: int, end: int) -> Piece | None:
        """Finds the option that `text[start:end]` is, but for its edges."""
        stripped = text[start:end].strip()
        forms = {stripped, stripped.removesuffix(".")} - {*self.names, ""}
        same = [at for at, option in enumerate(self.written) if option in forms]
        if len(same) == 1:
            first = text.index(stripped, start)
            option = self.written[same[0]]
            return self.names[same[0]], first, first + len(option)
        found = self.at_start(text, start, end)
        rest = text[found[2] : end].strip(_EDGES) if found else ""
        return None if rest else found

    def inside(self, text: str, start: int, end: int) -> Piece | None:
        """Finds the one option that `text[start:end]` names.

        What lies inside a longer option, or is denied, is not named.
        """
        squeezed, offsets = _squeeze(text, start, min(end, start + _REACH))
        hits: list[tuple[int, int, int]] = []
        for at, option in enumerate(self.texts):
            first = squeezed.find(option) if option else -1
            tries = 0
            while first >= 0 and tries < 8:
                last = first + len(option)
                if (
                    _begins(squeezed, first)
                    and _ends(squeezed, last)
                    and not _DENIED.search(squeezed, max(0, first - 20), first)
                ):
                    hits.append((at, first, last))
                first = squeezed.find(option, first + 1)
                tries += 1
        outer = [
            hit
            for hit in hits
            if not any(
                other[1] <= hit[1]
                and hit[2] <= other[2]
                and other[2] - other[1] > hit[2] - hit[1]
                for other in hits
            )
        ]
        if len({at for at, _, _ in outer}) != 1:
            return None
        return self._piece(outer[0], offsets)

    def _piece(
        self, hit: tuple[int, int, int], offsets: Sequence[int]
    ) -> Piece:
        at, first, last = hit
        return self.names[at], offsets[first], offsets[last - 1] + 1


def _squeeze(
    text: str, start: int = 0, end: int | None = None
) -> tuple[str, list[int]]:
    """Returns a part of a text in lower case with single blanks.

    And where in the text each of its characters stands.
    """
    characters: list[str] = []
    offsets: list[int] = []
    for at, char in enumerate(text[start:end], start):
        if char.isspace():
            if characters and characters[-1] == " ":
                continue
            char = " "
        lower = char.lower()
        characters.append(lower if len(lower) == 1 else char)
        offsets.append(at)
    return "".join(characters), offsets


def _begins(text: str, at: int) -> bool:
    """Whether a word or number may begin here."""
    if at == 0 or not text[at].isalnum():
        return True
    before = text[at - 1]
    inside = before in ".,/:-" and at > 1 and text[at - 2].isdigit()
    return not (before.isalnum() or (inside and text[at].isdigit()))


def _ends(text: str, at: int) -> bool:
    """Whether a word or number may end here."""
    if at >= len(text):
        return True
    after, last = text[at], text[at - 1]
    if after.isalnum() and last.isalnum():
        return False
    if last.isdigit() and after in ".,/:^" and text[at + 1 : at + 2].isdigit():
        return False
    return not (last.isdigit() and after == "%")
