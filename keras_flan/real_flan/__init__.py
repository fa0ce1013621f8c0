"""Flan on public data and a real base model, from a data folder to a page.

Imports every room but `cli`.
"""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, {"run_flan": ".run"})
