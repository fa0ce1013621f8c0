"""Benchmarks, scores and reports."""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Benchmark": ".base",
        "load_benchmark": ".benchmarks",
        "compare_runs": ".comparing",
        "evaluate": ".runner",
        "log_likelihoods": ".likelihood",
        "measure_toxicity": ".toxicity",
        "normalised_average": ".paper",
        "published_results": ".paper",
        "report_runs": ".runs_report",
        "score": ".scoring",
    },
)
