"""The ways a benchmark is asked: one list for commands, runs and reports."""

import enum

from keras_flan.errors import InputError, did_you_mean

# How a single path is asked, and how tables spell it. Ranking asks as the
# direct form does, and compares the likelihoods of given answers.
MODES = {"direct": "direct", "cot": "CoT", "rank": "ranking"}


class Way(enum.StrEnum):
    """A mode, and whether several paths vote.

    Commands and folders spell it as its value, results as its name.

    Example:
        >>> way = Way("cot-vote")
        >>> way.name, way.mode, way.votes, way.label
        ('cot_vote', 'cot', True, 'CoT + vote')
    """

    direct = "direct"
    cot = "cot"
    cot_vote = "cot-vote"
    rank = "rank"

    @classmethod
    def named(cls, name: str) -> "Way":
        """Returns the way of this value; InputError if there is none."""
        known = [way.value for way in cls]
        if name not in known:
            raise InputError(
                f"mode: found {name!r}." + did_you_mean(name, known)
            )
        return cls(name)

    @property
    def mode(self) -> str:
        """What `evaluate` is asked for."""
        return self.value.removesuffix("-vote")

    @property
    def votes(self) -> bool:
        """Whether several paths vote."""
        return self.value != self.mode

    @property
    def label(self) -> str:
        """How tables spell it."""
        return MODES[self.mode] + " + vote" * self.votes


# The ways in which the model writes its answer.
WRITTEN = (Way.direct, Way.cot, Way.cot_vote)
