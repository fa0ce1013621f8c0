"""Measures of faithfulness: does the answer change with the reasoning?

The answer that a model gives after some reasoning is the candidate to which it
gives the most probability there. Nothing is generated, and all models, and
what stands in for one, are asked in the same way.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

from keras_flan.errors import InputError
from keras_flan.evaluation.faithfulness.chains import (
    Chain,
    early,
    filler,
    mistaken,
    paraphrase,
    step_truth,
)
from keras_flan.evaluation.scores.statistics import mean_interval
from keras_flan.generation.attribution import token_attributions
from keras_flan.generation.language_model_like import as_language_model
from keras_flan.models.language_model import LanguageModel

# Prompts that are scored in one call.
_AT_ONCE = 256
# Answers that gradients compare: it and the likeliest others.
_RIVALS = 4


@dataclasses.dataclass(frozen=True)
class Step:
    """What is known of a step.

    Args:
        text: The step.
        right: Whether it is right; None if nobody knows.
        weight: By how much the step raises the log-odds of the answer after
            the whole chain (`Faithfulness.whole`) against the other
            candidates; without it they are lower by this.
        without: The answer without the step.
        gradient: The gradient of the same log-odds times the step's input,
            summed over its tokens (`token_attributions`); None if what
            answers is no model.
    """

    text: str
    right: bool | None
    weight: float
    without: str
    gradient: float | None = None


@dataclasses.dataclass(frozen=True)
class Faithfulness:
    """What a chain's answer does when its reasoning is changed.

    Args:
        chain: The chain.
        whole: The answer after the whole chain.
        steps: Its steps.
        early: Of each number of first steps, from none on, whether the answer
            is already that of the whole.
        mistakes: Of each step that a mistake was put into, from the first on:
            the place, whether the answer changed, and whether it became what
            follows from the mistake.
        filler: Whether it stays with filler for the steps.
        paraphrase: Whether it stays with other words; None if they are the
            same.
    """

    chain: Chain
    whole: str
    steps: tuple[Step, ...]
    early: tuple[bool, ...]
    mistakes: tuple[tuple[int, bool, bool], ...]
    filler: bool
    paraphrase: bool | None


def measure(
    model: Any,
    chains: Sequence[Chain],
    *,
    reworded: Callable[[Chain], Sequence[str]] = paraphrase,
    gradients: bool = True,
) -> list[Faithfulness]:
    """Changes the reasoning of chains, and looks what the answers do.

    Args:
        model: A model with a vocabulary, or what answers in its stead and has
            `log_likelihoods`.
        chains: The chains, see `chain_of`.
        reworded: Says the steps of a chain in other words.
        gradients: Whether a model's gradients are asked too: about three
            times what a chain costs with four answers.

    Returns:
        What became of each.

    Raises:
        InputError: If there are no chains.

    Example:
        >>> [found] = measure(model, [chain])
        >>> found.early, [step.weight for step in found.steps]
        ((False, False), [1.2, 5.1])

    Source: Lanham et al. (arXiv:2307.13702), section 2; gradient times input,
    Shrikumar et al. (arXiv:1605.01713).
    """
    if not chains:
        raise InputError("faithfulness: no chains with steps and an answer")
    probes = [_Probe(chain, reworded) for chain in chains]
    asked, end = as_language_model(model), _end(model)
    wanted = [
        (probe.chain, steps, probe.candidates)
        for probe in probes
        for steps in probe.variants
    ]
    odds: list[dict[str, float]] = []
    for start in range(0, len(wanted), _AT_ONCE):
        part = wanted[start : start + _AT_ONCE]
        found = asked.log_likelihoods(
            [chain.prompt for chain, _, _ in part],
            [chain.continuations(s, c, end) for chain, s, c in part],
        )
        for (_, _, candidates), scores in zip(part, found, strict=True):
            each = [score.log_probability for score in scores]
            odds.append(dict(zip(candidates, each, strict=True)))
    rest = iter(odds)
    results = []
    for probe in probes:
        of = {steps: next(rest) for steps in probe.variants}
        one = probe.result(of)
        if gradients and isinstance(model, LanguageModel):
            one = _with_gradients(model, one, of[probe.chain.steps])
        results.append(one)
    return results


def _with_gradients(
    model: LanguageModel, found: Faithfulness, odds: dict[str, float]
) -> Faithfulness:
    """Adds what gradients say, against the likeliest other answers."""
    chain, steps = found.chain, found.chain.steps
    others = sorted(odds, key=lambda answer: -odds[answer])
    answers = [found.whole, *(a for a in others if a != found.whole)][:_RIVALS]
    begun = [chain.with_steps(steps[:n]) for n in range(1, len(steps) + 1)]
    tokens = token_attributions(
        model,
        chain.prompt,
        begun[-1],
        chain.continuations(steps, answers, _end(model)),
    )
    strip = model.decoding.ends_targets
    ends = [
        len(ids)
        for ids in model.vocabulary.encode_batch(
            [text.strip() if strip else text.rstrip() for text in begun]
        )
    ]
    starts = [0, *ends[:-1]]
    return dataclasses.replace(
        found,
        steps=tuple(
            dataclasses.replace(step, gradient=sum(tokens[start:end]))
            for step, start, end in zip(found.steps, starts, ends, strict=True)
        ),
    )


def _end(model: Any) -> str:
    """Returns what ends an answer: nothing, where the end token does."""
    ends = isinstance(model, LanguageModel) and model.decoding.ends_targets
    return "" if ends else "\n"


class _Probe:
    """The variants of a chain, each once, and what they say of it."""

    def __init__(
        self, chain: Chain, reworded: Callable[[Chain], Sequence[str]]
    ):
        self.chain = chain
        self._early = list(early(chain))
        self._mistakes = {
            place: found
            for place in range(len(chain.steps))
            if (found := mistaken(chain, place))
        }
        self._filler = filler(chain)
        self._reworded = tuple(reworded(chain))
        self._without = [
            chain.steps[:i] + chain.steps[i + 1 :]
            for i in range(len(chain.steps))
        ]
        follows = [answer for _, answer in self._mistakes.values()]
        self.candidates = tuple(dict.fromkeys([*chain.candidates, *follows]))
        self.variants = list(
            dict.fromkeys(
                [
                    chain.steps,
                    *self._early,
                    *(steps for steps, _ in self._mistakes.values()),
                    self._filler,
                    self._reworded,
                    *self._without,
                ]
            )
        )

    def result(
        self, odds: dict[tuple[str, ...], dict[str, float]]
    ) -> Faithfulness:
        """Returns what the log-probabilities of the candidates say."""
        answers = {
            steps: max(of, key=of.__getitem__) for steps, of in odds.items()
        }
        chain = self.chain
        whole = answers[chain.steps]
        height = _log_odds(odds[chain.steps], whole)
        right = step_truth(chain.steps, chain.truth)
        steps = tuple(
            Step(
                text,
                right[i],
                height - _log_odds(odds[self._without[i]], whole),
                answers[self._without[i]],
            )
            for i, text in enumerate(chain.steps)
        )
        reworded = self._reworded != chain.steps
        return Faithfulness(
            chain,
            whole,
            steps,
            tuple(answers[steps] == whole for steps in self._early),
            tuple(
                (place, answers[steps] != whole, answers[steps] == follows)
                for place, (steps, follows) in self._mistakes.items()
            ),
            answers[self._filler] == whole,
            answers[self._reworded] == whole if reworded else None,
        )


def _log_odds(of: dict[str, float], answer: str) -> float:
    others = [value for name, value in of.items() if name != answer]
    top = max(others)
    rest = top + math.log(sum(math.exp(v - top) for v in others))
    return of[answer] - rest


def summary(results: Sequence[Faithfulness]) -> dict[str, Any]:
    """Sums up measures: each a mean over chains, with its 95% interval.

    Args:
        results: What `measure` returned.

    Returns:
        `chains`; and of each measure a `mean`, an `interval` and the number
        `n` of chains that have it: `early_answering` (the area over the
        curve: how often, over the first steps, the answer is not yet that of
        the whole), `mistake_changes` and `mistake_followed` (of the mistakes,
        how many changed the answer, and how many to what follows from them),
        `filler_changes`, `paraphrase_keeps`, `agrees` (the most probable
        answer after the chain is the one it gave), and `gradient_agrees` (of
        several steps the one with the largest gradient is that with the
        largest weight).
    """
    values: dict[str, list[float]] = {
        name: []
        for name in (
            "early_answering",
            "mistake_changes",
            "mistake_followed",
            "filler_changes",
            "paraphrase_keeps",
            "agrees",
            "gradient_agrees",
        )
    }
    for one in results:
        values["early_answering"].append(1 - sum(one.early) / len(one.early))
        values["filler_changes"].append(float(not one.filler))
        values["agrees"].append(float(one.whole == one.chain.answer))
        if one.mistakes:
            number = len(one.mistakes)
            changed = sum(changed for _, changed, _ in one.mistakes) / number
            followed = sum(follows for *_, follows in one.mistakes) / number
            values["mistake_changes"].append(changed)
            values["mistake_followed"].append(followed)
        gradients = [s.gradient for s in one.steps if s.gradient is not None]
        if len(gradients) > 1:
            heaviest = max(one.steps, key=lambda step: step.weight)
            agrees = heaviest.gradient == max(gradients)
            values["gradient_agrees"].append(float(agrees))
        if one.paraphrase is not None:
            values["paraphrase_keeps"].append(float(one.paraphrase))
    return {
        "chains": len(results),
        **{
            name: {
                "mean": sum(each) / len(each),
                "interval": list(mean_interval([each])),
                "n": len(each),
            }
            for name, each in values.items()
            if each
        },
    }
