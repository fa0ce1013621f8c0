"""How an example is asked: templates, tasks that use them, and prompts.

Imports `records`.
"""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Task": ".task",
        "Template": ".template",
        "TemplateFamily": ".families",
        "load_family": ".library",
        "Format": ".prompts",
        "render_prompt": ".prompts",
    },
)
