"""Grammar, relations of words, days and months, and the clock."""

from collections.abc import Iterable, Sequence

from keras_flan.miniature.universe.families import Content, Op, family, story
from keras_flan.miniature.universe.meaning import MOODS, OPPOSITES
from keras_flan.miniature.universe.specs import Answer, Answerer, Draws
from keras_flan.miniature.universe.words import (
    AN,
    DAYS,
    PEOPLE,
    WORDS,
    with_article,
    yes_no,
)

_Sentence = tuple[str, tuple[str, str, str, str], str]
# Three feelings, and about what.
_Review = tuple[list[str], list[str]]

# Base form, third person, past, "-ing" form.
VERBS = (
    ("walk", "walks", "walked", "walking"),
    ("play", "plays", "played", "playing"),
    ("jump", "jumps", "jumped", "jumping"),
    ("cook", "cooks", "cooked", "cooking"),
    ("paint", "paints", "painted", "painting"),
    ("sing", "sings", "sang", "singing"),
    ("eat", "eats", "ate", "eating"),
    ("drink", "drinks", "drank", "drinking"),
    ("write", "writes", "wrote", "writing"),
    ("run", "runs", "ran", "running"),
    ("swim", "swims", "swam", "swimming"),
    ("sleep", "sleeps", "slept", "sleeping"),
)
NOUNS = {
    "apple": "apples", "bear": "bears", "book": "books", "cat": "cats",
    "cow": "cows", "dog": "dogs", "duck": "ducks", "egg": "eggs",
    "box": "boxes", "fox": "foxes", "dish": "dishes", "glass": "glasses",
    "baby": "babies", "city": "cities", "berry": "berries", "leaf": "leaves",
    "knife": "knives", "child": "children", "foot": "feet", "mouse": "mice",
}  # fmt: skip
ADJECTIVES = (
    ("tall", "taller", "tallest"),
    ("fast", "faster", "fastest"),
    ("slow", "slower", "slowest"),
    ("cold", "colder", "coldest"),
    ("old", "older", "oldest"),
    ("long", "longer", "longest"),
    ("big", "bigger", "biggest"),
    ("hot", "hotter", "hottest"),
    ("happy", "happier", "happiest"),
    ("heavy", "heavier", "heaviest"),
    ("good", "better", "best"),
    ("bad", "worse", "worst"),
)
YOUNG = {
    "cat": "kitten", "dog": "puppy", "cow": "calf", "hen": "chick",
    "duck": "duckling", "horse": "foal", "sheep": "lamb", "goat": "kid",
    "pig": "piglet", "bear": "cub",
}  # fmt: skip
SOUNDS = {
    "cat": "meows", "dog": "barks", "cow": "moos", "duck": "quacks",
    "horse": "neighs", "sheep": "bleats", "pig": "oinks", "lion": "roars",
    "bee": "buzzes", "owl": "hoots",
}  # fmt: skip
PLACES = {
    "teacher": "school", "farmer": "farm", "cook": "kitchen",
    "doctor": "hospital", "sailor": "ship", "actor": "theatre",
    "pilot": "plane", "baker": "bakery", "driver": "bus",
    "gardener": "garden",
}  # fmt: skip
MADE_OF = {
    "bread": "flour", "cheese": "milk", "wine": "grapes", "paper": "wood",
    "window": "glass", "coin": "metal", "sock": "wool", "brick": "clay",
}  # fmt: skip
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July",
    "August", "September", "October", "November", "December",
)  # fmt: skip
LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
SEASONS = ("winter", "spring", "summer", "autumn")


def _known(
    pairs: Iterable[tuple[str, str]], slot: str = "word", back: bool = False
) -> Answerer:
    """An answer looked up in a table of words."""
    pairs = tuple(pairs)

    def answer(draws: Draws, _: None) -> Answer:
        word, result = draws.pick(pairs)
        if back:
            word, result = result, word
        return result, "", {slot: word}

    return answer


def _form(index: int, table: Sequence[tuple[str, ...]] = VERBS) -> Answerer:
    return _known((row[0], row[index]) for row in table)


def _sentence(draws: Draws) -> _Sentence:
    name = draws.pick(tuple(PEOPLE))
    verb = draws.pick(VERBS)
    return name, verb, draws.pick(("today", "every day", "at home", "alone"))


SENTENCE = Content(
    "a sentence",
    "the sentence",
    _sentence,
    lambda v: f'"{v[0]} {v[1][1]} {v[2]}"',
)


def _said(pattern: str) -> Answerer:
    def answer(draws: Draws, value: _Sentence) -> Answer:
        name, (base, third, past, ing), rest = value
        return pattern.format(
            name=name, she=PEOPLE[name], base=base, third=third, past=past,
            ing=ing, rest=rest,
        ), ""  # fmt: skip

    return answer


def _article(draws: Draws, _: None) -> Answer:
    word = draws.pick(AN if draws.chance() else WORDS)
    return with_article(word).split()[0], f"{word} begins with {word[0]}.", {
        "word": word}  # fmt: skip


def _is_plural(draws: Draws, _: None) -> Answer:
    one, many = draws.pick(tuple(NOUNS.items()))
    plural = draws.chance()
    return (
        yes_no(plural),
        f"One {one}, many {many}.",
        {"word": many if plural else one},
    )


GRAMMAR = family(
    "grammar",
    None,
    Op("plural", "the plural of {word}|the word for more than one {word}",
       _known(NOUNS.items())),
    Op("singular", "the singular of {word}|the word for only one of the "
       "{word}", _known(NOUNS.items(), back=True), held_out=True),
    Op("past", "the past form of the verb {word}", _form(2)),
    Op("third", "the form of the verb {word} after he or she", _form(1)),
    Op("ing", "the ing form of the verb {word}", _form(3)),
    Op("base", "the base form of the verb {word}",
       _known([(row[2], row[0]) for row in VERBS]), held_out=True),
    Op("comparative", "the comparative of {word}|the form of {word} before "
       "than", _form(1, ADJECTIVES)),
    Op("superlative", "the superlative of {word}", _form(2, ADJECTIVES)),
    Op("article", "the right article, a or an, before {word}", _article,
       chance=0.5),
    Op("is_plural", "is the word {word} plural?|does the word {word} stand "
       "for more than one?", _is_plural, kind="yes_no"),
) + family(
    "grammar",
    SENTENCE,
    Op("to_past", "{it} in the past", _said("{name} {past} {rest}")),
    Op("to_pronoun", "{it} with he or she in place of the name",
       _said("{she} {third} {rest}")),
    Op("to_negative", "{it} with not",
       _said("{name} does not {base} {rest}")),
    Op("to_question", "{it} as a question without its mark",
       _said("Does {name} {base} {rest}"), held_out=True),
    Op("to_future", "{it} in the future", _said("{name} will {base} {rest}")),
    Op("verb", "the verb of {it}", _said("{third}"), chance=0.25),
    Op("subject", "the subject of {it}", _said("{name}"), chance=0.25),
)  # fmt: skip


def _relation(draws: Draws, _: None) -> Answer:
    one, two = draws.pick(OPPOSITES)
    if draws.chance():
        one, two = two, one
    opposite = draws.chance()
    other = two if opposite else draws.pick(
        [w for p in OPPOSITES for w in p if w not in (one, two)])  # fmt: skip
    return (
        yes_no(opposite),
        f"The opposite of {one} is {two}.",
        {"one": one, "two": other},
    )


RELATIONS = family(
    "relations",
    None,
    Op("young", "the name of a young {word}", _known(YOUNG.items())),
    Op("parent", "the animal whose young is a {word}",
       _known(YOUNG.items(), back=True), held_out=True),
    Op("sound", "what does a {word} do when it makes a sound?",
       _known(SOUNDS.items())),
    Op("who_sounds", "the animal that {word}",
       _known(SOUNDS.items(), back=True)),
    Op("place", "where does a {word} work?", _known(PLACES.items())),
    Op("job", "the person whose place of work is the {word}",
       _known(PLACES.items(), back=True), held_out=True),
    Op("made_of", "what is {word} made of?", _known(MADE_OF.items())),
)  # fmt: skip

OPPOSITE_TASKS = family(
    "opposites",
    None,
    Op("check", "are {one} and {two} opposites?|do {one} and {two} mean the "
       "opposite?", _relation, kind="yes_no"),
)  # fmt: skip


# === Days and months ===


def _cycle(names: Sequence[str], by: int) -> Answerer:
    """The name `by` places on; the rationale walks there."""

    def answer(draws: Draws, _: None) -> Answer:
        at = draws.below(len(names))
        step = 1 if by > 0 else -1
        way = [names[(at + i) % len(names)] for i in range(0, by + step, step)]
        return way[-1], f"{', '.join(way)}.", {"word": names[at]}

    return answer


def _month_number(draws: Draws, _: None) -> Answer:
    at = draws.below(12)
    return at + 1, "", {"word": MONTHS[at]}


def _month_days(draws: Draws, _: None) -> Answer:
    at = draws.below(12)
    return LENGTHS[at], "", {"word": MONTHS[at]}


def _season(draws: Draws, _: None) -> Answer:
    at = draws.below(12)
    season = SEASONS[(at + 1) % 12 // 3]
    return season, "", {"word": MONTHS[at]}


def _weekend(draws: Draws, _: None) -> Answer:
    day = draws.pick(DAYS[5:] if draws.chance() else DAYS[:5])
    yes = day in DAYS[5:]
    return yes_no(yes), "The weekend is Saturday, Sunday.", {
        "word": day}  # fmt: skip


def _earlier_month(draws: Draws, _: None) -> Answer:
    a, b = draws.sample(range(12), 2)
    return (
        MONTHS[min(a, b)],
        f"{MONTHS[a]} is month {a + 1}, {MONTHS[b]} is month {b + 1}.",
        {"one": MONTHS[a], "two": MONTHS[b]},
    )


def _days_until(draws: Draws, _: None) -> Answer:
    at, n = draws.below(7), draws.between(1, 5)
    way = [DAYS[(at + i) % 7] for i in range(n + 1)]
    steps = ", ".join(f"{i} {day}" for i, day in enumerate(way[1:], 1))
    return n, f"{steps}.", {"one": way[0], "two": way[-1]}


CALENDAR = family(
    "calendar",
    None,
    Op("tomorrow", "the day after {word}", _cycle(DAYS, 1)),
    Op("yesterday", "the day before {word}", _cycle(DAYS, -1)),
    Op("two_days_on", "the day two days after {word}", _cycle(DAYS, 2)),
    Op("two_days_back", "the day two days before {word}", _cycle(DAYS, -2),
       held_out=True),
    Op("days_until", "the number of days from {one} to the next {two}",
       _days_until),
    Op("weekend", "is {word} a day of the weekend?", _weekend,
       kind="yes_no"),
) + family(
    "months",
    None,
    Op("next", "the month after {word}", _cycle(MONTHS, 1)),
    Op("previous", "the month before {word}", _cycle(MONTHS, -1),
       held_out=True),
    Op("two_on", "the month two months after {word}", _cycle(MONTHS, 2)),
    Op("number", "the number of the month {word}", _month_number),
    Op("days", "the number of days of {word} in a common year",
       _month_days),
    Op("season", "the season of {word} in the north", _season),
    Op("earlier", "the month that comes first in a year, {one} or {two}",
       _earlier_month, chance=0.5),
)  # fmt: skip


# === The clock (held out) ===


def _hours(back: bool) -> Answerer:
    def answer(draws: Draws, _: None) -> Answer:
        hour, n = draws.between(1, 12), draws.between(2, 5)
        step = -1 if back else 1
        way = [str((hour + step * i - 1) % 12 + 1) for i in range(n + 1)]
        return way[-1], f"{', '.join(way)}.", {"hour": hour, "n": n}

    return answer


def _half_hour(draws: Draws, _: None) -> Answer:
    hour = draws.between(1, 11)
    return f"{hour + 1}:00", f"30 + 30 = 60. The hour {hour} is over.", {
        "time": f"{hour}:30"}  # fmt: skip


def _afternoon(draws: Draws, _: None) -> Answer:
    hour = draws.between(1, 11)
    return hour + 12, f"{hour} + 12 = {hour + 12}.", {"hour": hour}


CLOCK = family(
    "clock",
    None,
    Op("earlier", "the hour {n} hours before {hour} o'clock", _hours(True)),
    Op("later", "the hour {n} hours after {hour} o'clock", _hours(False)),
    Op("half_hour", "the time half an hour after {time}", _half_hour),
    Op("afternoon", "{hour} o'clock in the afternoon on a clock of 24 hours",
       _afternoon),
    held_out=True,
)  # fmt: skip


# === Moods ===


def _feelings(draws: Draws) -> _Review:
    return [
        draws.pick(MOODS[draws.pick(tuple(MOODS))]) for _ in range(3)
    ], draws.sample(("food", "music", "room", "film", "play", "show"), 3)


REVIEW = story(
    _feelings,
    lambda v: "The {0} was {3}, the {1} was {4} and the {2} was {5}.".format(
        *v[1], *v[0]
    ),
)


def _mood(word: str) -> str:
    return next(mood for mood in MOODS if word in MOODS[mood])


def _word_moods(value: _Review) -> str:
    return ", ".join(f"{w} is {_mood(w)}" for w in value[0]) + "."


def _count_mood(mood: str) -> Answerer:
    return lambda d, v: (
        sum(_mood(w) == mood for w in v[0]), _word_moods(v))  # fmt: skip


def _about(draws: Draws, value: _Review) -> Answer:
    at = draws.below(3)
    word = value[0][at]
    return _mood(word), f"It was {word}.", {"what": value[1][at]}


def _overall(draws: Draws, value: _Review) -> Answer:
    moods = [_mood(w) for w in value[0]]
    return max(moods, key=moods.count), _word_moods(value)


def _often_good(draws: Draws) -> _Review:
    words, things = _feelings(draws)
    if draws.chance():
        words = draws.sample(MOODS["positive"], 3)
    return words, things


SENTIMENT = family(
    "sentiment",
    REVIEW,
    Op("count_good", "how many things were good?", _count_mood("positive")),
    Op("count_bad", "how many things were bad?", _count_mood("negative")),
    Op("about", "is the word on the {what} positive or negative?", _about,
       chance=0.5),
    Op("overall", "is the review mostly positive or mostly negative?",
       _overall, chance=0.5),
    Op("all_good", "was everything good?", lambda d, v: (
        yes_no(all(_mood(w) == "positive" for w in v[0])),
        _word_moods(v)), kind="yes_no",
       content=story(_often_good, REVIEW.show)),
)  # fmt: skip

TASKS = (*GRAMMAR, *RELATIONS, *OPPOSITE_TASKS, *CALENDAR, *CLOCK, *SENTIMENT)
