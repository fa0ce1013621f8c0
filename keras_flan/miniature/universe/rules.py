"""Logic, and sorting things by a rule that the question itself gives."""

from collections.abc import Callable

from keras_flan.miniature.universe.families import Content, Op, family, story
from keras_flan.miniature.universe.logic import CLASSES
from keras_flan.miniature.universe.specs import Answer, Answerer, Draws
from keras_flan.miniature.universe.words import (
    KIND_OF,
    KINDS,
    WORDS,
    people,
    spelled,
    yes_no,
)

_Fact = tuple[str, str, str, bool]

FACTS = (
    "it rains", "the shop is open", "the bus is late", "it is cold",
    "the light is on", "the dog barks", "the door is closed",
    "the sun shines", "the tea is hot", "the train is full",
    "the cat sleeps", "the road is wet", "the baby cries",
    "the bell rings",
)  # fmt: skip


# === Truth values ===


def _connective(word: str, join: Callable[[bool, bool], bool]) -> Answerer:
    def answer(draws: Draws, _: None) -> Answer:
        a, b = draws.chance(), draws.chance()
        value = join(a, b)
        return value, f"{a} {word} {b} is {value}.", {"a": a, "b": b}

    return answer


def _not_both(draws: Draws, _: None) -> Answer:
    a, b = draws.chance(), draws.chance()
    both = a and b
    return not both, f"{a} and {b} is {both}. not {both} is {not both}.", {
        "a": a, "b": b}  # fmt: skip


def _double_not(draws: Draws, _: object) -> Answer:
    a = draws.chance()
    n = draws.between(2, 4)
    value, steps = a, []
    for _ in range(n):
        steps.append(f"not {value} is {not value}.")
        value = not value
    return value, " ".join(steps), {"text": "not " * n + str(a)}


def _count_true(draws: Draws, _: None) -> Answer:
    values = [draws.chance() for _ in range(4)]
    text = ", ".join(map(str, values))
    return sum(values), f"True: {sum(values)}, False: {4 - sum(values)}.", {
        "text": text}  # fmt: skip


BOOLEAN = family(
    "boolean",
    None,
    Op("and", "{a} and {b}|the value of {a} and {b}",
       _connective("and", lambda a, b: a and b), chance=0.5),
    Op("or", "{a} or {b}|the value of {a} or {b}",
       _connective("or", lambda a, b: a or b), chance=0.5),
    Op("either", "the value of {a} or {b} when not both may be True",
       _connective("or else", lambda a, b: a != b), chance=0.5,
       held_out=True),
    Op("not_both", "not ( {a} and {b} )|the value of not ( {a} and {b} )",
       _not_both, chance=0.5),
    Op("nots", "{text}|the value of {text}", _double_not, chance=0.5),
    Op("count_true", "how many times is there True in {text}?", _count_true),
)  # fmt: skip


# === Deduction ===


def _conditional(forward: bool) -> tuple[Content, Answerer]:
    """If p then q: from p follows q; from not q follows not p."""

    def draw(draws: Draws) -> _Fact:
        p, q, other = draws.sample(FACTS, 3)
        return p, q, other, draws.chance()

    def tell(value: _Fact) -> str:
        p, q, other, known = value
        if forward:
            fact = p if known else other
            return f"If {p}, then {q}. We know that {fact}."
        fact = q if known else other
        return f"Whenever {p}, also {q}. It is not so that {fact}."

    def answer(draws: Draws, value: _Fact) -> Answer:
        p, q, _, known = value
        asked = q if forward else p
        steps = f"The rule needs {p if forward else q}. "
        steps += "It is given." if known else "It is not given."
        return yes_no(known), steps, {"asked": asked}

    return story(draw, tell), answer


def _either_or(draws: Draws) -> _Fact:
    name, _ = people(draws, 2)
    one, two = draws.sample(CLASSES, 2)
    return name, one, two, draws.chance()


EITHER = story(
    _either_or,
    lambda v: (
        f"{v[0]} is a {v[1]} or a {v[2]}. {v[0]} is not a "
        f"{v[1] if v[3] else v[2]}."
    ),
)


def _the_other(draws: Draws, value: _Fact) -> Answer:
    name, one, two, first = value
    out, left = (one, two) if first else (two, one)
    return left, f"Not a {out}.", {"who": name}


def _chain(draws: Draws) -> tuple[str, ...]:
    name, _ = people(draws, 2)
    a, b, c, d = draws.sample(CLASSES, 4)
    return name, a, b, c, d


CHAIN = story(
    _chain,
    lambda v: (
        f"{v[0]} is a {v[1]}. Every {v[1]} is a {v[2]}. Every {v[2]} "
        f"is a {v[3]}."
    ),
)


def _chained(draws: Draws, value: tuple[str, ...]) -> Answer:
    name, a, b, c, d = value
    asked = draws.pick((b, c)) if draws.chance() else d
    return yes_no(asked != d), f"{name}: {a}, {b}, {c}.", {
        "who": name, "asked": asked}  # fmt: skip


_MODUS, _ponens = _conditional(True)
_TOLLENS, _tollens = _conditional(False)
DEDUCTION = (
    family(
        "deduction",
        _MODUS,
        Op("ponens", "does it follow that {asked}?", _ponens, kind="yes_no"),
    )
    + family(
        "deduction",
        _TOLLENS,
        Op("tollens", "must it be false that {asked}?", _tollens, kind="yes_no",
           held_out=True),
    )
    + family(
        "deduction",
        EITHER,
        Op("either", "what is {who}?|which of the two is {who}?", _the_other,
           chance=0.5),
    )
    + family(
        "deduction",
        CHAIN,
        Op("chain", "do we know that {who} is a {asked}?", _chained,
           kind="yes_no"),
    )
)  # fmt: skip


# === Rules ===


def _labels(draws: Draws) -> dict[str, str]:
    one, two = draws.sample(CLASSES, 2)
    return {"one": one, "two": two}


def _number_rule(
    rule: Callable[[int, int], bool], why: Callable[[int, int, bool], str]
) -> Answerer:
    """Labels a number; both labels are equally frequent."""

    def answer(draws: Draws, _: None) -> Answer:
        first = draws.chance()
        n, limit = draws.between(1, 40), draws.between(8, 30)
        while rule(n, limit) != first:
            n, limit = draws.between(1, 40), draws.between(8, 30)
        labels = _labels(draws)
        label = labels["one" if first else "two"]
        return label, why(n, limit, first), {
            "n": n, "limit": limit, **labels}  # fmt: skip

    return answer


def _word_rule(
    rule: Callable[[str], bool], why: Callable[[str], str]
) -> Answerer:
    def answer(draws: Draws, _: None) -> Answer:
        first = draws.chance()
        word = draws.pick([w for w in WORDS if rule(w) == first])
        labels = _labels(draws)
        label = labels["one" if first else "two"]
        return label, why(word), {"word": word, **labels}

    return answer


def _kind_rule(draws: Draws, _: None) -> Answer:
    one, two = draws.sample(tuple(KINDS), 2)
    word = draws.pick((*KINDS[one], *KINDS[two]))
    labels = _labels(draws)
    label = labels["one" if KIND_OF[word] == one else "two"]
    return label, f"{word} is of the kind {KIND_OF[word]}.", {
        "kind": one, "other": two, "word": word, **labels}  # fmt: skip


def _odd_even(n: int, _: int, first: bool) -> str:
    return f"{n} is {'even' if first else 'odd'}."


def _above(n: int, limit: int, first: bool) -> str:
    return f"{n} is {'more' if first else 'not more'} than {limit}."


def _below(n: int, limit: int, first: bool) -> str:
    return f"{n} is {'less' if first else 'not less'} than {limit}."


_RULE = "the label of {%s}, where %s get {one} and others get {two}"
RULES = family(
    "rules",
    None,
    Op("even", _RULE % ("n", "even numbers"),
       _number_rule(lambda n, _: n % 2 == 0, _odd_even), chance=0.5),
    Op("above", _RULE % ("n", "numbers above {limit}"),
       _number_rule(lambda n, limit: n > limit, _above), chance=0.5),
    Op("below", _RULE % ("n", "numbers below {limit}"),
       _number_rule(lambda n, limit: n < limit, _below), chance=0.5,
       held_out=True),
    Op("one_digit", _RULE % ("n", "numbers of one digit"),
       _number_rule(lambda n, _: n < 10, lambda n, *_: (
           f"{n} is {'less' if n < 10 else 'not less'} than 10.")), chance=0.5),
    Op("vowel", _RULE % ("word", "words that begin with a vowel"),
       _word_rule(lambda w: w[0] in "aeiou", spelled), chance=0.5),
    Op("long", _RULE % ("word", "words of more than 4 letters"),
       _word_rule(lambda w: len(w) > 4, lambda w: (
           f"{spelled(w)} That is {len(w)} letters.")), chance=0.5),
    Op("ends_in_e", _RULE % ("word", "words that end in e"),
       _word_rule(lambda w: w[-1] == "e", spelled), chance=0.5,
       held_out=True),
    Op("has_a", _RULE % ("word", "words with the letter a"),
       _word_rule(lambda w: "a" in w, spelled), chance=0.5),
    Op("kind", "the label of {word}, where words of the kind {kind} get "
       "{one} and those of the kind {other} get {two}", _kind_rule, chance=0.5),
)  # fmt: skip

TASKS = (*BOOLEAN, *DEDUCTION, *RULES)
