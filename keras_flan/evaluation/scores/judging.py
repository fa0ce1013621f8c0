"""Judging rows of outputs: answers, votes, and whether they are right."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from keras_flan.answers import extract_answer, is_correct, normalise_answer
from keras_flan.answers.cues import cut_at_stop
from keras_flan.answers.spans import span_f1
from keras_flan.answers.voting import path_weights, stopping_point, vote
from keras_flan.errors import InputError
from keras_flan.evaluation.benchmarks.protocols import (
    PromptProtocol,
    load_protocol,
)
from keras_flan.evaluation.scores.predictions import (
    Prediction,
    Verdict,
    as_predictions,
)


@dataclasses.dataclass(frozen=True)
class Judgement(Verdict):
    """A verdict, and what a score adds up.

    Args:
        task: The task.
        answer_kind: The kind of its answers.
        paths_correct: Whether each path is right.
        measures: What is averaged: `single` (share of right paths) and
            `abstained` (share without an answer), and where they apply the
            others that `score` lists.
    """

    task: str
    answer_kind: str
    paths_correct: list[bool]
    measures: dict[str, float]


def judge(
    benchmark: str | PromptProtocol,
    rows: Iterable[Mapping[str, Any] | Prediction],
    *,
    rules: str | None = None,
    source: str = "rows",
) -> list[Judgement]:
    """Reads the answers of recorded outputs and compares them.

    Args:
        benchmark: The benchmark, or its protocol.
        rows: As `score` takes them.
        rules: A name in `keras_flan.answers.RULE_SETS`.
        source: What errors call the rows.

    Returns:
        A judgement per row.

    Raises:
        InputError: As `score` does.
    """
    protocol = load_protocol(benchmark)
    predictions = as_predictions(rows, source)
    if not predictions:
        raise InputError(f"{source}: no rows to score")
    tasks: dict[str, list[str]] = {}
    for row in predictions:
        tasks.setdefault(row.task or protocol.name, []).append(row.target)
    kinds = {task: protocol.kind_of(task, t) for task, t in tasks.items()}
    return [
        _judge(row, row.task or protocol.name, kinds, protocol, rules)
        for row in predictions
    ]


def _judge(
    row: Prediction,
    task: str,
    kinds: Mapping[str, str],
    protocol: PromptProtocol,
    rules: str | None,
) -> Judgement:
    kind = kinds[task]
    # What a log of this protocol says is what the protocol said then.
    states = protocol.extractor or task in protocol.kinds
    if not (states and row.protocol == protocol.name):
        kind = row.answer_kind or kind
    outputs = [cut_at_stop(text, row.stop) for text in row.outputs]
    choices = row.options or protocol.letters
    found = [extract_answer(text, kind, choices, rules) for text in outputs]
    answers = [answer.value if answer else None for answer in found]
    targets = [
        normalise_answer(target, kind, rules) for target in row.right_answers
    ]

    def right(answer: str | None) -> bool:
        return any(is_correct(answer, target, rules) for target in targets)

    elected = vote(answers)
    paths_correct = [right(answer) for answer in answers]
    measures = {
        "single": sum(paths_correct) / len(answers),
        "abstained": elected.abstained / len(answers),
    }
    if len(answers) > 1:
        drawn = stopping_point(answers) or len(answers)
        measures["adaptive"] = right(vote(answers[:drawn]).winner)
        measures["drawn"] = drawn / len(answers)
    for name, measure in _MEASURES.get(kind, {}).items():
        measures[name] = max(
            measure(elected.winner or "", reference)
            for reference in row.right_answers
        )
    if row.log_probabilities is not None:
        weights = path_weights(row.log_probabilities, row.token_counts)
        measures["weighted"] = right(vote(answers, weights, "sum").winner)
    if row.ranking:
        best = row.ranking.choices[row.ranking.best(by_token=True)]
        measures["per_token"] = right(normalise_answer(best, kind, rules))
    return Judgement(
        task=task,
        answer_kind=kind,
        answers=answers,
        rules=[answer.rule if answer else None for answer in found],
        spans=[[a.start, a.end] if a else None for a in found],
        votes=elected.counts,
        answer=elected.winner,
        confidence=elected.confidence,
        correct=right(elected.winner),
        paths_correct=paths_correct,
        measures=measures,
    )


@functools.cache
def _rouge() -> Any:
    try:
        from rouge_score import rouge_scorer
    except ModuleNotFoundError:
        raise InputError(
            "ROUGE needs the package rouge-score; pip install "
            "'keras_flan[rouge]'"
        ) from None
    return rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True)


def rouge_l(text: str, reference: str) -> float:
    """Returns the ROUGE-L F1 of a text, with stemming.

    Args:
        text: What a model wrote.
        reference: What is expected.

    Raises:
        InputError: If the package rouge-score is missing.

    Example:
        >>> rouge_l("He likes cats.", "she likes a cat")
        0.5714285714285715
    """
    return _rouge().score(reference, text)["rougeL"].fmeasure


# What a kind of answers is measured by besides being right.
_MEASURES: dict[str, dict[str, Callable[[str, str], float]]] = {
    "span": {"f1": span_f1},
    "whole": {"rouge_l": rouge_l},
}
