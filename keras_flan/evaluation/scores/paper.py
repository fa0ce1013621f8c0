"""The paper's normalised average, and its published results as data."""

import functools
from collections.abc import Mapping
from pathlib import Path

from keras_flan.errors import InputError
from keras_flan.evaluation.benchmarks.protocols import load_protocol
from keras_flan.schema import Strict, read_yaml, validate

COLUMNS = (
    "average",
    "mmlu_direct",
    "mmlu_cot",
    "bbh_direct",
    "bbh_cot",
    "tydiqa",
    "mgsm",
)


class SelfConsistency(Strict):
    """Results with votes: the columns, and a row per model."""

    columns: tuple[str, ...]
    rows: dict[str, tuple[float | None, ...]]


class Subtasks(Strict):
    """Scores of the subtasks of BBH, in their order; None is not known."""

    subtasks: tuple[str, ...]
    direct: dict[str, tuple[float | None, ...]]
    cot: dict[str, tuple[float | None, ...]]


class PublishedResults(Strict):
    """The published results, in percent.

    Args:
        source: The paper.
        columns: What the numbers of `models` and `tasks` are.
        models: A row per model.
        tasks: Rows by model and number of finetuning tasks.
        self_consistency: Results with votes.
        bbh: Scores of every subtask of BBH, by model.
        tydiqa: Exact match by model and language.
        mgsm: Accuracy by model and language.
    """

    source: str
    columns: tuple[str, ...]
    models: dict[str, tuple[float, ...]]
    tasks: dict[str, dict[int, tuple[float, ...]]]
    self_consistency: SelfConsistency
    bbh: Subtasks
    tydiqa: dict[str, dict[str, float]]
    mgsm: dict[str, dict[str, float]]


@functools.cache
def published_results() -> PublishedResults:
    """Returns the results of the Flan 2022 paper.

    Example:
        >>> results = published_results()
        >>> dict(zip(results.columns, results.models["Flan-T5-Small"]))[
        ...     "mmlu_direct"
        ... ]
        28.7

    Source: arXiv:2210.11416, tables 1, 3 to 5 and 17 to 21.
    """
    path = Path(__file__).parent / "published" / "flan2022.yaml"
    return validate(PublishedResults, read_yaml(path), str(path))


def normalise(score: float, baseline: float) -> float:
    """Returns how far a score is above guessing, in percent of the way.

    Args:
        score: In percent.
        baseline: What guessing scores, in percent.

    Example:
        >>> normalise(62.5, 25.0)
        50.0
    """
    return 100 * (score - baseline) / (100 - baseline)


def mean_normalised(benchmark: str, tasks: Mapping[str, float]) -> float:
    """Returns the mean normalised score over the tasks of a benchmark.

    Args:
        benchmark: Its protocol has the baselines.
        tasks: Score by task, in percent.

    Example:
        >>> mean_normalised("bbh", {"navigate": 75.0, "word_sorting": 10.0})
        30.0
    """
    protocol = load_protocol(benchmark)
    values = [normalise(s, protocol.baseline_of(t)) for t, s in tasks.items()]
    return sum(values) / len(values)


def normalised_average(
    *,
    mmlu_direct: float,
    mmlu_cot: float,
    bbh_direct: Mapping[str, float],
    bbh_cot: Mapping[str, float],
    tydiqa: float,
    mgsm: float,
) -> float:
    """Returns the paper's headline number.

    The mean of six normalised scores: MMLU and BBH, each direct and with
    chain of thought, TyDiQA and MGSM. BBH is normalised subtask by subtask,
    with what guessing scores on each; so it may be negative.

    Args:
        mmlu_direct: Mean over subjects, in percent.
        mmlu_cot: Mean over subjects, in percent.
        bbh_direct: Score of each of the 27 subtasks, in percent.
        bbh_cot: Score of each of the 27 subtasks, in percent.
        tydiqa: Mean exact match over the eight languages, in percent.
        mgsm: Mean over the ten languages, in percent.

    Raises:
        InputError: If a subtask of BBH is missing.

    Example:
        >>> bbh = keras_flan.evaluation.load_protocol("bbh").baselines
        >>> score = normalised_average(
        ...     **{"mmlu_direct": 25.0, "mmlu_cot": 25.0},
        ...     **{"bbh_direct": bbh, "bbh_cot": bbh},
        ...     **{"tydiqa": 0.0, "mgsm": 0.0},
        ... )
        >>> round(score, 6)
        0.0

    Source: arXiv:2210.11416, section 2.3; the baselines are in
    `protocol_library/bbh.yaml`.
    """
    subtasks = set(load_protocol("bbh").baselines)
    for scores in (bbh_direct, bbh_cot):
        if missing := subtasks - set(scores):
            raise InputError(
                f"bbh: no score for {', '.join(sorted(missing))}; the "
                "normalised average needs all 27 subtasks"
            )
    return (
        normalise(mmlu_direct, load_protocol("mmlu").baseline)
        + normalise(mmlu_cot, load_protocol("mmlu").baseline)
        + mean_normalised("bbh", {t: bbh_direct[t] for t in subtasks})
        + mean_normalised("bbh", {t: bbh_cot[t] for t in subtasks})
        + tydiqa
        + mgsm
    ) / 6
