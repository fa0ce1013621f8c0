"""How to sample: one object, which every layer passes on whole."""

import dataclasses
import inspect
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras_flan.errors import InputError, did_you_mean
from keras_flan.generation.texts import as_texts

# The self-consistency setting of the paper's largest model (arXiv:2203.11171,
# section 3.1), used wherever several paths are to vote.
VOTING_TEMPERATURE, VOTING_TOP_K = 0.7, 40


_WHOLE = ("samples", "top_k", "seed", "max_new_tokens")
_REAL = ("temperature", "top_p")


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How to sample paths.

    A path depends on the model, its prompt, its number and these settings,
    but not on `samples`.

    Args:
        samples: Paths per prompt, k. The self-consistency paper draws 40.
        temperature: 0 is greedy. The paper's largest model samples at 0.7.
        top_k: Sample from the k most probable tokens; 0 is all. The paper
            takes 40.
        top_p: Sample from the most probable tokens whose share together
            reaches this, above 0; 1 is all.
        stop: Strings that end an output; it is cut before them.
        seed: Seed of the sampling.
        max_new_tokens: Longest output, in tokens.

    Raises:
        InputError: If a setting is out of range.

    Example:
        >>> Sampling(samples=8, temperature=0.5, top_k=40, seed=3).top_p
        1.0

    Source: self-consistency, arXiv:2203.11171, section 3.1.
    """

    samples: int = 1
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    stop: Sequence[str] = ()
    seed: int = 0
    max_new_tokens: int = 128

    def __post_init__(self) -> None:
        for names, kind, what in (
            (_WHOLE, numbers.Integral, "a whole number"),
            (_REAL, numbers.Real, "a number"),
        ):
            for name in names:
                value = getattr(self, name)
                if not isinstance(value, kind) or isinstance(value, bool):
                    raise InputError(
                        f"{name}: expected {what}, found {value!r}"
                    )
        # Below the least, float32 has no digits left to divide by.
        some = self.samples >= 1 and self.max_new_tokens >= 1
        if not some or not (
            self.temperature == 0 or 1e-37 <= self.temperature < math.inf
        ):
            raise InputError(
                "Expected samples >= 1, max_new_tokens >= 1, temperature 0 or "
                f"from 1e-37. Received: samples={self.samples}, max_new_tokens="
                f"{self.max_new_tokens}, temperature={self.temperature}"
            )
        if self.top_k < 0 or not 0 < self.top_p <= 1:
            raise InputError(
                "Expected top_k >= 0 and 0 < top_p <= 1. "
                f"Received: top_k={self.top_k}, top_p={self.top_p}"
            )
        if isinstance(self.stop, str) or not all(self.stop):
            raise InputError(
                "Expected a list of stop strings, none empty. "
                f"Received: {self.stop!r}"
            )
        object.__setattr__(self, "stop", tuple(as_texts(self.stop, "stop")))

    @classmethod
    def for_votes(
        cls,
        samples: int = 1,
        temperature: float | None = None,
        top_k: int = VOTING_TOP_K,
        **settings: Any,
    ) -> "Sampling":
        """Returns the paper's setting for votes.

        Without a temperature one path is greedy; several are drawn at 0.7.
        """
        if temperature is None:
            temperature = VOTING_TEMPERATURE if samples > 1 else 0.0
        return cls(samples, temperature, top_k, **settings)

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields; `top_p` and `stop` only where they limit."""
        idle = [("top_p", 1.0), ("stop", ())]
        return {k: v for k, v in vars(self).items() if (k, v) not in idle}


def sampling_of(
    sampling: Sampling | None,
    settings: Mapping[str, Any],
    caller: Callable,
    default: Callable[..., Sampling] = Sampling,
) -> Sampling:
    """Returns how to sample, said as a whole or field by field.

    Args:
        sampling: As a whole, or `None`.
        settings: Fields by name.
        caller: What was called with them; its other arguments are suggested
            for a misspelt name.
        default: Makes a `Sampling` of the settings.

    Raises:
        InputError: If both are given, or a name is unknown.
    """
    fields = [field.name for field in dataclasses.fields(Sampling)]
    for name in settings:
        if name not in fields:
            known = {*fields, *inspect.signature(caller).parameters}
            raise InputError(
                f"no setting {name!r}."
                + did_you_mean(name, known - {"settings"})
            )
    if sampling is None:
        return default(**settings)
    if settings:
        raise InputError(
            f"give sampling or {', '.join(settings)}, which it says too"
        )
    return sampling
