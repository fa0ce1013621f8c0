"""Judges: from what a model wrote to rewards.

A judge gets a question and the texts of its paths and returns a reward for
each, or `None` where it has nothing to say: an abstention is no zero.
"""

import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeAlias

import pydantic

from keras_flan.answers import extract_answer
from keras_flan.answers.option_texts import listed_options
from keras_flan.answers.voting import vote
from keras_flan.data.mixtures.questions import Question
from keras_flan.errors import InputError
from keras_flan.evaluation.responsible.toxicity import lexicon_scores
from keras_flan.evaluation.scores.judging import judge as judged
from keras_flan.evaluation.scores.predictions import Prediction
from keras_flan.named import is_callable_name, load_callable
from keras_flan.schema import Strict

Judge: TypeAlias = Callable[[Question, Sequence[str]], list[float | None]]


class JudgeConfig(Strict):
    """A judge; also just its name.

    Attributes:
        name: `answer` (1 if the extracted answer is the target), `majority`
            (1 if it is that of most paths), `toxicity` (1 less the score),
            `length` (1 for `least` to `most` words), `format` (1 if
            `pattern` is found), or your own `module:function`: the prompt,
            the texts and the target to a number, or `None`, for each text.
        weight: What it counts in the sum of all judges.
        kind: For `answer` and `majority`: how answers are read, instead of
            what the task says; `program` runs programs in the sandbox.
        confidence: For `majority`: which share of the paths the winner
            needs; below it the judge abstains.
        least: For `length`.
        most: For `length`.
        pattern: For `format`: a regular expression.
        scorer: For `toxicity`: `module:function`, texts to scores 0 to 1;
            default: the lexicon.
    """

    name: str
    weight: float = 1.0
    kind: str | None = None
    confidence: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.5
    least: Annotated[int, pydantic.Field(ge=0)] = 1
    most: Annotated[int, pydantic.Field(gt=0)] = 100
    pattern: str = ""
    scorer: str | None = None

    @pydantic.model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @pydantic.field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in _JUDGES and not is_callable_name(name):
            raise ValueError(
                f"found {name!r}, expected one of {', '.join(_JUDGES)}, or "
                "module:function"
            )
        return name

    @pydantic.field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return pattern


def judge_of(configs: Sequence[JudgeConfig]) -> Judge:
    """Returns one judge of several: the weighted sum of their rewards.

    It abstains of a path if one of them does.

    Raises:
        InputError: If a function of the user's is not there.
    """
    judges = [(_made(config), config.weight) for config in configs]

    def all_of_them(
        question: Question, texts: Sequence[str]
    ) -> list[float | None]:
        totals: list[float | None] = [0.0] * len(texts)
        for judge, weight in judges:
            for i, reward in enumerate(judge(question, texts)):
                before = totals[i]
                if before is None or reward is None:
                    totals[i] = None
                else:
                    totals[i] = before + weight * reward
        return totals

    return all_of_them


def answers_of(
    question: Question, texts: Sequence[str], kind: str | None = None
) -> list[str | None]:
    """Returns the answers in texts; the question's target is not looked at."""
    kind = kind or question.kind
    choices: Sequence[str] | None = question.options or None
    if kind == "option" and not choices:
        choices = listed_options(question.prompt) or None
    found = [extract_answer(text, kind, choices) for text in texts]
    return [answer.value if answer else None for answer in found]


def _answer(
    question: Question, texts: Sequence[str], its: JudgeConfig
) -> list[float | None]:
    if not question.target:
        raise InputError(
            f"{question.name}: has no answer to compare with; take the judge "
            "'majority'"
        )
    [found] = judged(
        "records",
        [
            Prediction(
                prompt=question.prompt,
                target=question.target,
                answer_kind=its.kind or question.kind,
                options=question.options,
                outputs=texts,
            )
        ],
        source=question.name,
    )
    return [float(right) for right in found.paths_correct]


def _majority(
    question: Question, texts: Sequence[str], its: JudgeConfig
) -> list[float | None]:
    if not (its.kind or question.kind):
        raise InputError(
            f"{question.name}: how its answers are read is not known, as no "
            "label is looked at; give judges: [{name: majority, kind: number}] "
            "or another kind"
        )
    answers = answers_of(question, texts, its.kind)
    found = vote(answers)
    if found.winner is None or found.confidence < its.confidence:
        return [None] * len(texts)
    return [float(answer == found.winner) for answer in answers]


def _toxicity(
    question: Question, texts: Sequence[str], its: JudgeConfig
) -> list[float | None]:
    return [1.0 - score for score in lexicon_scores(list(texts))]


def _length(
    question: Question, texts: Sequence[str], its: JudgeConfig
) -> list[float | None]:
    numbers = [len(text.split()) for text in texts]
    return [float(its.least <= number <= its.most) for number in numbers]


def _format(
    question: Question, texts: Sequence[str], its: JudgeConfig
) -> list[float | None]:
    return [float(bool(re.search(its.pattern, text))) for text in texts]


def _own(
    question: Question,
    texts: Sequence[str],
    its: JudgeConfig,
    function: Callable[..., Any],
) -> list[float | None]:
    """Calls a function of the user's; what it fails at is an abstention."""
    try:
        rewards = list(function(question.prompt, list(texts), question.target))
        found = [None if r is None else float(r) for r in rewards]
        if len(found) != len(texts):
            raise ValueError(
                f"{len(found)} rewards for {len(texts)} texts; return one each"
            )
    except Exception as error:  # It may be anything.
        print(
            f"improvement: the judge {its.name} failed at {question.name} "
            f"({type(error).__name__}: {error}); it abstains",
            file=sys.stderr,
        )
        return [None] * len(texts)
    return [r if r is not None and math.isfinite(r) else None for r in found]


_Named: TypeAlias = Callable[
    [Question, Sequence[str], JudgeConfig], list[float | None]
]
_JUDGES: Mapping[str, _Named] = {
    "answer": _answer,
    "majority": _majority,
    "toxicity": _toxicity,
    "length": _length,
    "format": _format,
}


def _made(its: JudgeConfig) -> Judge:
    if its.name == "toxicity" and its.scorer:
        scorer = load_callable(its.scorer)

        def harmless(_: str, texts: list[str], __: str) -> list[float]:
            return [1.0 - float(score) for score in scorer(texts)]

        return lambda question, texts: _own(question, texts, its, harmless)
    if its.name in _JUDGES:
        named = _JUDGES[its.name]
        return lambda question, texts: named(question, texts, its)
    function = load_callable(its.name)
    return lambda question, texts: _own(question, texts, its, function)
