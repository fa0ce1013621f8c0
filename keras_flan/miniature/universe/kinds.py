"""Sets and kinds of words; ciphers and reversal (both held out)."""

from collections.abc import Callable
from string import ascii_lowercase as ALPHABET

from keras_flan.miniature.universe.families import Content, Op, family, story
from keras_flan.miniature.universe.specs import Answer, Answerer, Draws
from keras_flan.miniature.universe.strings import WORD, join, numbered, spelled
from keras_flan.miniature.universe.words import KIND_OF, KINDS, WORDS, yes_no

_Sets = tuple[list[str], list[str]]

# === Sets ===


def _two_sets(draws: Draws) -> _Sets:
    items = draws.sample(WORDS, 5)
    shared = draws.between(1, 2) if draws.chance() else 0
    both, rest = items[:shared], items[shared:]
    half = len(rest) // 2
    return (
        draws.shuffled([*both, *rest[:half]]),
        draws.shuffled([*both, *rest[half:]]),
    )


SETS = story(_two_sets, lambda v: f"A is {join(v[0])}. B is {join(v[1])}.")


def _picked(
    keep: Callable[[list[str], list[str]], list[str]], show_steps: bool = True
) -> Answerer:
    def answer(draws: Draws, value: _Sets) -> Answer:
        a, b = value
        found = keep(a, b)
        steps = join(
            f"{w} {'yes' if w in found else 'no'}" for w in dict.fromkeys(a)
        )
        return join(found), f"{steps}." if show_steps else ""

    return answer


def _union(a: list[str], b: list[str]) -> list[str]:
    return list(dict.fromkeys([*a, *b]))


def _member(draws: Draws, value: _Sets) -> Answer:
    a, b = value
    name, items = draws.pick((("A", a), ("B", b)))
    yes = draws.chance()
    word = draws.pick(items if yes else [w for w in WORDS if w not in items])
    return (
        yes_no(yes),
        f"{name} has {join(items)}.",
        {"word": word, "set": name},
    )


def _overlap(draws: Draws, value: _Sets) -> Answer:
    both = [w for w in value[0] if w in value[1]]
    return yes_no(bool(both)), f"In both: {join(both)}."


def _subset_sets(draws: Draws) -> _Sets:
    b = draws.sample(WORDS, 4)
    a = draws.sample(b, 2)
    if draws.chance():
        a[draws.below(2)] = draws.pick([w for w in WORDS if w not in b])
    return a, b


def _subset(draws: Draws, value: _Sets) -> Answer:
    a, b = value
    missing = [w for w in a if w not in b]
    return yes_no(not missing), f"Not in B: {join(missing)}."


SET_TASKS = family(
    "sets",
    SETS,
    Op("both", "which words are in both A and B?|which words do A and B "
       "share?", _picked(lambda a, b: [w for w in a if w in b])),
    Op("only_a", "which words of A are not in B?",
       _picked(lambda a, b: [w for w in a if w not in b])),
    Op("only_b", "which words of B are not in A?",
       lambda d, v: (join(w for w in v[1] if w not in v[0]), ""),
       held_out=True),
    Op("union", "which words are in A or in B, each named once?",
       _picked(_union, False)),
    Op("size_a", "how many words has A?",
       lambda d, v: (len(v[0]), f"{join(v[0])}.")),
    Op("size_both", "how many words has A together with B, each counted "
       "once?", lambda d, v: (len(_union(*v)), numbered(_union(*v))),
       content=story(lambda d: tuple(d.sample(
           WORDS[:8], d.between(2, 3)) for _ in range(2)), SETS.show),
       held_out=True),
    Op("member", "is {word} in the set {set}?", _member, kind="yes_no"),
    Op("overlap", "do A and B share a word?", _overlap, kind="yes_no"),
    Op("subset", "is every word of A also in B?", _subset, kind="yes_no",
       content=story(_subset_sets, SETS.show)),
)  # fmt: skip


# === Ciphers (held out) ===


def _shift(word: str, by: int) -> str:
    return "".join(ALPHABET[(ALPHABET.index(c) + by) % 26] for c in word)


def _letter_after(by: int) -> Answerer:
    def answer(draws: Draws, _: None) -> Answer:
        at = draws.between(3, 22)
        way = ALPHABET[at : at + by + 1] if by > 0 else ALPHABET[
            at + by : at + 1][::-1]  # fmt: skip
        return way[-1], f"{', '.join(way)}.", {"letter": ALPHABET[at]}

    return answer


def _number(draws: Draws, _: None) -> Answer:
    at = draws.below(8)
    return at + 1, numbered(ALPHABET[: at + 1]), {"letter": ALPHABET[at]}


SHORT = Content(
    "a word", "the word", lambda d: d.pick([w for w in WORDS if len(w) < 5])
)
CIPHERS = family(
    "ciphers",
    None,
    Op("letter_after", "the letter after {letter}|the letter that follows "
       "{letter}", _letter_after(1)),
    Op("letter_before", "the letter before {letter}", _letter_after(-1)),
    Op("two_after", "the letter two places after {letter}",
       _letter_after(2)),
    Op("letter_number", "the place of the letter {letter} in the alphabet",
       _number),
    Op("shifted", "{it} with each letter moved to the next of the alphabet",
       lambda d, w: (_shift(w, 1), join(
           f"{c} to {_shift(c, 1)}" for c in w) + "."), content=SHORT),
    held_out=True,
)  # fmt: skip


# === Reversal (held out, with `reverse_list`) ===

REVERSAL = family(
    "reversal",
    WORD,
    Op("word", "{it} spelled backwards", lambda d, w: (w[::-1], spelled(w))),
    Op("numbers", "the numbers of {it} from last to first",
       lambda d, v: (join(map(str, reversed(v))), ""),
       content=Content("a list", "the list",
                       lambda d: d.sample(range(1, 31), 4),
                       lambda v: join(map(str, v)))),
    Op("digits", "{it} with its digits turned around",
       lambda d, v: (str(v)[::-1], f"The digits are {' '.join(str(v))}."),
       content=Content("a number", "the number",
                       lambda d: d.between(1, 9) * 100 + d.between(
                           1, 9) * 10 + d.between(1, 9))),
    held_out=True,
)  # fmt: skip


# === Kinds ===


def _kinds_list(draws: Draws) -> list[str]:
    kind, other = draws.sample(tuple(KINDS), 2)
    k = draws.between(1, 3)
    return draws.shuffled(
        [*draws.sample(KINDS[kind], k), *draws.sample(KINDS[other], 4 - k)]
    )


KIND_LIST = Content("a list", "the list", _kinds_list, join)


def _of_kind(draws: Draws, items: list[str]) -> tuple[str, str, dict[str, str]]:
    kind = KIND_OF[draws.pick(items)]
    found = [w for w in items if KIND_OF[w] == kind]
    return join(found), "", {"kind": kind}


def _count_kind(draws: Draws, items: list[str]) -> Answer:
    found, _, slots = _of_kind(draws, items)
    return found.count(",") + 1, f"{found}.", slots


def _kind_question(draws: Draws, _: None) -> Answer:
    word = draws.pick(WORDS)
    kind = KIND_OF[word]
    asked = kind if draws.chance() else draws.pick(
        [k for k in KINDS if k != kind])  # fmt: skip
    return (
        yes_no(kind == asked),
        f"{word} is of the kind {kind}.",
        {"word": word, "kind": asked},
    )


def _same_kind(draws: Draws, _: None) -> Answer:
    one = draws.pick(WORDS)
    pool = KINDS[KIND_OF[one]] if draws.chance() else WORDS
    two = draws.pick([w for w in pool if w != one])
    a, b = KIND_OF[one], KIND_OF[two]
    return (
        yes_no(a == b),
        f"{one} is of the kind {a}, {two} of the kind {b}.",
        {"one": one, "two": two},
    )


def _first_of_kind(draws: Draws, items: list[str]) -> Answer:
    kind = KIND_OF[draws.pick(items)]
    steps = []
    for item in items:
        steps.append(f"{item} {KIND_OF[item]}")
        if KIND_OF[item] == kind:
            return item, f"{join(steps)}.", {"kind": kind}
    raise AssertionError


KIND_TASKS = family(
    "kinds",
    KIND_LIST,
    Op("all_of", "the words of the kind {kind} in {it}", _of_kind,
       chance=0.1, plural=True),
    Op("first_of", "the first word of the kind {kind} in {it}",
       _first_of_kind, chance=0.4, held_out=True),
    Op("how_many", "how many words in {it} are of the kind {kind}?",
       _count_kind, chance=0.25),
) + family(
    "kinds",
    None,
    Op("is_of", "is {word} of the kind {kind}?", _kind_question,
       kind="yes_no"),
    Op("same", "are {one} and {two} of one kind?", _same_kind,
       kind="yes_no"),
)  # fmt: skip

TASKS = (*SET_TASKS, *CIPHERS, *REVERSAL, *KIND_TASKS)
