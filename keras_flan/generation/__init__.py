"""Decoding, answer extraction and voting."""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Path": ".engine",
        "ask": ".prompting",
        "generate": ".engine",
        "stream": ".engine",
        "Answer": ".answers",
        "extract_answer": ".answers",
        "Vote": ".voting",
        "vote": ".voting",
    },
)
