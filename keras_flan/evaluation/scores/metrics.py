"""What is measured beside accuracy: named metrics, also of your own."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from keras_flan.answers import normalise_answer
from keras_flan.answers.option_texts import option_names
from keras_flan.answers.spans import canonical_span, span_f1
from keras_flan.evaluation.scores.predictions import Prediction
from keras_flan.evaluation.scores.rouge import rouge
from keras_flan.extensions import Registry

# A task with more kinds of right answers than this has no classes, nor one
# whose right answers are not twice as many as their kinds.
_MOST_CLASSES = 100


@dataclasses.dataclass(frozen=True)
class Marked:
    """An answered question, as a metric sees it.

    Args:
        answer: The elected answer in its canonical form; None if none was
            found.
        targets: The right answers in theirs.
        correct: Whether the answer is one of them.
        written: The answer as it stands in the output; empty if none was
            found.
        output: What the model wrote, up to a stop text: the first of its
            paths that gave the answer.
        references: The right answers as the data write them.
        answer_kind: The kind of the answer.
        row: All that was logged.
        other_script: Whether words are compared by tokens of our own, see
            `keras_flan.evaluation.scores.rouge`.

    Example:
        >>> spoke = Metric(of_example=lambda marked: float(marked.output != ""))
    """

    answer: str | None
    targets: Sequence[str]
    correct: bool
    written: str
    output: str
    references: Sequence[str]
    answer_kind: str
    row: Prediction
    other_script: bool = False


@dataclasses.dataclass(frozen=True)
class Metric:
    """A score beside accuracy; a module may add some under `METRICS`.

    Args:
        of_example: An answered question to its score; that of a task is the
            mean.
        of_task: All answered questions of a task to its score, or None where
            it has none. Instead of `of_example`.
        share: Whether the score is between 0 and 1, and printed in percent.

    Example:
        >>> def distance(marked):
        ...     if marked.answer is None:
        ...         return 100.0
        ...     return abs(float(marked.answer) - float(marked.targets[0]))
        >>> METRICS = {"distance": Metric(of_example=distance, share=False)}
    """

    of_example: Callable[[Marked], float] | None = None
    of_task: Callable[[Sequence[Marked]], float | None] | None = None
    share: bool = True

    def __post_init__(self) -> None:
        if (self.of_example is None) == (self.of_task is None):
            raise ValueError("give either of_example or of_task")


# === Of an example ===


def _exact_match(marked: Marked) -> float:
    """Whether the answer as written is a right one, as SQuAD compares."""
    found = canonical_span(marked.written)
    return float(
        found is not None and found in map(canonical_span, marked.references)
    )


def _f1(marked: Marked) -> float:
    return max(span_f1(marked.written, text) for text in marked.references)


def _rouge(name: str) -> Metric:
    def of_example(marked: Marked) -> float:
        return max(
            rouge(name, marked.output, text, marked.other_script)
            for text in marked.references
        )

    return Metric(of_example)


# === Of a task ===


def classes(marked: Sequence[Marked]) -> dict[str, dict[str, float]]:
    """Returns the figures of each class of a task.

    The classes are its right answers: of an option its text, where the rows
    say it. An answer that is none of them counts as a missed one of the right
    class, and so does none.

    Args:
        marked: The answered questions of the task.

    Returns:
        Class to `n` (right answers), `found` (answers of the model),
        `precision`, `recall` and `f1`, the most frequent first. Empty if the
        right answers are no classes: more than 100 of them, or on the average
        fewer than two questions for each.

    Example:
        >>> judged = judge("records", [
        ...     {"target": "yes", "output": "yes"},
        ...     {"target": "yes", "output": "no"},
        ...     {"target": "no", "output": "no"},
        ...     {"target": "no", "output": "no"},
        ... ])
        >>> found = classes([one.marked for one in judged])
        >>> found["yes"]["recall"], round(found["no"]["precision"], 3)
        (0.5, 0.667)
    """
    pairs = [(_label(one.answer, one), _right(one)) for one in marked]
    right = Counter(target for _, target in pairs)
    if not 1 <= len(right) <= min(_MOST_CLASSES, len(marked) // 2):
        return {}
    found = Counter(answer for answer, _ in pairs)
    hits = Counter(target for answer, target in pairs if answer == target)
    return {
        name: {
            "n": n,
            "found": found[name],
            "precision": hits[name] / found[name] if found[name] else 0.0,
            "recall": hits[name] / n,
            "f1": 2 * hits[name] / (n + found[name]),
        }
        for name, n in right.most_common()
    }


def macro_f1(marked: Sequence[Marked]) -> float | None:
    """Returns the mean F1 over the classes of a task; None if it has none."""
    found = classes(marked)
    if not found:
        return None
    return sum(figures["f1"] for figures in found.values()) / len(found)


def _right(marked: Marked) -> str:
    """Returns the class of a question: what was answered, if it is right."""
    if marked.correct:
        return _label(marked.answer, marked) or ""
    return _label(next(iter(marked.targets), None), marked) or ""


def _label(value: str | None, marked: Marked) -> str | None:
    """Returns the class of a canonical answer: an option's text, or itself."""
    row, kind = marked.row, marked.answer_kind
    if value is None or not row.options:
        return value
    names: Sequence[str] = row.names or ()
    if not names and kind == "option":
        names = option_names(len(row.options))
    for name, text in zip(names or row.options, row.options, strict=False):
        if normalise_answer(name, kind, language=row.language) == value:
            return text
    return value


_METRICS: Mapping[str, Metric] = {
    # The answer as written, compared as SQuAD does.
    "exact_match": Metric(_exact_match),
    # The words that it shares with a right one.
    "f1": Metric(_f1),
    # The whole output, by the package rouge-score.
    "rouge_1": _rouge("rouge1"),
    "rouge_2": _rouge("rouge2"),
    "rouge_l": _rouge("rougeL"),
    # The mean F1 over classes, of which the score has the figures.
    "macro_f1": Metric(of_task=macro_f1),
}
METRICS = Registry("metric", "METRICS", Metric, _METRICS)
# What is measured of a kind of answers, whatever the protocol says.
OF_KIND = {"span": ("f1",), "whole": ("rouge_l",)}
ROUGES = tuple(name for name in _METRICS if name.startswith("rouge"))
