"""Sequence tagging as text: CoNLL columns and `token:TAG` lines.

Tags are `O`, `B-type` and `I-type`. A record holds the tokens (`text`) and
the tags (`tags`) divided by blanks, and the answer: what the tags mark, such
as `person: Ada Lovelace; location: London`, or `none`.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from keras_flan.data.importers import base
from keras_flan.files import read_text

_TAG = re.compile(r"O|[BI]-(\S+)")
_END = " <=> <NULL>"


def _fields(tokens: list[str], tags: list[str]) -> base.Found:
    """Returns the fields of a sentence, or why it can't be used."""
    spans: list[tuple[str, list[str]]] = []
    kind = None
    for token, tag in zip(tokens, tags, strict=True):
        match = _TAG.fullmatch(tag)
        if not token or token != "".join(token.split()):
            return f"expected a token without blanks, found {token!r:.40}"
        if not match:
            return f"expected O, B-type or I-type as tag, found {tag!r:.40}"
        # As conlleval does: an I without a B before it begins a span.
        if match[1] and (tag[0] == "B" or match[1] != kind):
            spans.append((match[1], []))
        if match[1]:
            spans[-1][1].append(token)
        kind = match[1]
    marked = [f"{kind}: {' '.join(words)}" for kind, words in spans]
    return {
        "text": " ".join(tokens),
        "tags": " ".join(tags),
        "answer": "; ".join(marked) or "none",
    }


def _conll_sentences(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields number of the first line and lines of each sentence."""
    lines: list[str] = []
    for number, line in enumerate([*read_text(path).split("\n"), ""], 1):
        # Files put together from several have byte-order marks inside.
        is_break = not line.strip("\ufeff \t\r")
        is_break = is_break or line.startswith("-DOCSTART-")
        if is_break and lines:
            yield number - len(lines), lines
            lines = []
        elif not is_break:
            lines.append(line)


def _language_prefix(sentences: list[tuple[int, list[str]]]) -> str:
    """Returns what every token of a file begins with, as WikiANN's "en:"."""
    lines = [line for _, lines in sentences for line in lines]
    found = re.match(r"[a-z]{2,3}(-[a-z]+)*:(?=\S)", "".join(lines[:1]))
    prefix = found[0] if found else ""
    return prefix if all(line.startswith(prefix) for line in lines) else ""


def _conll_rows(path: Path) -> Iterator[base.Row | base.Reject]:
    sentences = list(_conll_sentences(path))
    prefix = _language_prefix(sentences)
    for number, lines in sentences:
        cells = [
            re.split(r"[\t ]+", line.removeprefix(prefix).strip("\r"))
            for line in lines
        ]
        short = next((line for line in cells if len(line) < 2), None)
        found: base.Found
        if short is not None:
            found = f"expected a token and a tag, found {short[0]!r:.40}"
        else:
            # Columns between them, as in CoNLL-2003, are not used.
            found = _fields([c[0] for c in cells], [c[-1] for c in cells])
        yield base.row_or_reject(path, number, found, "\n".join(lines))


def _slots(line: str) -> base.Found:
    if not line.endswith(_END):
        return f"expected the line to end with {_END!r}"
    items = line.removesuffix(_END).split(" ")
    pairs = [item.rpartition(":") for item in items]
    return _fields([p[0] for p in pairs], [p[2] for p in pairs])


def _read_conll(path: Path, options: base.Options) -> base.Source:
    name = base.task_name(path, "conll")
    return base.Source(_conll_rows(path), name, "named_entities", "text")


def _read_slots(path: Path, options: base.Options) -> base.Source:
    rows, name = base.line_rows(path, _slots), base.task_name(path, "slots")
    return base.Source(rows, name, "slot_filling", "text")


CONLL = base.Importer(
    format="conll",
    summary="CoNLL (also WikiANN): token and tag per line; a blank line ends",
    read=_read_conll,
)
SLOTS = base.Importer(
    format="slots",
    summary="`token:TAG token:TAG <=> <NULL>` lines, as MIT Movie has them",
    read=_read_slots,
)
