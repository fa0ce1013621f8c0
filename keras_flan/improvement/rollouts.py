"""Rounds of sampling and judging, with the weights as they are."""

import contextlib
import dataclasses
import hashlib
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from keras_flan.data.mixtures.mixture import Mixture
from keras_flan.data.mixtures.questions import Question, Questions, read_pairs
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
from keras_flan.models.kept_values import KeptValues
from keras_flan.models.language_model import LanguageModel


class Rollouts:
    """Makes the groups of a round.

    Args:
        config: The settings.
        model: The model.
        mixture: What is asked; `None` if `config` names pairs.
        start: What was trained at the start, the reference, if one is needed.
        teacher: The teacher of `distil`.

    Attributes:
        seconds: What it took, by `sampling`, `judging` and `scoring`.
        questions: The questions; `None` with pairs.
        left_out: How many conversations were too long to be asked.
    """

    def __init__(
        self,
        config: ImproveConfig,
        model: LanguageModel,
        mixture: Mixture | None,
        start: KeptValues | None,
        teacher: LanguageModel | None,
    ):
        self.seconds: dict[str, float] = defaultdict(float)
        self.left_out = 0
        self._config, self._model = config, model
        self._start, self._teacher = start, teacher
        judges = config.chosen_judges
        self._judge = judge_of(judges) if judges else None
        # Where all is learnt, what is held out is judged all the same.
        self._guard = self._judge or judge_of([JudgeConfig(name="answer")])
        its = config.distil
        off_policy = teacher is not None and not (its and its.on_policy)
        self._writer = teacher if teacher is not None and off_policy else model
        self._pairs = [] if mixture else read_pairs(config.mixture)
        self._scored: dict[tuple, list[float]] = {}
        self.questions: Questions | None = None
        if mixture is not None:
            total = config.rounds * config.prompts
            held_out = config.guard.examples if config.guard else 0
            labelled = config.method != "majority"
            self.questions = Questions(
                mixture, total, config.seed, config.formats, held_out, labelled
            )

    def round(self, number: int) -> list[Group]:
        """Returns the groups of a round: sampled, judged and weighed."""
        config, first = self._config, number * self._config.prompts
        if self.questions is None:
            numbers = range(first, first + config.prompts)
            groups = [self._drawn_pair(number) for number in numbers]
        else:
            sampling = config.sampled(self._seed(number))
            drawn = self.questions.draw(first, config.prompts)
            asked = self._fitting(drawn)
            self.left_out += len(drawn) - len(asked)
            groups = self._answered(asked, sampling)
            if config.method == "star":
                groups = self._hinted(groups, sampling)
            for group in groups:
                self._weigh(group)
        if self._start is not None:
            self._refer(groups)
        return groups

    def guard(self) -> float | None:
        """Returns the mean reward of what is held out, if there is any."""
        assert self.questions is not None
        # One path each, or as many as vote.
        config, asked = self._config, self._fitting(self.questions.held_out)
        votes = any(judge.name == "majority" for judge in config.chosen_judges)
        sampling = config.sampled(self._seed(-1), None if votes else 1)
        prompts = [question.prompt for question in asked]
        written = self._written(self._model, prompts, sampling)
        rewards = [
            path.reward
            for question, paths in zip(asked, written, strict=True)
            for path in self._judged(self._guard, question, paths).paths
            if path.reward is not None
        ]
        return float(np.mean(rewards)) if rewards else None

    def teach(self, groups: Sequence[Group], top: int) -> list[TokenScores]:
        """Returns what the teacher thinks of the tokens of what is kept."""
        assert self._teacher is not None
        with self._timed("scoring"):
            pairs = [(g, p) for g in groups for p in g.paths if p.weight]
            return self._score(self._teacher, pairs, top)

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

    def _fitting(
        self, asked: Sequence[Question], hint: str = ""
    ) -> list[Question]:
        """Returns what can be asked: a conversation is never cut."""
        if self._config.data.chat is None:
            return list(asked)
        limit = self._config.data.input_length
        return [
            question
            for question in asked
            if len(self.framed(_hinting(question, hint))) <= limit
        ]

    def _end(self, prompt: str) -> int:
        """Returns the token that ends another's text: a turn's, or its own."""
        asked = self._chat(prompt)
        if isinstance(asked, ChatPrompt):
            return asked.end_ids[0]
        return self._model.vocabulary.eos_id

    def _seed(self, number: int) -> int:
        digest = hashlib.sha256(b"%d/%d" % (self._config.seed, number))
        return int.from_bytes(digest.digest()[:4], "little")

    @contextlib.contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        begin = time.monotonic()
        yield
        self.seconds[name] += time.monotonic() - begin

    def _answered(
        self, asked: Sequence[Question], sampling: Sampling, hint: str = ""
    ) -> list[Group]:
        """Samples paths of questions, and judges them."""
        prompts = [_hinting(question, hint) for question in asked]
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
                # The one that was sampled, of several that may end a path.
                end = path.end_id
                if writer is not self._model:
                    ids, gains = vocabulary.encode(path.text), []
                    end = self._end(prompts[row])
                if path.finished and end is not None:
                    ids = [*ids, end]
                made[row][number] = JudgedPath(
                    path.text, ids, list(gains), path.finished
                )
        return [[of[i] for i in sorted(of)] for of in made]

    def _judged(
        self, judge: Judge | None, question: Question, paths: list[JudgedPath]
    ) -> Group:
        """Has paths judged; one without an end gets no reward."""
        rewards: Sequence[float | None] = [1.0] * len(paths)
        with self._timed("judging"):
            if judge is not None:
                rewards = judge(question, [path.text for path in paths])
        # Where judges punish, not to end is no better than to be wrong.
        least = min([0.0, *(r for r in rewards if r is not None)])
        for path, reward in zip(paths, rewards, strict=True):
            ended = path.finished or reward is None
            path.reward = reward if ended else least
        return Group(question, paths)

    def _hinted(self, groups: list[Group], sampling: Sampling) -> list[Group]:
        """Asks again, with the answer, what was judged, and never right."""
        its, wrong = self._config.right, []
        for i, group in enumerate(groups):
            judged = [r for r in group.rewards if r is not None]
            if judged and max(judged) < its.least:
                wrong += [i] * len(self._fitting([group.question], its.hint))
        asked = [groups[i].question for i in wrong]
        again = self._answered(asked, sampling, its.hint) if wrong else []
        for i, group in zip(wrong, again, strict=True):
            unaided = groups[i].rewards
            groups[i] = dataclasses.replace(group, unaided=unaided)
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
            # What did not end is not right, whatever is asked for.
            rewards = [p.reward if p.finished else None for p in group.paths]
            keys = None
            if its.distinct and config.method != "distil":
                keys = [equations(path.text) for path in group.paths]
            weights = right(rewards, keys, its.least, its.most)
            if config.train_on and 1.0 in weights:
                first = group.paths[weights.index(1.0)].text
                kinds = [one.kind for one in config.chosen_judges if one.kind]
                found = answers_of(group.question, [first], *kinds[:1])[0]
                group.answer = found or ""
        for i, path in enumerate(group.paths):
            path.weight = weights[i] if weights else 0.0

    def _refer(self, groups: Sequence[Group]) -> None:
        """Has the reference score what is trained on; a text only once."""
        assert self._start is not None
        every = self._config.method == "advantage"
        asked = [(g, p) for g in groups for p in g.paths if every or p.weight]
        keys = [(g.question.prompt, *p.token_ids) for g, p in asked]
        new = dict(zip(keys, asked, strict=True))
        known = self._scored if self.questions is None else {}
        if not known.keys() >= new.keys():
            with self._timed("scoring"), self._start.lent():
                scores = self._score(self._model, [*new.values()], 1)
            gains = [one.log_probabilities for one in scores]
            known.update(zip(new, gains, strict=True))
        for key, (_, path) in zip(keys, asked, strict=True):
            path.reference = known[key]

    def _score(
        self,
        model: LanguageModel,
        pairs: Sequence[tuple[Group, JudgedPath]],
        top: int,
    ) -> list[TokenScores]:
        asked = [self.framed(g.question.prompt, model) for g, _ in pairs]
        return score_tokens(model, asked, [p.token_ids for _, p in pairs], top)

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


def _hinting(question: Question, hint: str) -> str:
    return question.prompt + hint.replace("{answer}", question.target)
