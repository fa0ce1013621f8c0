"""Prompts that are found: candidates, successive halving, and a report.

Imports `evaluation` and what that may import.
"""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Candidate": ".candidates",
        "Reflection": ".proposing",
        "library_candidates": ".candidates",
        "search_prompts": ".halving",
    },
)
