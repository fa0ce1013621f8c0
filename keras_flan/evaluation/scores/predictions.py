"""Logged examples: a line of `predictions.jsonl`, and what is found in it."""

import dataclasses
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from keras_flan.answers import KINDS
from keras_flan.errors import InputError, did_you_mean
from keras_flan.files import read_jsonl, write_jsonl
from keras_flan.outputs import settle
from keras_flan.storage import as_path

PREDICTIONS_FILE = "predictions.jsonl"


@dataclasses.dataclass(frozen=True)
class Ranking:
    """How likely the answers to choose from are.

    Args:
        choices: The answers.
        log_probabilities: Of each, summed over its tokens.
        token_counts: Of each.
    """

    choices: list[str]
    log_probabilities: list[float]
    token_counts: list[int]

    def best(self, by_token: bool = False) -> int:
        """Returns the index of the likeliest choice; the first of equals.

        Args:
            by_token: Compare the mean over tokens instead of the sum.

        Example:
            >>> cities = ["Oslo", "New York City"]
            >>> ranking = Ranking(cities, [-3.0, -4.0], [1, 4])
            >>> ranking.best(), ranking.best(by_token=True)
            (0, 1)
        """
        scores: Sequence[float] = self.log_probabilities
        if by_token:
            pairs = zip(scores, self.token_counts, strict=True)
            scores = [score / max(count, 1) for score, count in pairs]
        return max(range(len(scores)), key=lambda i: (scores[i], -i))


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What was found in the outputs of an example.

    Args:
        answers: The canonical answer of each path; None where there is none.
        rules: The rule that found it.
        spans: Where it begins and ends in the output.
        votes: Number of paths by answer.
        answer: The elected answer.
        confidence: Its share of the paths.
        correct: Whether it is right.
    """

    answers: list[str | None]
    rules: list[str | None]
    spans: list[list[int] | None]
    votes: dict[str, int]
    answer: str | None
    confidence: float
    correct: bool


_VERDICT = tuple(field.name for field in dataclasses.fields(Verdict))
_ORIGIN = (
    "protocol",
    "protocol_version",
    "extractor_version",
    "mode",
    "seed",
    "model",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction:
    """A question and what was written for it: of `evaluate`, or of others.

    Args:
        task: The task of the benchmark.
        id: Where the question came from.
        prompt: What the model read.
        shots: How many exemplars stand in it.
        target: The right answer.
        answer_kind: A name in `keras_flan.answers.KINDS`; else the protocol
            or the targets decide.
        language: The code of the language of the outputs, such as `"de"`,
            where it matters to numbers and dates.
        options: The texts of the options.
        stop: An output ends before the first of these texts.
        references: All right answers, where there may be several.
        names: How the prompt names the options, in their order, where the
            target is such a name.
        outputs: What was written, a text per path.
        log_probabilities: Of each path, summed over its tokens.
        token_counts: Of each path.
        ranking: What the mode `rank` compared.
        verdict: What `evaluate` found in the outputs.
        protocol: The benchmark.
        protocol_version: Version of its protocol.
        extractor_version: Version of the rules that found the answers.
        mode: How it was asked.
        seed: Of the exemplars and of the sampling.
        model: The model's hash.
        extra: All that a line says besides.
    """

    task: str | None = None
    id: str | None = None
    prompt: str | None = None
    shots: int | None = None
    target: str
    answer_kind: str | None = None
    language: str | None = None
    options: Sequence[str] = ()
    stop: Sequence[str] = ()
    references: Sequence[str] | None = None
    names: Sequence[str] | None = None
    outputs: Sequence[str]
    log_probabilities: Sequence[float] | None = None
    token_counts: Sequence[int] | None = None
    ranking: Ranking | None = None
    verdict: Verdict | None = None
    protocol: str | None = None
    protocol_version: int | None = None
    extractor_version: int | None = None
    mode: str | None = None
    seed: int | None = None
    model: str | None = None
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def right_answers(self) -> Sequence[str]:
        """All answers that count as right."""
        return self.references or [self.target]

    @property
    def logged(self) -> Verdict:
        """The verdict of the log; InputError if it has none."""
        if self.verdict is None:
            raise InputError(
                f"{self.id}: expected 'answer' and 'correct', as `keras-flan "
                "evaluate` logs them; score the file with `keras-flan score`"
            )
        return self.verdict

    @classmethod
    def from_row(
        cls, row: Mapping[str, Any], place: str = "row"
    ) -> "Prediction":
        """Reads a line.

        Args:
            row: Its object; `score` says which keys it may have.
            place: What errors call it.

        Raises:
            InputError: If a field is missing or of the wrong type.
        """
        target = row.get("target")
        if isinstance(target, bool) or not isinstance(
            target, str | int | float
        ):
            raise InputError(
                f"{place}: expected a text or number under 'target', found "
                f"{target!r:.60}"
                + ("" if "target" in row else did_you_mean("target", row))
            )
        outputs, kind = _outputs(row, place), row.get("answer_kind")
        if kind is not None:
            try:
                KINDS.named(kind)
            except InputError as error:
                raise InputError(f"{place}: {error}") from None
        for key in ("stop", "references", "names"):
            if row.get(key) and not _texts(row[key]):
                raise InputError(
                    f"{place}: expected a list of texts under {key!r}, found "
                    f"{row[key]!r:.60}"
                )
        options = row.get("options") or ()
        if isinstance(options, str):
            options = options.split("\n")
        verdict = _verdict(row)
        known = {field.name for field in dataclasses.fields(cls)}
        known |= {"output", "index", *(_VERDICT if verdict else ())}
        return cls(
            task=str(row["task"]) if "task" in row else None,
            id=None if row.get("id") is None else str(row["id"]),
            prompt=row.get("prompt"),
            shots=row.get("shots"),
            target=target if isinstance(target, str) else repr(target),
            answer_kind=kind,
            language=_text(row, "language", place),
            options=tuple(map(str, options)),
            stop=tuple(row.get("stop") or ()),
            references=tuple(row.get("references") or ()) or None,
            names=tuple(row.get("names") or ()) or None,
            outputs=outputs,
            log_probabilities=_numbers(row, "log_probabilities", place),
            token_counts=_numbers(row, "token_counts", place),
            ranking=_ranking(row.get("ranking"), place),
            verdict=verdict,
            **{key: row.get(key) for key in _ORIGIN},
            extra={k: v for k, v in row.items() if k not in known},
        )

    def to_row(self, index: int | None = None) -> dict[str, Any]:
        """Returns the line as an object, its keys in the order of the file.

        Args:
            index: The example's place in its run, for a journal.
        """
        row = {k: v for k, v in vars(self).items() if v is not None}
        extra, verdict = row.pop("extra"), row.pop("verdict", None)
        origin = {key: row.pop(key) for key in _ORIGIN if key in row}
        if self.ranking:
            row["ranking"] = vars(self.ranking)
        if index is not None:
            row["index"] = index
        if verdict:
            row |= {key: getattr(verdict, key) for key in _VERDICT}
        return {**row, **origin, **extra}


def as_predictions(
    rows: Iterable[Mapping[str, Any] | Prediction], source: str = "rows"
) -> list[Prediction]:
    """Returns rows as predictions; `source` is what errors call them."""
    return [
        row
        if isinstance(row, Prediction)
        else Prediction.from_row(row, f"{source}:{number}")
        for number, row in enumerate(rows, 1)
    ]


def read_predictions(path: str | os.PathLike) -> list[Prediction]:
    """Reads recorded outputs: a JSON Lines file, or the folder of a run.

    Raises:
        InputError: If there is none, or a line is broken.
    """
    path = as_path(path)
    if path.is_dir():
        settle(path)
        path /= PREDICTIONS_FILE
        if not path.is_file():
            raise InputError(
                f"{path}: no such file; give the folder of one run, which "
                "`keras-flan evaluate` finished"
            )
    # Logs of other tools may hold NaN.
    return as_predictions(read_jsonl(path, allow_nan=True), str(path))


def write_predictions(
    path: str | os.PathLike, predictions: Iterable[Prediction]
) -> None:
    """Writes a line per prediction, atomically."""
    write_jsonl(path, (prediction.to_row() for prediction in predictions))


def _texts(value: Any) -> bool:
    """Whether a value is a list of at least one text."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(text, str) for text in value)
    )


def _text(row: Mapping[str, Any], key: str, place: str) -> str | None:
    if row.get(key) is not None and not isinstance(row[key], str):
        raise InputError(
            f"{place}: expected a text under {key!r}, found {row[key]!r:.60}"
        )
    return row.get(key)


def _outputs(row: Mapping[str, Any], place: str) -> list[str]:
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
    return outputs


def _numbers(row: Mapping[str, Any], key: str, place: str) -> list[Any] | None:
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


def _ranking(ranking: Any, place: str) -> Ranking | None:
    if ranking is None:
        return None
    keys = [field.name for field in dataclasses.fields(Ranking)]
    if (
        not isinstance(ranking, dict)
        or len({len(ranking.get(key) or ()) for key in keys}) != 1
    ):
        raise InputError(
            f"{place}: expected lists of one length under 'ranking' "
            f"({', '.join(keys)}), found {ranking!r:.60}"
        )
    return Ranking(**{key: ranking[key] for key in keys})


def _verdict(row: Mapping[str, Any]) -> Verdict | None:
    if "answer" not in row or "correct" not in row:
        return None
    return Verdict(
        answers=row.get("answers", []),
        rules=row.get("rules", []),
        spans=row.get("spans", []),
        votes=row.get("votes", {}),
        answer=row["answer"],
        confidence=row.get("confidence", 0.0),
        correct=row["correct"],
    )
