"""What asking and scoring a model give: paths, and likelihoods."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Path:
    """One generated output.

    Attributes:
        text: The decoded text, without the end token, and up to the stop
            string that ended it.
        token_ids: The tokens, without the end token.
        log_probability: Sum of the log-probabilities (natural, at
            temperature 1) of the tokens and, if it was generated, of the end
            token. NaN if nothing but the text is known.
        finished: Whether the end token or a stop string ended the output.
        token_log_probabilities: What `log_probability` sums up.
        end_id: The end token that ended the output; `None` if a stop string
            did, or nothing. A model may have several.

    Example:
        >>> Path("The answer is 4.").text
        'The answer is 4.'
    """

    text: str
    token_ids: list[int] = dataclasses.field(default_factory=list)
    log_probability: float = math.nan
    finished: bool = True
    token_log_probabilities: list[float] = dataclasses.field(
        default_factory=list, repr=False
    )
    end_id: int | None = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(frozen=True)
class Likelihood:
    """What a model thinks of a continuation.

    Attributes:
        log_probability: Sum over its tokens, in nats.
        token_count: Its tokens, the end token included if it counts.
    """

    log_probability: float
    token_count: int


@dataclasses.dataclass(frozen=True)
class TokenScores:
    """What a model thinks of each token of a text.

    Attributes:
        log_probabilities: Of each token, in nats.
        top: For each token the most probable ones in its place, with their
            log-probabilities, the highest first.
    """

    log_probabilities: list[float]
    top: list[list[tuple[int, float]]]
