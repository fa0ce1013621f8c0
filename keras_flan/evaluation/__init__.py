"""Benchmarks, scores and reports.

Imports `generation` and what that may import.
"""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Benchmark": ".benchmarks.base",
        "Marked": ".scores.metrics",
        "Metric": ".scores.metrics",
        "SourceQuestion": ".benchmarks.sources",
        "add_module": "..extensions",
        "golden_prompts": ".benchmarks.showing",
        "load_benchmark": ".benchmarks.files",
        "load_protocol": ".benchmarks.protocols",
        "read_protocol": ".benchmarks.protocols",
        "compare_runs": ".scores.comparing",
        "evaluate": ".runs.evaluate",
        "log_likelihoods": "..generation.likelihood",
        "measure_toxicity": ".responsible.toxicity",
        "normalised_average": ".scores.paper",
        "published_results": ".scores.paper",
        "report_runs": ".reports.page",
        "score": ".scores.scoring",
    },
)
