# ruff: noqa: RUF001, RUF002 (these are the signs that it reads)
"""The one home of Unicode: texts as rules read them, and as they compare."""

import unicodedata
from functools import cache

_DASHES = "‐‑‒–—―−⁃﹘﹣－"
_QUOTES = {"'": "‘’‚‛′＇", '"': "“”„‟″«»「」『』＂"}
_BRACKETS = {"(": "❨﹙", ")": "❩﹚", "[": "【〔〖", "]": "】〕〗"}
_MARKS = {
    "-": _DASHES,
    ".": "。．٫।",
    ",": "、٬،",
    "/": "⁄∕",
    "?": "؟",
    ":": "∶",
    # What looks like nothing separates nothing: marks of byte order and width.
    " ": "\ufeff\u200b\u200c\u200d\u2060\r",
    "\n": "\u2028\u2029\x85",
    # A blank that may stand in a number keeps its meaning.
    "\u00a0": "\u2007\u2009\u202f",
}
# Compatibility forms that are letters and marks; superscripts are not:
# 10² is not 102.
_FORMS = ("<wide>", "<narrow>", "<small>", "<font>", "<circle>")
# All digits and compatibility forms of one letter stand below.
_END = 0x20000


@cache
def _plain_forms() -> dict[int, str]:
    table: dict[int, str] = {}
    for code in range(128, _END):
        char = chr(code)
        category = unicodedata.category(char)
        if category == "Nd":
            table[code] = str(unicodedata.decimal(char))
        elif category == "Zs" and char != "\u00a0":
            table[code] = " "
        elif unicodedata.decomposition(char).startswith(_FORMS):
            form = unicodedata.normalize("NFKC", char)
            if len(form) == 1 and form.isascii():
                table[code] = form
    for marks in (_QUOTES, _BRACKETS, _MARKS):
        for plain, forms in marks.items():
            table.update(dict.fromkeys(map(ord, forms), plain))
    return table


def plain(text: str) -> str:
    """Returns a text as the rules read it; its length stays the same.

    Digits of every script are 0-9, dashes are hyphens, full-width and other
    typographic forms of ASCII are ASCII. So a place in it is the same place
    in the text.

    Example:
        >>> plain("উত্তর হল ১৮"), plain("（Ｂ）"), plain("−5")
        ('উত্তর হল 18', '(B)', '-5')
    """
    if text.isascii():
        return text.replace("\r", " ")
    return text.translate(_plain_forms()).replace("\r", " ")


def folded(text: str) -> str:
    """Returns what texts are compared by: forms, case and blanks don't count.

    Example:
        >>> folded("Ｎｅｗ  York—City") == folded("new york-city")
        True
    """
    composed = unicodedata.normalize("NFKC", plain(text))
    return " ".join(composed.casefold().split())
