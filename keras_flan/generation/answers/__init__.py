"""Finding the answer in what a model wrote.

Every kind of answer has ordered, named rules. An extraction says which rule
fired and where; a text without an answer abstains.
"""

from keras_flan.generation.answers.registry import (
    BENCHMARKS,
    EXTRACTOR_VERSION,
    KINDS,
    Answer,
    Protocol,
    answer_kind,
    extract_answer,
    infer_kind,
    normalise_answer,
    protocol,
)

__all__ = [
    "BENCHMARKS",
    "EXTRACTOR_VERSION",
    "KINDS",
    "Answer",
    "Protocol",
    "answer_kind",
    "extract_answer",
    "infer_kind",
    "normalise_answer",
    "protocol",
]
