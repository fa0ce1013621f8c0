"""The kinds of answers, and which benchmark asks for which kind."""

import dataclasses
import re
from collections.abc import Callable, Sequence

from keras_flan.answers import numbers, options, published, spans, words
from keras_flan.answers.cues import clip
from keras_flan.answers.published import RULE_SETS, RuleSet
from keras_flan.errors import InputError, did_you_mean

# Goes up with every change of a rule that can change an extracted answer.
EXTRACTOR_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Answer:
    """An extracted answer.

    Args:
        value: The canonical value: equal answers have equal values.
        start: Where it begins in the text.
        end: Where it ends (exclusive).
        rule: The rule that found it.
    """

    value: str
    start: int
    end: int
    rule: str


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of answer: how it is found in a text, and made canonical."""

    find: Callable[..., tuple[str, int, int, str] | None]
    normalise: Callable[[str], str | None]
    summary: str


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How the answers of a benchmark are read.

    Args:
        kind: A name in `KINDS`; None means that the target decides.
        letters: The letters of the options, if all questions have as many.
        kinds: Kinds of single tasks that their targets don't show.
    """

    kind: str | None
    letters: str | None = None
    kinds: dict[str, str] = dataclasses.field(default_factory=dict)


def _find_program(text, choices):
    # Programs read answers too: the import waits until one is met.
    from keras_flan.answers import programs

    return programs.find_program_answer(text)


def _normalise_program(value):
    from keras_flan.answers import programs

    return programs.normalise_program_answer(value)


KINDS = {
    "number": Kind(
        lambda text, choices: numbers.find_number(text),
        numbers.normalise_number,
        "separators, currency, percent, fractions, digits of any script",
    ),
    "option": Kind(
        options.find_option,
        options.normalise_option,
        "the letter of an option, or its text",
    ),
    "yes_no": Kind(
        lambda text, choices: words.find_yes_no(text),
        words.normalise_yes_no,
        "yes or no; true and false count too",
    ),
    "validity": Kind(
        lambda text, choices: words.find_validity(text),
        words.normalise_validity,
        "valid or invalid",
    ),
    "text": Kind(
        lambda text, choices: words.find_text(text),
        words.normalise_text,
        "free text up to the end of the line",
    ),
    "coin": Kind(
        lambda text, choices: words.find_coin(text),
        words.normalise_yes_no,
        "yes or no, or the side of a coin",
    ),
    "letters": Kind(
        lambda text, choices: words.find_letters(text),
        words.normalise_letters,
        "joined letters",
    ),
    "list": Kind(
        lambda text, choices: words.find_list(text),
        words.normalise_list,
        "words in order",
    ),
    "brackets": Kind(
        lambda text, choices: words.find_brackets(text),
        words.normalise_brackets,
        "a string of brackets",
    ),
    "span": Kind(
        lambda text, choices: spans.find_span(text),
        spans.canonical_span,
        "a line, compared as SQuAD does",
    ),
    "whole": Kind(
        lambda text, choices: spans.find_whole(text),
        spans.canonical_whole,
        "all of the text",
    ),
    "program": Kind(
        _find_program,
        _normalise_program,
        "what a program prints or returns, run in a sandbox",
    ),
}

_NUMBER = Protocol("number")
BENCHMARKS = {
    "gsm8k": _NUMBER,
    "mgsm": _NUMBER,
    "multiarith": _NUMBER,
    "svamp": _NUMBER,
    "asdiv": _NUMBER,
    "addsub": _NUMBER,
    "singleeq": _NUMBER,
    "aqua": Protocol("option", letters="ABCDE"),
    "commonsenseqa": Protocol("option", letters="ABCDE"),
    "mmlu": Protocol("option", letters="ABCD"),
    "strategyqa": Protocol("yes_no"),
    "coin_flip": Protocol("coin"),
    "last_letters": Protocol("letters"),
    "tydiqa": Protocol("span"),
    "xquad": Protocol("span"),
    "winogender": Protocol("span"),
    "open_ended": Protocol("whole"),
    "bbh": Protocol(None, kinds={"word_sorting": "list"}),
    "records": Protocol(None),
}


def extract_answer(
    text: str,
    kind: str,
    choices: Sequence[str] | None = None,
    rules: str | None = None,
) -> Answer | None:
    """Finds the answer in what a model wrote.

    Ordered rules are tried; the first that finds a value of the right kind
    wins: what follows the last answer cue ("The answer is", "Answer:",
    "####", the cues of the MGSM languages), then rules of the kind. Text
    after a new "Q:" is ignored.

    Args:
        text: Any string; its last 10,000 characters are read.
        kind: A name in `KINDS`: `number`, `option`, `yes_no`, `text`, ...
        choices: For `option`: the texts of the options in order, or a string
            of letters such as `"ABCD"`.
        rules: A name in `RULE_SETS` to read as a published pipeline did.

    Returns:
        The answer, or None: the text abstains.

    Raises:
        InputError: If the kind or the rule set is unknown.

    Example:
        >>> extract_answer("23 - 20 + 6 = 9. The answer is 9.", "number")
        Answer(value='9', start=31, end=32, rule='phrase')

    Source: Flan (arXiv:2210.11416), self-consistency (arXiv:2203.11171).
    """
    find, special = _kind(kind).find, rule_set(rules)
    if special and special.find:
        found = published.find(special, text, kind, choices)
        if not found:
            return None
        value, start, end, rule = found
        return Answer(special.normalise(value, kind), start, end, rule)
    clipped, offset = clip(text)
    found = find(clipped, choices)
    if not found or not found[0]:
        return None
    value, start, end, rule = found
    return Answer(value, start + offset, end + offset, rule)


def normalise_answer(
    value: str, kind: str, rules: str | None = None
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
    return _kind(kind).normalise(value)


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
    """
    if name is not None and name not in RULE_SETS:
        raise InputError(
            f"no rule set {name!r}." + did_you_mean(name, RULE_SETS)
        )
    return RULE_SETS[name] if name else None


def protocol(benchmark: str) -> Protocol:
    """Returns the protocol of a benchmark.

    Raises:
        InputError: If there is no such benchmark.
    """
    if benchmark not in BENCHMARKS:
        raise InputError(
            f"no benchmark {benchmark!r}." + did_you_mean(benchmark, BENCHMARKS)
        )
    return BENCHMARKS[benchmark]


def answer_kind(
    benchmark: str, task: str | None = None, target: str | None = None
) -> str:
    """Returns the kind of the answers of a benchmark.

    Args:
        benchmark: A name in `BENCHMARKS`.
        task: The task within it, for benchmarks whose tasks differ.
        target: A gold answer, which shows the kind where the benchmark
            doesn't fix it (`bbh`, `records`).

    Example:
        >>> answer_kind("gsm8k"), answer_kind("bbh", "snarks", "(A)")
        ('number', 'option')
    """
    entry = protocol(benchmark)
    if task in entry.kinds:
        return entry.kinds[task]
    return entry.kind or ("text" if target is None else infer_kind(target))


_SHAPES = {
    "number": r"-?[$€£]?[\d,]*\.?\d+%?",
    "option": r"\([A-Z]\)|[A-Z]",
    "yes_no": r"(?i:yes|no|true|false)",
    "validity": r"(?i:valid|invalid)",
    "brackets": r"[\[\](){}<>\s]+",
}


def infer_kind(target: str) -> str:
    """Returns the kind that a gold answer looks like.

    Example:
        >>> [infer_kind(x) for x in ("18", "(B)", "no", "] ]", "Paris")]
        ['number', 'option', 'yes_no', 'brackets', 'text']
    """
    target = target.strip()
    for kind, shape in _SHAPES.items():
        if re.fullmatch(shape, target):
            return kind
    return "text"


def _kind(name: str) -> Kind:
    if name not in KINDS:
        raise InputError(
            f"no answer kind {name!r}." + did_you_mean(name, KINDS)
        )
    return KINDS[name]
