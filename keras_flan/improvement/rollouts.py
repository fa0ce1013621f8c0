"""Rounds of sampling and judging, with the weights as they are."""

import contextlib
import dataclasses
import hashlib
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import keras
import numpy as np

from keras_flan.data.mixtures.mixture import Mixture
from keras_flan.data.mixtures.questions import Question, Questions
from keras_flan.data.records.shards import read_records
from keras_flan.errors import InputError
from keras_flan.evaluation.responsible.judges import (
    Judge,
    JudgeConfig,
    answers_of,
    judge_of,
)
from keras_flan.generation.chat import chat_prompt
from keras_flan.generation.engine import stream
from keras_flan.generation.likelihood import score_tokens
from keras_flan.generation.outputs import TokenScores
from keras_flan.generation.sampling_settings import Sampling
from keras_flan.generation.texts import ChatPrompt
from keras_flan.improvement.config import ImproveConfig
from keras_flan.improvement.journal import Group, JudgedPath
from keras_flan.improvement.weighing import (
    advantages,
    best_and_worst,
    equations,
    right,
)
from keras_flan.models.language_model import LanguageModel

# A prompt, and the chosen and the rejected text.
_Pair: TypeAlias = tuple[Question, tuple[str, str]]


class Start:
    """The trainable weights of a model as they were: the reference.

    With an adapter only the adapter's numbers are held twice.
    """

    def __init__(self, model: LanguageModel):
        self._model = model
        self._values = self._now()

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Gives the model its old weights for a while."""
        now = self._now()
        self._assign(self._values)
        try:
            yield
        finally:
            self._assign(now)

    def _now(self) -> list[np.ndarray]:
        values = self._model.trainable_variables
        return [keras.ops.convert_to_numpy(v).copy() for v in values]

    def _assign(self, values: Sequence[np.ndarray]) -> None:
        variables = self._model.trainable_variables
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


class Rollouts:
    """Makes the groups of a round.

    Args:
        config: The settings.
        model: The model.
        mixture: What is asked; `None` if `config` names pairs.
        start: The reference, if one is needed.
        teacher: The teacher of `distil`.

    Attributes:
        seconds: What it took, by `sampling`, `judging` and `scoring`.
        questions: The questions; `None` with pairs.
    """

    def __init__(
        self,
        config: ImproveConfig,
        model: LanguageModel,
        mixture: Mixture | None,
        start: Start | None,
        teacher: LanguageModel | None,
    ):
        self.seconds: dict[str, float] = defaultdict(float)
        self._config, self._model = config, model
        self._start, self._teacher = start, teacher
        judges = config.chosen_judges
        self._judge = judge_of(judges) if judges else None
        # Where all is learnt, what is held out is judged all the same.
        self._guard = self._judge or judge_of([JudgeConfig(name="answer")])
        its = config.distil
        off_policy = teacher is not None and not (its and its.on_policy)
        self._writer = teacher if teacher is not None and off_policy else model
        self._pairs = [] if mixture else _read_pairs(config.mixture)
        self._scored: dict[str | int, list[list[float]]] = {}
        self.questions: Questions | None = None
        if mixture is not None:
            total = config.rounds * config.prompts
            held_out = config.guard.examples if config.guard else 0
            self.questions = Questions(
                mixture, total, config.seed, config.formats, held_out
            )

    def round(self, number: int) -> list[Group]:
        """Returns the groups of a round: sampled, judged and weighed."""
        config, first = self._config, number * self._config.prompts
        if self.questions is None:
            numbers = range(first, first + config.prompts)
            groups = [self._drawn_pair(number) for number in numbers]
        else:
            sampling = config.sampled(self._seed(number))
            asked = self.questions.draw(first, config.prompts)
            groups = self._answered(asked, sampling)
            if config.method == "star":
                groups = self._hinted(groups, sampling)
            for group in groups:
                self._weigh(group)
        if self._start is not None:
            self._refer(groups)
        return groups

    def guard(self) -> float:
        """Asks what is held out; returns the mean reward.

        One path each, or as many as vote where the judge is a majority.
        """
        assert self.questions is not None
        config, asked = self._config, self.questions.held_out
        votes = any(judge.name == "majority" for judge in config.chosen_judges)
        sampling = config.sampled(self._seed(-1), None if votes else 1)
        prompts = [question.prompt for question in asked]
        written = self._written(self._model, prompts, sampling)
        rewards = [
            path.reward or 0.0
            for question, paths in zip(asked, written, strict=True)
            for path in self._judged(self._guard, question, paths).paths
        ]
        return float(np.mean(rewards))

    def teach(self, groups: Sequence[Group], top: int) -> list[TokenScores]:
        """Returns what the teacher thinks of the tokens of all paths."""
        assert self._teacher is not None
        with self._timed("scoring"):
            return self._score(self._teacher, groups, top)

    def framed(self, prompt: str, model: LanguageModel | None = None) -> list:
        """Returns the tokens that a model reads of a prompt, as it samples."""
        asked, model = self._chat(prompt), model or self._model
        if isinstance(asked, ChatPrompt):
            return list(asked.token_ids)
        limit = self._config.data.input_length
        return model.decoding.frame(model.vocabulary.encode(asked), limit)

    def _chat(self, prompt: str) -> str:
        """Returns a prompt as a turn, if the model knows turns."""
        if self._config.data.chat is None:
            return prompt
        turn = {"role": "user", "content": prompt}
        return chat_prompt(self._model, [turn])

    def _end(self, prompt: str) -> int:
        """Returns the token that ends a path: a turn's, or the model's."""
        asked = self._chat(prompt)
        if isinstance(asked, ChatPrompt):
            return asked.end_ids[0]
        return self._model.vocabulary.eos_id

    def _seed(self, number: int) -> int:
        text = f"{self._config.seed}/{number}"
        digest = hashlib.sha256(text.encode()).digest()
        return int.from_bytes(digest[:4], "little")

    @contextlib.contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        begin = time.monotonic()
        yield
        self.seconds[name] += time.monotonic() - begin

    def _answered(
        self, asked: Sequence[Question], sampling: Sampling, hint: str = ""
    ) -> list[Group]:
        """Samples paths of questions, and judges them."""
        prompts = [q.prompt + hint.replace("{answer}", q.target) for q in asked]
        written = self._written(self._writer, prompts, sampling)
        return [
            self._judged(self._judge, question, paths)
            for question, paths in zip(asked, written, strict=True)
        ]

    def _written(
        self, writer: LanguageModel, prompts: Sequence[str], sampling: Sampling
    ) -> list[list[JudgedPath]]:
        """Samples; what a teacher wrote is in the student's tokens."""
        config, vocabulary = self._config, self._model.vocabulary
        made: list[dict[int, JudgedPath]] = [{} for _ in prompts]
        with self._timed("sampling"):
            for row, number, path in stream(
                writer,
                list(map(self._chat, prompts)),
                sampling=sampling,
                batch_paths=config.sampling.batch_paths,
                max_input_tokens=config.data.input_length,
            ):
                ids, gains = path.token_ids, path.token_log_probabilities
                if writer is not self._model:
                    ids, gains = vocabulary.encode(path.text), []
                if path.finished:
                    ids = [*ids, self._end(prompts[row])]
                made[row][number] = JudgedPath(
                    path.text, ids, list(gains), path.finished
                )
        return [[of[i] for i in sorted(of)] for of in made]

    def _judged(
        self, judge: Judge | None, question: Question, paths: list[JudgedPath]
    ) -> Group:
        """Has paths judged; one without an end gets no reward."""
        seen = question
        if self._config.method == "majority":
            seen = dataclasses.replace(question, target="")
        rewards: Sequence[float | None] = [1.0] * len(paths)
        with self._timed("judging"):
            if judge is not None:
                rewards = judge(seen, [path.text for path in paths])
        for path, reward in zip(paths, rewards, strict=True):
            ended = path.finished or reward is None
            path.reward = reward if ended else 0.0
        return Group(question, paths)

    def _hinted(self, groups: list[Group], sampling: Sampling) -> list[Group]:
        """Asks again, with the answer, what no path got right."""
        its = self._config.right
        wrong = [
            i
            for i, group in enumerate(groups)
            if all((path.reward or 0.0) < its.least for path in group.paths)
        ]
        asked = [groups[i].question for i in wrong]
        again = self._answered(asked, sampling, its.hint) if wrong else []
        for i, group in zip(wrong, again, strict=True):
            groups[i] = dataclasses.replace(group, hinted=True)
        return groups

    def _weigh(self, group: Group) -> None:
        """Says what each path of a group weighs."""
        config, its = self._config, self._config.right
        rewards = [path.reward for path in group.paths]
        weights: list[float] | None = None
        if config.method == "advantage":
            loss = config.advantage.loss
            weights = advantages(rewards, loss != "dr_grpo", loss == "dapo")
        elif config.method == "preference":
            if pair := best_and_worst(rewards):
                weights = [0.0] * len(rewards)
                weights[pair[0]], weights[pair[1]] = 1.0, -1.0
        else:
            keys = None
            if its.distinct and config.method != "distil":
                keys = [equations(path.text) for path in group.paths]
            weights = right(rewards, keys, its.least, its.most)
            if config.train_on and 1.0 in weights:
                first = group.paths[weights.index(1.0)]
                found = answers_of(group.question, [first.text])[0]
                group.answer = found or ""
        for i, path in enumerate(group.paths):
            path.weight = weights[i] if weights else 0.0

    def _refer(self, groups: Sequence[Group]) -> None:
        """Has the reference score what is trained on; pairs only once."""
        assert self._start is not None
        own = self.questions is None
        keys = [g.question.name if own else i for i, g in enumerate(groups)]
        if not own or not self._scored.keys() >= {*keys}:
            with self._timed("scoring"), self._start.lent():
                scores = iter(self._score(self._model, groups, 1))
            for key, group in zip(keys, groups, strict=True):
                self._scored[key] = [
                    next(scores).log_probabilities for _ in group.paths
                ]
        for key, group in zip(keys, groups, strict=True):
            for path, found in zip(group.paths, self._scored[key], strict=True):
                path.reference = found

    def _score(
        self, model: LanguageModel, groups: Sequence[Group], top: int
    ) -> list[TokenScores]:
        asked, told = [], []
        for group in groups:
            prompt = self.framed(group.question.prompt, model)
            asked += [prompt] * len(group.paths)
            told += [path.token_ids for path in group.paths]
        return score_tokens(model, asked, told, top)

    def _drawn_pair(self, number: int) -> Group:
        turn, place = divmod(number, len(self._pairs))
        rng = np.random.default_rng([self._config.seed, turn])
        question, texts = self._pairs[rng.permutation(len(self._pairs))[place]]
        encoded = self._model.vocabulary.encode_batch(list(texts))
        end = self._end(question.prompt)
        paths = [
            JudgedPath(text, [*ids, end], weight=weight)
            for text, ids, weight in zip(
                texts, encoded, (1.0, -1.0), strict=True
            )
        ]
        return Group(question, paths)


def _read_pairs(folder: Path) -> list[_Pair]:
    pairs = []
    for number, example in enumerate(read_records(folder)):
        fields = example.fields
        if not {"question", "chosen", "rejected"} <= fields.keys():
            raise InputError(
                f"{folder}: expected the fields 'question', 'chosen' and "
                f"'rejected', found {', '.join(fields)}; import the file with "
                "`keras-flan import preference`"
            )
        name = f"{example.task}/{number}"
        question = Question(name, fields["question"], "", "text")
        pairs.append((question, (fields["chosen"], fields["rejected"])))
    return pairs
