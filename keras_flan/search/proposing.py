"""A model that proposes prompts, from what went wrong with the best ones."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from keras_flan.generation.language_model_like import as_language_model
from keras_flan.generation.outputs import Path
from keras_flan.search.candidates import Candidate

# By the best candidates so far, each with its accuracy, and questions that
# the first of them got wrong (`question`, `output`, `answer`): further ones.
Propose: TypeAlias = Callable[
    [Sequence[tuple[Candidate, float]], Sequence[Mapping[str, str]]],
    Sequence[Candidate],
]
_SHOWN = 3


def generated(path: Path) -> int:
    """Returns how many tokens a path has; its words, if only they are known."""
    return len(path.token_ids) or len(path.text.split())


class Reflection:
    """Asks a model for better instructions, showing it scores and failures.

    Args:
        model: Any model with a vocabulary, or what answers in its stead; the
            one that is asked later, or a larger one.
        number: How many instructions are drawn.
        settings: Further settings of `Sampling`.

    Attributes:
        tokens: How many tokens it has generated.

    Example:
        >>> search_prompts(model, questions, propose=Reflection(larger))

    Source: OPRO (arXiv:2309.03409), scores in the prompt; GEPA
    (arXiv:2507.19457), reflection on failures.
    """

    def __init__(self, model: Any, number: int = 4, **settings: Any):
        self.tokens = 0
        self._model = as_language_model(model)
        self._settings = {
            "samples": number,
            "temperature": 1.0,
            "max_new_tokens": 48,
            **settings,
        }

    def __call__(
        self,
        best: Sequence[tuple[Candidate, float]],
        failures: Sequence[Mapping[str, str]],
    ) -> list[Candidate]:
        """Returns a candidate for each instruction that the model wrote."""
        tried = "\n\n".join(
            f"Prompt: {candidate.prompt[-400:]}\nRight answers: {accuracy:.0%}"
            for candidate, accuracy in best[:_SHOWN]
        )
        wrong = "\n\n".join(
            f"Question: {one['question']}\nAnswer given: {one['output']}\n"
            f"Right answer: {one['answer']}"
            for one in failures[:_SHOWN]
        )
        asked = (
            f"{tried}\n\nWhat went wrong:\n\n{wrong}\n\nWrite one short "
            "instruction that makes the answers right.\nInstruction:"
        )
        [paths] = self._model.generate([asked], **self._settings)
        self.tokens += sum(map(generated, paths))
        lines = [
            path.text.strip().split("\n")[0].strip(" \"'") for path in paths
        ]
        found = dict.fromkeys(
            re.sub(r"[{}]", "", line) for line in lines if line
        )
        return [
            Candidate(f"proposed: {line}", pattern=f"{{question}}\n{line}")
            for line in found
        ]
