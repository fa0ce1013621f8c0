"""How an example is asked: patterns, families of them, and prompts.

Imports `records`.
"""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Template": ".patterns",
        "TemplateFamily": ".families",
        "load_family": ".library",
        "Format": ".prompts",
        "render_prompt": ".prompts",
    },
)
