"""Questions in, voted answers out."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from keras_flan.answers import KINDS, Answer, extract_answer
from keras_flan.answers.confidence import ConfidenceModel, signals
from keras_flan.answers.voting import Vote, stopping_point, vote
from keras_flan.errors import InputError
from keras_flan.generation.chat import chat_prompts
from keras_flan.generation.language_model_like import (
    DecodedModel,
    StandIn,
    as_language_model,
)
from keras_flan.generation.outputs import Path
from keras_flan.generation.sampling_settings import Sampling, sampling_of
from keras_flan.generation.styles import ANSWER_TOKENS, PromptStyle, cue
from keras_flan.generation.texts import as_texts

# Paths of a question at a time, where a few may be enough.
_ADAPTIVE_PATHS = 8

# Paths by their numbers, each with its answer.
Made: TypeAlias = dict[int, tuple[Path, Answer | None]]


@dataclasses.dataclass(frozen=True)
class Answered:
    """A prompt, its sampled paths and their vote.

    Attributes:
        prompt: What the model was given.
        samples: How many paths were asked for.
        numbers: The number of each path that is there, from 0, in order.
        paths: The `keras_flan.generation.Path`s.
        found: The `keras_flan.generation.Answer` of each path, `None` where
            it has none.
        done: Whether no further paths will come.
        model: Tells how sure the answer is; default: the share of its votes.
        abstain_below: With less confidence there is no answer.
    """

    prompt: str
    samples: int
    numbers: list[int]
    paths: list[Path]
    found: list[Answer | None]
    done: bool
    model: ConfidenceModel | None = None
    abstain_below: float = 0.0

    @property
    def answers(self) -> list[str | None]:
        """The answer of each path, `None` where it has none."""
        return [found.value if found else None for found in self.found]

    @functools.cached_property
    def vote(self) -> Vote:
        """The outcome."""
        return vote(self.answers)

    @functools.cached_property
    def confidence(self) -> float:
        """How sure the elected answer is, from 0 to 1."""
        if self.model is None or self.vote.winner is None:
            return self.vote.confidence
        gains = [path.log_probability for path in self.paths]
        known = not any(map(math.isnan, gains))
        return self.model(
            signals(
                self.answers,
                [path.text for path in self.paths],
                gains if known else None,
                [len(path.token_ids) for path in self.paths],
            )
        )

    @property
    def answer(self) -> str | None:
        """The elected answer; `None` if there is none, or it is too unsure."""
        unsure = self.confidence < self.abstain_below
        return None if unsure else self.vote.winner

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-able form."""
        return {
            "prompt": self.prompt,
            "answer": self.answer,
            "confidence": self.confidence,
            "share": self.vote.confidence,
            "votes": self.vote.counts,
            "abstained": self.vote.abstained,
            "paths": [
                {
                    "text": path.text,
                    "answer": answer and answer.value,
                    "span": answer and [answer.start, answer.end],
                    "rule": answer and answer.rule,
                    "log_probability": None
                    if math.isnan(path.log_probability)
                    else path.log_probability,
                    "finished": path.finished,
                }
                for path, answer in zip(self.paths, self.found, strict=True)
            ],
        }


@dataclasses.dataclass(frozen=True)
class Asking:
    """How questions are put, sampled and read.

    Args:
        style: How a question becomes a prompt. `None`: it is the prompt, as
            it was written.
        kind: Kind of the answers, see `keras_flan.generation.extract_answer`.
        adaptive: Draw no more paths of a question once its vote is decided,
            or the posterior of its leader has reached this, see
            `keras_flan.answers.voting.stopping_point`; 1 stops only what is
            decided. Default: all paths are drawn. Paths count in the order
            of their numbers, so the vote depends on nothing else.
        sampling: How to sample.
        confidence: Tells how sure an answer is; default: the share of votes.
        abstain_below: An answer with less confidence than this isn't given.

    Raises:
        InputError: If there is no such kind of answers, or `adaptive` is out
            of range or meets two passes, or `abstain_below` is.
    """

    style: PromptStyle | None = None
    kind: str = "text"
    adaptive: float | None = None
    sampling: Sampling = dataclasses.field(default_factory=Sampling.for_votes)
    confidence: ConfidenceModel | None = None
    abstain_below: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.abstain_below <= 1:
            raise InputError(
                "abstain_below: expected a confidence from 0 to 1, found "
                f"{self.abstain_below}"
            )
        KINDS.named(self.kind)  # says if there is none
        twice = self.style is not None and self.style.two_passes
        if self.adaptive is not None and (
            twice or not 0.5 <= self.adaptive <= 1
        ):
            raise InputError(
                "adaptive: expected a posterior from 0.5 to 1, and one pass, "
                f"found {self.adaptive}{' with two passes' * twice}"
            )


def ask(
    model: Any,
    questions: str | Sequence[str] = (),
    *,
    messages: Sequence[Any] | None = None,
    cot: bool = False,
    style: PromptStyle | None = None,
    kind: str = "text",
    adaptive: float | None = None,
    sampling: Sampling | None = None,
    confidence: ConfidenceModel | None = None,
    abstain_below: float = 0.0,
    progress: bool = False,
    on_done: Callable[[Answered], None] | None = None,
    on_path: Callable[[Answered], None] | None = None,
    **settings: Any,
) -> list[Answered]:
    """Asks a model questions and votes over the sampled answers.

    Args:
        model: A model with a vocabulary, or what answers in its stead: a
            `LanguageModelLike`, or a callable that is its `generate`.
        questions: The questions, as a user would write them, or one.
        messages: In their place a conversation, or a list of them, whose next
            turn is asked for; see `keras_flan.generation.chat_prompt`.
        cot: Whether to ask for step-by-step reasoning.
        style: How to ask, in place of `cot`: exemplars, another trigger or
            language, two passes.
        kind: Kind of the answers, see `keras_flan.generation.extract_answer`.
        adaptive: From 0.5 to 1: draw no more than it takes, see `Asking`.
        sampling: How to sample; default: `Sampling.for_votes()`.
        confidence: Tells how sure an answer is, see `ConfidenceModel`.
        abstain_below: Answers with less confidence are not given.
        progress: Whether to show a progress bar on stderr.
        on_done: Called with each `Answered` when it is done.
        on_path: Called with an `Answered` after each of its paths.
        **settings: Or the arguments of `Sampling.for_votes`, by name.

    Returns:
        One `Answered` per question, in order.

    Raises:
        InputError: If a setting is unknown or out of range, both `cot` and
            `style` are given, or `messages` beside what they replace.

    Example:
        >>> ask(model, messages=[{"role": "user", "content": "Hi"}])
        >>> [answered] = ask(model, ["What is 2 + 3?"], cot=True, samples=8)
        >>> answered.vote.counts
        {'5': 7, '6': 1}

    Source: zero-shot chain of thought, arXiv:2210.11416, section 4.2; votes,
    arXiv:2203.11171; adaptive, arXiv:2305.11860.
    """
    if style is not None and cot:
        raise InputError("give cot or style, which says it too, not both")
    questions = as_texts(questions, "questions")
    if messages is not None:
        if questions or style is not None or cot:
            raise InputError(
                "give messages, or questions and how to ask them (cot, "
                "style), not both"
            )
        questions = chat_prompts(model, messages)
    style = PromptStyle(cot=True) if cot else style
    sampling = sampling_of(sampling, settings, ask, Sampling.for_votes)
    how = (style, kind, adaptive, sampling, confidence, abstain_below)
    asking = Asking(*how)
    results: dict[int, Answered] = {}
    for row, answered in stream_answers(model, questions, asking, progress):
        if on_path is not None:
            on_path(answered)
        if answered.done:
            results[row] = answered
            if on_done is not None:
                on_done(answered)
    return [results[row] for row in range(len(questions))]


def stream_answers(
    model: Any, questions: Sequence[str], asking: Asking, progress: bool = False
) -> Iterator[tuple[int, Answered]]:
    """Yields the vote of a question after each of its paths; see `ask`.

    Yields:
        The index of the question, and its paths so far as `Answered`: the
        last one of a question is `done`.
    """
    style, asked = asking.style, as_language_model(model)
    prompts = [style.render(q) if style else q for q in questions]
    settings: dict[str, Any] = {"progress": progress}
    made: list[Made] = [{} for _ in prompts]
    done: set[int] = set()
    if asking.adaptive is not None:
        settings["enough"] = done.__contains__
        settings["prompt_paths"] = _ADAPTIVE_PATHS
    paths = asked.stream(prompts, sampling=asking.sampling, **settings)
    if style is not None and style.two_passes:
        paths = _second_pass(
            asked, prompts, list(paths), style, asking.kind, progress
        )
    for row, number, path in paths:
        if row not in done:
            made[row][number] = path, extract_answer(path.text, asking.kind)
            answered = _answered(prompts[row], made[row], asking)
            if answered.done:
                done.add(row)
            yield row, answered


def _answered(prompt: str, made: Made, asking: Asking) -> Answered:
    """Returns the paths of a question so far, those that count."""
    numbers, samples = sorted(made), asking.sampling.samples
    done = len(numbers) == samples
    if asking.adaptive is not None:
        # Short paths are done first: those that count have no gap.
        first = [n for at, n in enumerate(numbers) if n == at]
        answers = [made[n][1] for n in first]
        values = [answer.value if answer else None for answer in answers]
        point = stopping_point(values, asking.adaptive, samples)
        if point is not None:
            numbers, done = first[:point], True
    paths = [made[number][0] for number in numbers]
    found = [made[number][1] for number in numbers]
    told = (asking.confidence, asking.abstain_below)
    return Answered(prompt, samples, numbers, paths, found, done, *told)


def _second_pass(
    asked: DecodedModel | StandIn,
    prompts: Sequence[str],
    rationales: Sequence[tuple[int, int, Path]],
    style: PromptStyle,
    kind: str,
    progress: bool,
) -> Iterator[tuple[int, int, Path]]:
    """Yields each rationale with the answer that the model gives after it.

    Greedily: the paths differ by their rationales.
    """
    greedy = Sampling(max_new_tokens=ANSWER_TOKENS)
    seconds = [
        style.second(prompts[row], path.text, kind)
        for row, _, path in rationales
    ]
    made = asked.stream(seconds, sampling=greedy, progress=progress)
    for index, _, answer in made:
        row, number, path = rationales[index]
        whole = Path(
            f"{path.text.strip()}\n{cue(kind)} {answer.text.strip()}",
            [*path.token_ids, *answer.token_ids],
            path.log_probability + answer.log_probability,
            answer.finished,
            [*path.token_log_probabilities, *answer.token_log_probabilities],
        )
        yield row, number, whole
