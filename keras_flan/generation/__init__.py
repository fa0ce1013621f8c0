"""Decoding, answer extraction, programs and voting."""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Path": ".engine",
        "compilations": ".rounds",
        "PromptStyle": ".styles",
        "ask": ".prompting",
        "generate": ".engine",
        "stream": ".engine",
        "Answer": ".answers",
        "extract_answer": ".answers",
        "ProgramResult": ".programs",
        "program_answer": ".programs",
        "run_program": ".programs",
        "Vote": ".voting",
        "vote": ".voting",
    },
)
