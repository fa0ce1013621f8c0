"""Judging rows of outputs: answers, votes, and whether they are right."""

import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any

from keras_flan.answers import (
    KINDS,
    answer_kind,
    extract_answer,
    is_correct,
    normalise_answer,
    protocol,
)
from keras_flan.answers.spans import span_f1
from keras_flan.answers.voting import path_weights, stopping_point, vote
from keras_flan.errors import InputError, did_you_mean
from keras_flan.evaluation.benchmarks.protocols import cut_at_stop


def judge(
    benchmark: str,
    rows: Iterable[dict],
    *,
    rules: str | None = None,
    source: str = "rows",
) -> list[dict[str, Any]]:
    """Reads the answers of recorded outputs and compares them.

    Args:
        benchmark: A name in `keras_flan.answers.BENCHMARKS`.
        rows: As `score` takes them.
        rules: A name in `keras_flan.answers.RULE_SETS`.
        source: What errors call the rows.

    Returns:
        A dict a row: `task`, `answers` (one a path, or None), `rules`,
        `spans`, `votes`, `answer` (the elected one), `confidence`,
        `correct`, and more that `score` sums up.

    Raises:
        InputError: As `score` does.
    """
    letters = protocol(benchmark).letters
    checked = [
        _checked(row, benchmark, f"{source}:{number}")
        for number, row in enumerate(rows, 1)
    ]
    if not checked:
        raise InputError(f"{source}: no rows to score")
    kinds = _kinds(benchmark, checked)
    return [
        _judge(row, row["answer_kind"] or kinds[row["task"]], letters, rules)
        for row in checked
    ]


def _judge(
    row: dict, kind: str, letters: str | None, rules: str | None
) -> dict[str, Any]:
    outputs = [cut_at_stop(text, row["stop"]) for text in row["outputs"]]
    found = [
        extract_answer(text, kind, row["options"] or letters, rules)
        for text in outputs
    ]
    answers = [answer and answer.value for answer in found]
    targets = [
        normalise_answer(target, kind, rules)
        for target in row["references"] or [row["target"]]
    ]

    def right(answer: str | None) -> bool:
        return any(is_correct(answer, target, rules) for target in targets)

    elected = vote(answers)
    result = {
        "task": row["task"],
        "answer_kind": kind,
        "answers": answers,
        "rules": [answer and answer.rule for answer in found],
        "spans": [answer and [answer.start, answer.end] for answer in found],
        "votes": elected.counts,
        "answer": elected.winner,
        "confidence": elected.confidence,
        "correct": right(elected.winner),
        "unparsed": elected.winner is None,
        "single": sum(map(right, answers)) / len(answers),
        "paths_correct": [right(answer) for answer in answers],
        "abstained": elected.abstained / len(answers),
    }
    if len(answers) > 1:
        drawn = stopping_point(answers)
        result["adaptive"] = right(vote(answers[:drawn]).winner)
        result["drawn"] = drawn / len(answers)
    if kind == "span":
        result["f1"] = max(
            span_f1(elected.winner or "", reference)
            for reference in row["references"] or [row["target"]]
        )
    if kind == "whole":
        result["rouge_l"] = max(
            rouge_l(elected.winner or "", reference)
            for reference in row["references"] or [row["target"]]
        )
    if row["log_probabilities"] is not None:
        weights = path_weights(row["log_probabilities"], row["token_counts"])
        result["weighted"] = right(vote(answers, weights, "sum").winner)
    if row["ranking"]:
        best = ranked(row["ranking"], by_token=True)
        picked = normalise_answer(row["ranking"]["choices"][best], kind, rules)
        result["per_token"] = right(picked)
    return result


@functools.cache
def _rouge():
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


def ranked(ranking: dict, by_token: bool = False) -> int:
    """Returns the index of the likeliest choice; the first of equals.

    Args:
        ranking: `choices`, their summed `log_probabilities` and their
            `token_counts`.
        by_token: Compare the mean over tokens instead of the sum.

    Example:
        >>> ranking = {
        ...     "choices": ["Oslo", "New York City"],
        ...     "log_probabilities": [-3.0, -4.0],
        ...     "token_counts": [1, 4],
        ... }
        >>> ranked(ranking), ranked(ranking, by_token=True)
        (0, 1)
    """
    scores = ranking["log_probabilities"]
    if by_token:
        pairs = zip(scores, ranking["token_counts"], strict=True)
        scores = [score / max(count, 1) for score, count in pairs]
    return max(range(len(scores)), key=lambda i: (scores[i], -i))


def _kinds(benchmark: str, rows: Sequence[dict]) -> dict[str, str]:
    """Returns one kind a task: text if its targets look different."""
    seen: dict[str, set[str]] = {}
    for row in rows:
        kind = answer_kind(benchmark, row["task"], row["target"])
        seen.setdefault(row["task"], set()).add(kind)
    return {
        task: kinds.pop() if len(kinds) == 1 else "text"
        for task, kinds in seen.items()
    }


def _checked(row: dict, benchmark: str, place: str) -> dict[str, Any]:
    """Returns the fields of a row in one form, or says what is wrong."""
    target = row.get("target")
    if isinstance(target, bool) or not isinstance(target, str | int | float):
        raise InputError(
            f"{place}: expected a text or number under 'target', found "
            f"{target!r:.60}"
            + ("" if "target" in row else did_you_mean("target", row))
        )
    several = "outputs" in row
    if several == ("output" in row):
        raise InputError(
            f"{place}: expected either 'output' or 'outputs', found the keys "
            f"{sorted(row)}"
        )
    outputs = row["outputs"] if several else [row["output"]]
    if not _texts(outputs):
        expected = "a list of texts" if several else "a text"
        raise InputError(
            f"{place}: expected {expected} under "
            f"{'outputs' if several else 'output'!r}, found {outputs!r:.60}"
        )
    kind = row.get("answer_kind")
    if kind is not None and kind not in KINDS:
        raise InputError(
            f"{place}: no answer kind {kind!r}." + did_you_mean(kind, KINDS)
        )
    for key in ("stop", "references"):
        if row.get(key) and not _texts(row[key]):
            raise InputError(
                f"{place}: expected a list of texts under {key!r}, found "
                f"{row[key]!r:.60}"
            )
    return {
        "task": str(row.get("task", benchmark)),
        "target": target if isinstance(target, str) else repr(target),
        "references": row.get("references") or [],
        "outputs": outputs,
        "stop": row.get("stop") or (),
        "answer_kind": kind,
        "options": _options(row.get("options")),
        "log_probabilities": _numbers(row, "log_probabilities", place),
        "token_counts": _numbers(row, "token_counts", place),
        "ranking": _ranking(row.get("ranking"), place),
    }


def _texts(value: Any) -> bool:
    """Whether a value is a list of at least one text."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(text, str) for text in value)
    )


def _options(options: Any) -> list[str] | None:
    if isinstance(options, str):
        options = options.split("\n")
    return [str(option) for option in options] if options else None


def _ranking(ranking: Any, place: str) -> dict | None:
    if ranking is None:
        return None
    keys = ("choices", "log_probabilities", "token_counts")
    if (
        not isinstance(ranking, dict)
        or len({len(ranking.get(key) or ()) for key in keys}) != 1
    ):
        raise InputError(
            f"{place}: expected lists of one length under 'ranking' "
            f"({', '.join(keys)}), found {ranking!r:.60}"
        )
    return ranking


def _numbers(row: dict, key: str, place: str) -> list[float] | None:
    values = row.get(key)
    if values is None:
        return None
    n = len(row["outputs"]) if "outputs" in row else 1
    values = values if isinstance(values, list) else [values]
    if len(values) != n or not all(
        isinstance(value, int | float) and math.isfinite(value)
        for value in values
    ):
        raise InputError(
            f"{place}: expected {n} finite numbers under {key!r}, found "
            f"{values!r:.60}"
        )
    return values
