"""Finding the answer in what a model wrote.

Every kind of answer has ordered, named rules. An extraction says which rule
fired and where; a text without an answer abstains. Needs no model.

Imports no other room.
"""

from keras_flan.answers.kinds import (
    EXTRACTOR_VERSION,
    KINDS,
    Answer,
    Kind,
    extract_answer,
    infer_kind,
    is_correct,
    normalise_answer,
    rule_set,
)
from keras_flan.answers.published import RULE_SETS, RuleSet

__all__ = [
    "EXTRACTOR_VERSION",
    "KINDS",
    "RULE_SETS",
    "Answer",
    "Kind",
    "RuleSet",
    "extract_answer",
    "infer_kind",
    "is_correct",
    "normalise_answer",
    "rule_set",
]
