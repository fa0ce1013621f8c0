"""Finding the answer in what a model wrote.

Every kind of answer has ordered, named rules. An extraction says which rule
fired and where; a text without an answer abstains. Needs no model.

Imports no other room.
"""

from keras_flan.answers.kinds import (
    BENCHMARKS,
    EXTRACTOR_VERSION,
    KINDS,
    Answer,
    Protocol,
    answer_kind,
    extract_answer,
    infer_kind,
    is_correct,
    normalise_answer,
    protocol,
    rule_set,
)
from keras_flan.answers.published import RULE_SETS, RuleSet

__all__ = [
    "BENCHMARKS",
    "EXTRACTOR_VERSION",
    "KINDS",
    "RULE_SETS",
    "Answer",
    "Protocol",
    "RuleSet",
    "answer_kind",
    "extract_answer",
    "infer_kind",
    "is_correct",
    "normalise_answer",
    "protocol",
    "rule_set",
]
