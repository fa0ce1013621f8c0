"""The kinds of answers: how each is found, made canonical and compared."""

import dataclasses
import re
from collections.abc import Callable
from typing import Literal

from keras_flan.answers import dates, numbers, options, spans, words
from keras_flan.answers.cues import (
    Choices,
    Found,
    before_next_question,
    heads,
    window,
)
from keras_flan.answers.published import RULE_SETS, RuleSet
from keras_flan.answers.texts import plain
from keras_flan.errors import InputError, did_you_mean
from keras_flan.extensions import Registry

# Goes up with every change of a rule that can change an extracted answer.
EXTRACTOR_VERSION = 2


@dataclasses.dataclass(frozen=True)
class Answer:
    """An extracted answer.

    Args:
        value: The canonical value: equal answers have equal values.
        start: Where it begins in the text.
        end: Where it ends (exclusive).
        rule: The rule that found it.

    Example:
        >>> extract_answer("So the answer is 1,200.", "number").value
        '1200'
    """

    value: str
    start: int
    end: int
    rule: str


@dataclasses.dataclass(frozen=True)
class Kind:
    r"""A kind of answer; a module of your own may add some under `KINDS`.

    Args:
        find: A text, and what `takes` says, to the answer in it: its
            canonical value, where it begins and ends in the text, and the
            name of the rule that found it; or None.
        normalise: An answer, and the language if it is taken, to its
            canonical form; None if it has none. Right answers are read by it.
        takes: What `find` takes besides: `"choices"` or `"language"`.
        verbatim: Whether `find` reads the text as it was written, not what
            `plain` makes of it: with one spelling of dashes, quotes and
            digits, and up to a question that the model asks itself.

    Example:
        >>> def find_grade(text):
        ...     grades = list(re.finditer(r"\b[A-F][+-]?(?!\w)", text))
        ...     if grades:
        ...         return grades[-1][0].lower(), *grades[-1].span(), "last"
        >>> KINDS = {"grade": Kind(find_grade, str.lower)}
    """

    find: Callable[..., Found | None]
    normalise: Callable[..., str | None]
    takes: Literal["", "choices", "language"] = ""
    verbatim: bool = False


def _find_program(text: str) -> Found | None:
    # Programs read answers too: the import waits until one is met.
    from keras_flan.answers import programs

    return programs.find_program_answer(before_next_question(text))


def _normalise_program(value: str) -> str | None:
    from keras_flan.answers import programs

    return programs.normalise_program_answer(value)


_KINDS = {
    # Separators, currency, percent, fractions, words, digits of any script.
    "number": Kind(numbers.find_number, numbers.normalise_number, "language"),
    # The letter of an option, or its text.
    "option": Kind(options.find_option, options.normalise_option, "choices"),
    # Yes or no; true and false count too.
    "yes_no": Kind(words.find_yes_no, words.normalise_yes_no),
    "validity": Kind(words.find_validity, words.normalise_validity),
    # Free text up to the end of the line.
    "text": Kind(words.find_text, words.normalise_text),
    # A day of the calendar, however it is written.
    "date": Kind(dates.find_date, dates.normalise_date, "language"),
    "time": Kind(dates.find_time, dates.normalise_time),
    # Yes or no, or the side of a coin.
    "coin": Kind(words.find_coin, words.normalise_yes_no),
    "letters": Kind(words.find_letters, words.normalise_letters),
    "list": Kind(words.find_list, words.normalise_list),
    "brackets": Kind(words.find_brackets, words.normalise_brackets),
    # A line, compared as SQuAD does.
    "span": Kind(spans.find_span, spans.canonical_span, verbatim=True),
    "whole": Kind(spans.find_whole, spans.canonical_whole, verbatim=True),
    # What a program prints or returns, run in a sandbox.
    "program": Kind(_find_program, _normalise_program, verbatim=True),
}
KINDS = Registry("answer kind", "KINDS", Kind, _KINDS)


def extract_answer(
    text: str,
    kind: str,
    choices: Choices = None,
    rules: str | None = None,
    language: str | None = None,
) -> Answer | None:
    """Finds the answer in what a model wrote.

    Ordered rules are tried; the first that finds a value of the right kind
    wins: what follows the last answer cue ("The answer is", "Answer:",
    "####", the cues of the MGSM languages), then rules of the kind. A question
    that the model goes on to ask itself is not read; see `heads`.

    Args:
        text: Any string; its last 10,000 characters are read.
        kind: A name in `KINDS`: `number`, `option`, `yes_no`, `text`, ...
        choices: For `option`: the texts of the options in order, or a string
            of letters such as `"ABCD"`.
        rules: A name in `RULE_SETS` to read as a published pipeline did.
        language: The code of its language, such as `"de"`, where it is known:
            1.500 is 1500 in German, and a date begins with the day.

    Returns:
        The answer, or None: the text abstains.

    Raises:
        InputError: If the kind or the rule set is unknown.

    Example:
        >>> extract_answer("23 - 20 + 6 = 9. The answer is 9.", "number")
        Answer(value='9', start=31, end=32, rule='phrase')

    Source: Flan (arXiv:2210.11416), self-consistency (arXiv:2203.11171).
    """
    found: Found | None = None
    asked, special = KINDS.named(kind), rule_set(rules)
    read, offset = window(text)
    if special and special.find:
        found = special.find(read, kind, choices)
    else:
        given = {"choices": choices, "language": language}
        more = {asked.takes: given[asked.takes]} if asked.takes else {}
        for head in [read] if asked.verbatim else heads(plain(read)):
            if found := asked.find(head, **more):
                break
    value, start, end, rule = found or (None, 0, 0, "")
    if not value:
        return None
    if special and special.find and special.normalise:
        value = special.normalise(value, kind)
    return Answer(value, start + offset, end + offset, rule)


def normalise_answer(
    value: str, kind: str, rules: str | None = None, language: str | None = None
) -> str | None:
    """Returns the canonical form of an answer; None if it has none.

    Example:
        >>> normalise_answer("$1,250.00", "number")
        '1250'
        >>> normalise_answer("(b)", "option")
        'B'
    """
    special = rule_set(rules)
    if special and special.normalise:
        return special.normalise(value, kind)
    asked = KINDS.named(kind)
    more = {"language": language} if asked.takes == "language" else {}
    return asked.normalise(value, **more)


def is_correct(
    answer: str | None, target: str | None, rules: str | None = None
) -> bool:
    """Whether a canonical answer is the canonical target.

    Example:
        >>> is_correct("0.7", "70"), is_correct("0.7", "70", rules="tora")
        (False, True)
    """
    if answer is None or target is None:
        return False
    special = rule_set(rules)
    return special.equal(answer, target) if special else answer == target


def rule_set(name: str | None) -> RuleSet | None:
    """Returns a published rule set; None for the default rules.

    Raises:
        InputError: If there is no such set.

    Example:
        >>> rule_set(None) is None
        True
    """
    if name is not None and name not in RULE_SETS:
        raise InputError(
            f"no rule set {name!r}." + did_you_mean(name, RULE_SETS)
        )
    return RULE_SETS[name] if name else None


_SHAPES = {
    "number": r"-?[$€£]?[\d,]*\.?\d+%?",
    "option": r"\([A-Z]\)|[A-Z]",
    "yes_no": r"(?i:yes|no|true|false)",
    "validity": r"(?i:valid|invalid)",
    "brackets": r"[\[\](){}<>\s]+",
    "date": r"\d{1,2}/\d{1,2}/\d{4}|\d{4}-\d{2}-\d{2}",
}


def infer_kind(target: str) -> str:
    """Returns the kind that a gold answer looks like.

    Example:
        >>> [infer_kind(x) for x in ("18", "(B)", "no", "] ]", "Paris")]
        ['number', 'option', 'yes_no', 'brackets', 'text']
    """
    target = target.strip()
    for kind, shape in _SHAPES.items():
        if re.fullmatch(shape, target) and normalise_answer(target, kind):
            return kind
    return "text"
