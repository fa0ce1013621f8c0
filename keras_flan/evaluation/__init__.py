"""Benchmarks, scores and reports."""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Benchmark": ".base",
        "load_benchmark": ".benchmarks",
        "evaluate": ".runner",
        "score": ".scoring",
    },
)
