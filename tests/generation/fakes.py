"""A stand-in for a model: the cafeteria, ten sampled chains."""

import types

from keras_flan.generation.language_model_like import StandIn
from keras_flan.miniature.quickstart import QUESTION  # noqa: F401

CHAINS = [
    "They had 23 apples and used 20: 23 - 20 = 3. 3 + 6 = 9. The answer is 9.",
    "23 - 20 + 6 = 9. The answer is 9.",
    "They used 20 of 23 and had 3. With 6 more it is 9. The answer is 9.",
    "20 + 6 = 26. 26 - 23 = 3. The answer is 3.",
    "23 + 6 = 29 apples. They used 20. 29 - 20 = 9. The answer is 9.",
    "They bought 6 more: 23 + 6 = 29. The answer is 29.",
    "3 apples were left. 3 + 6 = 9. The answer is <b>9</b> & done.",
    "Let me think.\nApples are a fruit.",
    "23 - 20 = 3. The answer is 3.",
    "First 3 were left, then 9. The answer is 9.",
]


def make_path(text):
    return types.SimpleNamespace(
        text=text, token_ids=[1, 2], log_probability=-1.5, finished=True
    )


def cafeteria(prompts, *, samples, **settings):
    """A `LanguageModelLike`'s `generate`."""
    return [
        [make_path(CHAINS[number % len(CHAINS)]) for number in range(samples)]
        for _ in prompts
    ]


class Streamed(StandIn):
    """Yields rows, numbers and paths as they are done, like a real model.

    Args:
        function: Called like `keras_flan.generation.stream`, without the
            model, and with all settings by name.
    """

    def stream(self, prompts, *, sampling, **settings):
        return self._call(prompts, **vars(sampling), **settings)


def last_first(prompts, *, samples, **settings):
    """The cafeteria; the last path is done first."""
    for row in range(len(prompts)):
        for number in reversed(range(samples)):
            yield row, number, make_path(CHAINS[number % len(CHAINS)])
