"""Texts that begin alike, in rows that hold each beginning once.

Sorted, the texts of a row are a prefix tree in the order of a depth-first
walk. A token is seen by the tokens behind it up to where its branch ends, and
by no other: so one number per token says all of the attention mask. Its
position is its depth.
"""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass
class TreeRow:
    """A row of a batch.

    Args:
        token_ids: The tokens.
        positions: The number of tokens before each in its texts.
        ends: The place behind the last token that sees each.
        places: Where the tokens of each text are, by its number.
    """

    token_ids: list[int] = dataclasses.field(default_factory=list)
    positions: list[int] = dataclasses.field(default_factory=list)
    ends: list[int] = dataclasses.field(default_factory=list)
    places: dict[int, list[int]] = dataclasses.field(default_factory=dict)

    def add(self, number: int, text: list[int], same: int, path: list[int]):
        """Adds a text.

        Args:
            number: Of the text.
            text: Its tokens.
            same: How many of them the text before has too.
            path: The places of the text before.
        """
        begin = len(self.token_ids)
        for place in path[same:]:
            self.ends[place] = begin
        new = len(text) - same
        self.token_ids += text[same:]
        self.positions += range(same, len(text))
        self.ends += [0] * new
        self.places[number] = [*path[:same], *range(begin, begin + new)]


def tree_rows(texts: Sequence[list[int]], room: int) -> list[TreeRow]:
    """Lays texts out in rows; linear in their tokens, after sorting.

    Args:
        texts: Token ids.
        room: The most tokens of a row; that of a longer text is longer.

    Returns:
        The rows. A beginning is held once in each row that needs it.

    Example:
        >>> [row] = tree_rows([[1, 2, 3], [1, 2, 4]], room=8)
        >>> row.token_ids, row.positions, row.ends
        ([1, 2, 3, 4], [0, 1, 2, 2], [4, 4, 3, 4])
    """
    rows: list[TreeRow] = []
    before: list[int] = []
    path: list[int] = []
    for number in sorted(range(len(texts)), key=texts.__getitem__):
        text = texts[number]
        same = _same(before, text)
        if not rows or len(rows[-1].token_ids) + len(text) - same > room:
            rows.append(TreeRow())
            same, path = 0, []
        rows[-1].add(number, text, same, path)
        before, path = text, rows[-1].places[number]
    for row in rows:
        length = len(row.token_ids)
        row.ends = [end or length for end in row.ends]
    return rows


def _same(one: list[int], other: list[int]) -> int:
    """Returns how many tokens two texts begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))
