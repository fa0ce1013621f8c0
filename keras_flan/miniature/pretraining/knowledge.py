"""What the pretraining text knows, told as sentences, never asked.

Sums, counting, spelling, kinds, words, days, hours, measures, prices: some of
it is what held-out tasks need too, as the text that a large model is
pretrained on has met the alphabet before it is asked for the letter after p.
How such things are asked, only finetuning shows.
"""

from string import ascii_lowercase as ALPHABET

from keras_flan.miniature.pretraining import lexicon
from keras_flan.miniature.universe import Draws
from keras_flan.miniature.universe.language import (
    ADJECTIVES,
    MADE_OF,
    MONTHS,
    NOUNS,
    PLACES,
    SOUNDS,
    VERBS,
    YOUNG,
)
from keras_flan.miniature.universe.meaning import MOODS, OPPOSITES
from keras_flan.miniature.universe.words import (
    DAYS,
    KIND_OF,
    KINDS,
    THINGS,
    WORDS,
    listing,
    people,
    with_article,
)

# A whole, several of it, its parts, and how many it has.
_PARTS = (
    ("week", "weeks", "days", 7),
    ("year", "years", "months", 12),
    ("dozen", "dozens", "eggs", 12),
    ("pair", "pairs", "socks", 2),
    ("foot", "feet", "inches", 12),
    ("quarter", "quarters", "months", 3),
    ("fortnight", "fortnights", "days", 14),
)


def sums(draws: Draws) -> str:
    """Additions and subtractions, now and then one that goes on."""
    told = []
    for _ in range(draws.between(3, 5)):
        a, b = draws.between(1, 40), draws.between(1, 30)
        told.append(
            draws.pick(
                (
                    f"{a} + {b} = {a + b}.",
                    f"{a + b} - {b} = {a}.",
                    f"{a + b} - {a} = {b}. {b} + {a} = {a + b}.",
                    f"{a} and {b} make {a + b}.",
                    f"{a + b} is {b} more than {a}.",
                    f"{a} is {b} less than {a + b}.",
                )
            )
        )
    return " ".join(told)


def chains(draws: Draws) -> str:
    """Steps that go on from each result: `"23 - 20 = 3. 3 + 6 = 9."`."""
    total, told = draws.between(1, 40), []
    for _ in range(draws.between(2, 4)):
        n = draws.between(1, 20)
        if n < total and draws.chance():
            told.append(f"{total} - {n} = {total - n}.")
            total -= n
        else:
            told.append(f"{total} + {n} = {total + n}.")
            total += n
    return " ".join(told)


def times(draws: Draws) -> str:
    """One number, added again and again."""
    n, times = draws.between(2, 12), draws.between(2, 6)
    total = n * times
    added = " + ".join([str(n)] * times)
    return f"{added} = {total}. {times} times {n} is {total}."


def numbers(draws: Draws) -> str:
    """Counting, what is larger, and digits."""
    n, step = draws.between(1, 40), draws.pick((1, 1, 2, 3, 5, 10))
    count = ", ".join(str(n + i * step) for i in range(6))
    back = ", ".join(str(n + i * step) for i in reversed(range(4)))
    a, b = draws.sample(range(1, 50), 2)
    larger = "larger" if a > b else "smaller"
    parity = "odd" if a % 2 else "even"
    way = count if draws.chance(0.7) else back
    told = (
        f"{a} is {larger} than {b}.",
        f"{a} is {parity}.",
        f"{b} is {b // 10} tens and {b % 10}.",
        f"The digits of {a} are {' and '.join(str(a))}.",
    )
    return " ".join([f"{way}.", *draws.sample(told, 2)])


def spelled(draws: Draws) -> str:
    """Letters of words."""
    told = []
    for word in draws.sample((*WORDS, *lexicon.NOUNS), 2):
        told.append(
            draws.pick(
                (
                    f"The word {word} is spelled {' '.join(word)}.",
                    f"{word} has {len(word)} letters: {' '.join(word)}.",
                    f"{word} begins with {word[0]} and ends with {word[-1]}.",
                    f"{word} turned around is {word[::-1]}.",
                    f"{' '.join(word)} from its end is {' '.join(word[::-1])}.",
                )
            )
        )
    return " ".join(told)


def letters(draws: Draws) -> str:
    """Neighbours and places in the alphabet."""
    at = draws.between(1, 20)
    run = ALPHABET[at : at + 5]
    return draws.pick(
        (
            f"{', '.join(run)}. After {run[1]} comes {run[2]}.",
            f"{', '.join(run)}. {run[2]} stands between {run[1]} and {run[3]}.",
            f"Letter {at + 1} is {run[0]}, letter {at + 2} is {run[1]}.",
            f"{', '.join(run[::-1])}. {run[1]} comes before {run[2]}.",
        )
    )


def kinds(draws: Draws) -> str:
    """What words are."""
    kind = draws.pick(tuple(KINDS))
    members = draws.sample(KINDS[kind], 3)
    one = draws.pick(WORDS)
    told = [
        f"{listing(members)} are {kind}s.",
        f"{_a(one)} is {with_article(KIND_OF[one])}."
        if KIND_OF[one] != "colour"
        else f"{one} is a colour.",
    ]
    return " ".join(draws.shuffled(told))


def relations(draws: Draws) -> str:
    """Opposites, forms, sounds, places, young ones."""
    one, two = draws.pick(OPPOSITES)
    plural = draws.pick(tuple(NOUNS.items()))
    verb, adjective = draws.pick(VERBS), draws.pick(ADJECTIVES)
    animal, sound = draws.pick(tuple(SOUNDS.items()))
    thing, stuff = draws.pick(tuple(MADE_OF.items()))
    worker, place = draws.pick(tuple(PLACES.items()))
    parent, young = draws.pick(tuple(YOUNG.items()))
    mood = draws.pick(tuple(MOODS))
    told = (
        f"{one} is the opposite of {two}.",
        f"One {plural[0]}, two {plural[1]}.",
        f"Many {plural[1]}, but one {plural[0]}.",
        f"Today I {verb[0]}, she {verb[1]}, yesterday I {verb[2]}.",
        f"{adjective[0]}, {adjective[1]}, {adjective[2]}.",
        f"{_a(animal)} {sound}.",
        f"{thing} is made of {stuff}.",
        f"{_a(worker)} works in the {place}.",
        f"A {young} grows up to be {with_article(parent)}.",
        f"{draws.pick(MOODS[mood])} is a {mood} word.",
    )
    return " ".join(draws.sample(told, 4))


def days(draws: Draws) -> str:
    """Days and months in their order, forwards and backwards."""
    names = draws.pick((DAYS, MONTHS))
    at = draws.below(len(names))
    way = [names[(at + i) % len(names)] for i in range(4)]
    if draws.chance(0.3):
        return f"Backwards: {', '.join(reversed(way))}."
    return (
        f"{', '.join(way)}. After {way[0]} comes {way[1]}. Before {way[3]} "
        f"comes {way[2]}."
    )


def hours(draws: Draws) -> str:
    """A day by the clock."""
    start, work = draws.between(1, 7), draws.between(1, 5)
    name = people(draws, 1)[0]
    afternoon = draws.between(1, 11)
    return draws.pick(
        (
            f"{name} began at {start} o'clock. {work} hours later it was "
            f"{start + work} o'clock.",
            f"It is {start + work} o'clock; {work} hours ago it was {start}.",
            f"{afternoon} in the afternoon is {afternoon + 12}:00.",
            f"At {start}:00 they met. Half an hour later, at {start}:30, they "
            f"left, and at {start + 1}:00 they were home.",
        )
    )


def measures(draws: Draws) -> str:
    """How many parts wholes have."""
    whole, wholes, part, number = draws.pick(_PARTS)
    n = draws.between(2, 6)
    added = " + ".join([str(number)] * n)
    return draws.pick(
        (
            f"One {whole} is {number} {part}.",
            f"{n} {wholes} are {added} = {n * number} {part}.",
            f"{n * number} {part} make {n} {wholes}, since {added} = "
            f"{n * number}.",
        )
    )


def prices(draws: Draws) -> str:
    """Shopping: what is paid, and what is left."""
    name, things = people(draws, 1)[0], draws.pick(THINGS)
    n, each = draws.between(2, 5), draws.between(2, 9)
    paid = draws.between(6, 30)
    cost = draws.between(2, paid - 1)
    return draws.pick(
        (
            f"{name} bought {n} {things}, {each} dollars for every one: "
            f"{' + '.join([str(each)] * n)} = {n * each} dollars.",
            f"It cost {cost} dollars. {name} paid with {paid}: {paid} - "
            f"{cost} = {paid - cost}, so {paid - cost} dollars came back.",
            f"One cost {cost}, the other {each}: {cost} + {each} = "
            f"{cost + each} dollars in all.",
            f"{name} had only {cost} dollars. {paid} was too much, for {paid} "
            f"is more than {cost}.",
        )
    )


def orders(draws: Draws) -> str:
    """Lists and races: who is where."""
    one, two, three = people(draws, 3)
    words = draws.sample(WORDS, 4)
    return draws.pick(
        (
            f"The race: {one}, {two}, {three}. {one} won, {two} was in the "
            f"middle, {three} was last.",
            f"The list is {', '.join(words)}. Backwards it is "
            f"{', '.join(reversed(words))}.",
            f"1 {words[0]}, 2 {words[1]}, 3 {words[2]}, 4 {words[3]}. The "
            f"third is {words[2]}.",
            f"{words[0]}, {words[1]}, {words[2]}. Before {words[1]} stands "
            f"{words[0]}, after it {words[2]}.",
        )
    )


def _a(word: str) -> str:
    """Returns the word at the beginning of a sentence."""
    return with_article(word).capitalize()


SUMS = (sums, chains, sums, chains, times)
# Arithmetic takes the most practice.
WRITERS = (
    *SUMS,
    *(numbers, spelled, letters, kinds, relations, days),
    *(hours, measures, prices, orders),
)
