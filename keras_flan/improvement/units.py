"""What of a round's groups is trained on, and what each token counts."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from keras_flan.data.pipeline.token_rows import RowShape, Segment, Unit
from keras_flan.data.templates.families import Format
from keras_flan.generation.outputs import TokenScores
from keras_flan.improvement.config import ImproveConfig
from keras_flan.improvement.journal import Group, JudgedPath
from keras_flan.improvement.rollouts import Rollouts
from keras_flan.improvement.weighing import token_scales
from keras_flan.models.language_model import LanguageModel


class Units:
    """Makes segments of groups, whose weights sum to 1 over a round.

    Args:
        config: The settings.
        model: The model that is trained.
        rollouts: Renders prompts, and asks a teacher.

    Attributes:
        shape: The rows that they have to fit into.
        columns: Numbers beside each token.
        left_out: How many did not fit so far.
    """

    def __init__(
        self, config: ImproveConfig, model: LanguageModel, rollouts: Rollouts
    ):
        self._config, self._model, self._rollouts = config, model, rollouts
        its, data = config.distil, config.data
        self.shape = RowShape(
            model.decoder_only, data.input_length, data.target_length
        )
        self._soft = its.top if its is not None and its.on_policy else 0
        self.columns = 2 * self._soft or 3
        self.left_out = 0

    def of(self, groups: Sequence[Group]) -> list[Unit]:
        """Returns what is trained on."""
        if self._config.method == "preference":
            units = self._fitting(list(self._pairs(groups)))
            return [[_counting(s, 1 / len(units)) for s in u] for u in units]
        if self._config.method == "advantage":
            return self._fitting(list(self._weighed(groups)))
        by_format: dict[str, list[Unit]] = {}
        for name, segment in self._kept(groups):
            by_format.setdefault(name, []).append([segment])
        found: list[Unit] = []
        for units in by_format.values():
            units = self._fitting(units)
            total = sum(len(one.target) for [one] in units) * len(by_format)
            found += [[_counting(one, 1 / total)] for [one] in units]
        return found

    def _weighed(self, groups: Sequence[Group]) -> Iterator[Unit]:
        its = self._config.advantage
        counted = [
            (group, path)
            for group in groups
            if its.loss != "dapo" or any(path.weight for path in group.paths)
            for path in group.paths
            if path.reward is not None
        ]
        longest = self._config.sampled(0).max_new_tokens
        lengths = [len(path.token_ids) for _, path in counted]
        scales = token_scales(lengths, its.loss, longest)
        for (group, path), scale in zip(counted, scales, strict=True):
            if path.weight or its.kl:
                values = path.weight, path.log_probabilities
                ids, reference = path.token_ids, path.reference or 0
                segment = self._segment(group, ids, *values, reference)
                yield [_counting(segment, scale)]

    def _pairs(self, groups: Sequence[Group]) -> Iterator[Unit]:
        mean = self._config.preference.length_normalised
        for number, group in enumerate(groups):
            pair = [path for path in group.paths if path.weight]
            if len(pair) == 2:
                yield [
                    self._segment(
                        group,
                        path.token_ids,
                        number,
                        path.weight / (len(path.token_ids) if mean else 1),
                        path.reference,
                    )
                    for path in pair
                ]

    def _kept(self, groups: Sequence[Group]) -> Iterator[tuple[str, Segment]]:
        """Yields what is learnt by cross-entropy, each with its format."""
        taught: Iterator[TokenScores] = iter(())
        if self._soft:
            taught = iter(self._rollouts.teach(groups, self._soft))
        for group in groups:
            for path in group.paths:
                scores = next(taught, None) if path.weight else None
                if scores is not None:
                    segment = self._segment(group, path.token_ids)
                    columns = _soft_columns(scores, self._soft)
                    yield "", dataclasses.replace(segment, columns=columns)
                elif path.weight:
                    yield from self._forms(group, path)

    def _forms(
        self, group: Group, path: JudgedPath
    ) -> Iterator[tuple[str, Segment]]:
        """Yields the formats in which a path is learnt."""
        asked, questions = group.question.format, self._rollouts.questions
        forms: Sequence[Format | None] = self._config.train_on or [None]
        for form in forms:
            target, prompt = path.token_ids, group.question.prompt
            if form is not None and form != asked:
                assert questions is not None  # Only they have formats.
                if not form.cot and not group.answer:
                    continue
                made = questions.again(group.question, form, group.answer)
                prompt = made.inputs
                if not form.cot:
                    ids = self._model.vocabulary.encode(made.targets)
                    target = [*ids, target[-1]]
            yield str(form), self._segment(prompt, target, path.weight)

    def _segment(
        self, asked: Group | str, target: list[int], *values: Any
    ) -> Segment:
        """Returns a segment with values in its first columns."""
        prompt = asked if isinstance(asked, str) else asked.question.prompt
        columns = np.zeros((len(target), self.columns), "float32")
        for place, value in enumerate(values):
            columns[:, place] = value
        return Segment(self._rollouts.framed(prompt), target, columns)

    def _fitting(self, units: list[Unit]) -> list[Unit]:
        fitting = [unit for unit in units if self.shape.holds(unit)]
        self.left_out += len(units) - len(fitting)
        return fitting


def _counting(segment: Segment, weight: float) -> Segment:
    return dataclasses.replace(segment, weight=weight)


def _soft_columns(scores: TokenScores, top: int) -> np.ndarray:
    """The teacher's best tokens, and their shares of one another."""
    columns = np.zeros((len(scores.top), 2 * top), "float32")
    for place, named in enumerate(scores.top):
        ids, log_p = zip(*named, strict=True)
        shares = np.exp(np.array(log_p) - max(log_p))
        columns[place, : len(ids)] = ids
        columns[place, top : top + len(ids)] = shares / shares.sum()
    return columns
