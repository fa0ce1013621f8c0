"""Rules of published pipelines, to reproduce their scores exactly.

The default rules read better: they know that 0.50 is 0.5, and abstain where
these guess. Each set is versioned and compares answers as its origin did.
"""

import dataclasses
import re
from collections.abc import Callable

from keras_flan.answers.cues import Choices, Found
from keras_flan.answers.numbers import normalise_number


@dataclasses.dataclass(frozen=True)
class RuleSet:
    """How one pipeline read and compared answers.

    Args:
        version: Goes up with every change that can change an answer.
        find: `(text, kind, choices)` to `(value, start, end, rule)` or None;
            None stands for the default rules.
        normalise: `(value, kind)` to what answers and targets are compared
            as; None stands for the default.
        equal: Whether an answer counts as a target, both normalised.

    Example:
        >>> rule_set("bbh").version
        1
    """

    version: int
    find: Callable[[str, str, Choices], Found | None] | None
    normalise: Callable[[str, str], str] | None
    equal: Callable[[str, str], bool] = lambda answer, target: answer == target


def _verbatim(value: str, kind: str) -> str:
    return value.strip()


def _bbh(text: str, kind: str, choices: Choices) -> Found | None:
    """Everything after the last "the answer is ", less one full stop."""
    cue = "the answer is "
    at = text.rfind(cue)
    start = at + len(cue) if at >= 0 else 0
    value = text[start:].strip().removesuffix(".")
    start = text.index(value, start)
    return value, start, start + len(value), "phrase" if at >= 0 else "whole"


_TRIGGER = re.compile(
    r"(?:among A through (?P<last>[A-Z]), )?the answer"
    r"(?: \([^)\n]{1,30}\))? is",
    re.IGNORECASE,
)
# The pipeline's own trigger opens the text, or stands behind a blank and a
# line break.
_OWN = re.compile(rf"(?:\A\s?| \n)(?:Therefore, )?{_TRIGGER.pattern}", re.I)


def _zero_shot_cot(text: str, kind: str, choices: Choices) -> Found | None:
    """The first match after the answer trigger; commas are dropped.

    The trigger is the last that the pipeline wrote, else the last at all: a
    model writes the same words in its rationale, and again in its answer.
    """
    own = list(_OWN.finditer(text)) or list(_TRIGGER.finditer(text))
    start = own[-1].end() if own else 0
    rest, rule = text[start:], "phrase" if own else "whole"
    if kind in ("yes_no", "coin"):
        blanked = re.sub(r"[\"'\n.\s:,]", " ", rest.lower())
        match = re.search(r"(?<![^ ])(?:yes|no)(?![^ ])", blanked)
        return match and (match[0], *_span(match, start), rule)
    if kind == "option":
        letters = "".join(choices) if isinstance(choices, str) else "ABCDEF"
        if own and own[-1]["last"]:
            letters = f"A-{own[-1]['last'].upper()}"
        match = re.search(f"[{letters}]", rest)
        return match and (match[0], *_span(match, start), rule)
    if kind == "number":
        match = re.search(r"-?\d[\d,]*(?:\.[\d,]*)?", rest)
        if not match:
            return None
        value = match[0].replace(",", "").removesuffix(".")
        return value, *_span(match, start), rule
    value = re.sub(r"[\"'\n.\s]", "", rest)
    return value, start, len(text), rule


def _mot_cascade(text: str, kind: str, choices: Choices) -> Found | None:
    """What follows the last "A: " or "ans = ", else the last "Answer:".

    Each file of the pipeline has one of these marks; a text that has none is
    its own answer.
    """
    marks: list[re.Match[str]] = []
    for mark in (r"^A:|\bans =", r"^Answer:"):
        marks = marks or list(re.finditer(mark, text, re.MULTILINE))
    start = marks[-1].end() if marks else 0
    value = text[start:].strip()
    start = text.index(value, start)
    rule = "mark" if marks else "whole"
    return value, start, start + len(value), rule


def _mot_value(value: str, kind: str) -> str:
    if kind == "number" or re.fullmatch(r"-?\d[\d,]*(?:\.\d+)?", value):
        return normalise_number(value) or value
    return value


def _early_stopping(text: str, kind: str, choices: Choices) -> Found | None:
    """Only "the answer is yes" or "the answer is no", in that order."""
    for word in ("yes", "no"):
        if match := re.search(f"the answer is ({word})", text, re.IGNORECASE):
            return word, *match.span(1), "phrase"
    return None


def _up_to_percent(answer: str, target: str) -> bool:
    scaled = {normalise_number(f"{target}e{power}") for power in (-2, 0, 2)}
    return answer in scaled


RULE_SETS = {
    # suzgunmirac/BIG-Bench-Hard: the text after the last "the answer is ",
    # compared as a string.
    "bbh": RuleSet(1, _bbh, _verbatim),
    # kojima-takeshi188/zero_shot_cot: the first match after the last answer
    # trigger, compared as a string.
    "zero_shot_cot": RuleSet(2, _zero_shot_cot, _verbatim),
    # MurongYue/LLM_MoT_cascade: the text after "A:", "ans =" or "Answer:", else
    # the whole text; it never abstains.
    "mot_cascade": RuleSet(2, _mot_cascade, _mot_value),
    # Yiwei98/ESC: only "the answer is yes" and "the answer is no".
    "early_stopping": RuleSet(1, _early_stopping, _verbatim),
    # microsoft/ToRA: a number counts if it is right up to a factor of 100.
    "tora": RuleSet(1, None, None, _up_to_percent),
}


def _span(match: re.Match[str], offset: int) -> tuple[int, int]:
    return match.start() + offset, match.end() + offset
