"""Which texts begin alike, and are worth reading behind what they share."""

import dataclasses
import itertools
from collections.abc import Sequence

# Reading a beginning by itself is worth so many tokens that it saves.
_WORTH = 256


@dataclasses.dataclass(frozen=True)
class Group:
    """Texts that begin alike.

    Args:
        same: How many tokens of the beginning they share; 0: nothing that
            would be worth it.
        numbers: The texts.
    """

    same: int
    numbers: list[int]


def beginnings(
    texts: Sequence[list[int]], limits: Sequence[int]
) -> list[Group]:
    """Groups texts so that what a group shares need be read only once.

    Sorted, texts that begin alike are neighbours. A group grows as long as
    that saves tokens; linear in all tokens.

    Args:
        texts: Token ids.
        limits: The most tokens of each text that may be shared.

    Returns:
        The groups; what shares nothing is one of them, the last.

    Example:
        >>> exemplars = list(range(100))
        >>> beginnings([[*exemplars, 7], [5], [*exemplars, 8, 9]], [100, 1, 99])
        [Group(same=99, numbers=[0, 2]), Group(same=0, numbers=[1])]
    """
    order = sorted(range(len(texts)), key=texts.__getitem__)
    common = [
        _common(texts[one], texts[other], min(limits[one], limits[other]))
        for one, other in itertools.pairwise(order)
    ]
    found: list[Group] = []
    for number, before, behind in zip(
        order, [0, *common], [*common, 0], strict=False
    ):
        members = found[-1].numbers if found else []
        same = min(before, limits[number])
        if len(members) > 1:
            same = min(same, found[-1].same)
        saved = (len(members) - 1) * found[-1].same if members else 0
        # It may go better with those behind it.
        if members and len(members) * same >= saved and 2 * same >= behind:
            found[-1] = Group(same, [*members, number])
        else:
            found.append(Group(limits[number], [number]))
    shared, rest = [], []
    for group in found:
        if group.same * (len(group.numbers) - 1) >= _WORTH:
            shared.append(Group(group.same, sorted(group.numbers)))
        else:
            rest += group.numbers
    return [*shared, *([Group(0, sorted(rest))] if rest else [])]


def packed(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Packs texts into rows, the longest first, each where it fits best.

    Args:
        lengths: Of the texts, each at most `room`.
        room: Tokens of a row.

    Returns:
        The numbers of the texts of each row; in `O(texts * room)`.

    Example:
        >>> packed([3, 8, 5, 4], room=10)
        [[1], [2, 3], [0]]
    """
    rows: list[list[int]] = []
    with_room: dict[int, list[list[int]]] = {}
    for number in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length = lengths[number]
        fits = (left for left in range(length, room) if with_room.get(left))
        left = next(fits, room)
        if left == room:
            rows.append([])
        row = rows[-1] if left == room else with_room[left].pop()
        row.append(number)
        with_room.setdefault(left - length, []).append(row)
    return rows


def _common(one: list[int], other: list[int], most: int) -> int:
    """Returns how many tokens two texts begin with alike, up to `most`."""
    most = min(most, len(one), len(other))
    if one[:most] == other[:most]:
        return most
    pairs = enumerate(zip(one, other, strict=False))
    return next(i for i, (a, b) in pairs if a != b)
