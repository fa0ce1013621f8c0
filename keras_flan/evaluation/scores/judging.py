"""Judging rows of outputs: answers, votes, and whether they are right."""

import dataclasses
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from keras_flan.answers import extract_answer, is_correct, normalise_answer
from keras_flan.answers.confidence import signals
from keras_flan.answers.cues import Choices, cut_at_stop, window
from keras_flan.answers.option_texts import listed_options
from keras_flan.answers.voting import path_weights, stopping_point, vote
from keras_flan.errors import InputError
from keras_flan.evaluation.benchmarks.protocols import (
    PromptProtocol,
    load_protocol,
)
from keras_flan.evaluation.scores.metrics import (
    METRICS,
    OF_KIND,
    ROUGES,
    Marked,
    Metric,
)
from keras_flan.evaluation.scores.predictions import (
    Prediction,
    Verdict,
    as_predictions,
)
from keras_flan.evaluation.scores.rouge import needs_own_tokens
from keras_flan.evaluation.scores.targets import canonical_targets


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
        marked: What metrics see.
        language: The code of the language, if it is known.
        signals: What the paths show of the elected answer, see
            `keras_flan.answers.confidence.signals`.
    """

    task: str
    answer_kind: str
    paths_correct: list[bool]
    measures: dict[str, float]
    marked: Marked
    language: str | None = None
    signals: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def own_tokens(self) -> bool:
        """Whether ROUGE is by tokens of our own, in rows of other scripts."""
        return self.marked.other_script and not {*ROUGES}.isdisjoint(
            self.measures
        )


def judge(
    benchmark: str | os.PathLike | PromptProtocol,
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
    for name in protocol.metrics:
        METRICS.named(name)  # says if there is none
    predictions = as_predictions(rows, source)
    if not predictions:
        raise InputError(f"{source}: no rows to score")
    tasks: dict[str, list[str]] = {}
    for row in predictions:
        tasks.setdefault(row.task or protocol.name, []).append(row.target)
    found = {task: protocol.kind_of(task, t) for task, t in tasks.items()}
    kinds = [_kind_of(row, found, protocol) for row in predictions]
    languages = [_language_of(row, protocol) for row in predictions]
    targets = canonical_targets(
        predictions,
        kinds,
        languages,
        letters=protocol.letters,
        rules=rules,
        source=source,
    )
    own = {task for task, texts in tasks.items() if needs_own_tokens(texts)}
    return [
        _judge(
            row,
            kind,
            right,
            language,
            protocol,
            rules,
            own_tokens=(row.task or protocol.name) in own,
        )
        for row, kind, right, language in zip(
            predictions, kinds, targets, languages, strict=True
        )
    ]


def _kind_of(
    row: Prediction, kinds: Mapping[str, str], protocol: PromptProtocol
) -> str:
    task = row.task or protocol.name
    # What a log of this protocol says is what the protocol said then.
    states = protocol.extractor or task in protocol.kinds
    if states and row.protocol == protocol.name:
        return kinds[task]
    return row.answer_kind or kinds[task]


def _language_of(row: Prediction, protocol: PromptProtocol) -> str | None:
    if row.language or not protocol.tasks_are_languages:
        return row.language
    return row.task


def _judge(
    row: Prediction,
    kind: str,
    targets: Sequence[str],
    language: str | None,
    protocol: PromptProtocol,
    rules: str | None,
    own_tokens: bool,
) -> Judgement:
    outputs = [cut_at_stop(text, row.stop) for text in row.outputs]
    choices: Choices = row.options or protocol.letters
    if kind == "option" and row.prompt and not row.options:
        choices = listed_options(row.prompt) or choices
    found = [
        extract_answer(text, kind, choices, rules, language) for text in outputs
    ]
    answers = [answer.value if answer else None for answer in found]

    def right(answer: str | None) -> bool:
        return any(is_correct(answer, target, rules) for target in targets)

    elected = vote(answers)
    paths_correct = [right(answer) for answer in answers]
    measures = {
        "single": sum(paths_correct) / len(answers),
        "abstained": elected.abstained / len(answers),
    }
    drawn = stopping_point(answers) or len(answers)
    measures["adaptive"] = right(vote(answers[:drawn]).winner)
    measures["drawn"] = drawn / len(answers)
    if row.log_probabilities is not None:
        weights = path_weights(row.log_probabilities, row.token_counts)
        measures["weighted"] = right(vote(answers, weights, "sum").winner)
    if row.ranking:
        likeliest = row.ranking.choices[row.ranking.best(by_token=True)]
        measures["per_token"] = right(
            normalise_answer(likeliest, kind, rules, language)
        )
    best = answers.index(elected.winner) if elected.winner else 0
    one = found[best]
    marked = Marked(
        answer=elected.winner,
        targets=targets,
        correct=right(elected.winner),
        written=outputs[best][one.start : one.end] if one else "",
        output=window(outputs[best])[0],
        references=row.right_answers,
        answer_kind=kind,
        row=row,
        other_script=own_tokens,
    )
    for name in dict.fromkeys((*protocol.metrics, *OF_KIND.get(kind, ()))):
        if METRICS.named(name).of_example is not None:
            measures[name] = _measured(name, METRICS.named(name), marked)
    return Judgement(
        task=row.task or protocol.name,
        answer_kind=kind,
        answers=answers,
        rules=[answer.rule if answer else None for answer in found],
        spans=[[a.start, a.end] if a else None for a in found],
        votes=elected.counts,
        answer=elected.winner,
        confidence=elected.confidence,
        correct=marked.correct,
        paths_correct=paths_correct,
        measures=measures,
        marked=marked,
        language=language,
        signals=signals(
            answers, outputs, row.log_probabilities, row.token_counts
        ),
    )


def _measured(name: str, metric: Metric, marked: Marked) -> float:
    """Returns the score of an example, which has to be a number."""
    assert metric.of_example is not None
    value = metric.of_example(marked)
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(
            f"the metric {name!r}: expected a finite number, found "
            f"{value!r:.40} for the answer {marked.answer!r:.40}"
        )
    return float(value)
