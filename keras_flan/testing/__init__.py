"""A test kit: what importers, templates, protocols and models promise.

Each check takes a part of your own and raises an `AssertionError` that says
which promise it breaks. Our own tests use the same checks. Imports every room
but `planning`, `miniature` and `cli`.
"""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "check_importer": ".importers",
        "check_model": ".models",
        "check_protocol": ".protocols",
        "check_templates": ".templates",
    },
)
