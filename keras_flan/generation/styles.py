"""How a question is put: templates, exemplars, one pass or two."""

import dataclasses
import os
from collections.abc import Mapping, Sequence

from keras_flan.data.records.example import Example
from keras_flan.data.templates.families import Format
from keras_flan.data.templates.library import load_family
from keras_flan.data.templates.prompts import render_prompt
from keras_flan.errors import InputError
from keras_flan.files import read_json, read_jsonl, read_text

# What asks for the answer after a rationale; the extractors know them.
_CUE = "Therefore, the answer is"
_CUES = {
    "number": "Therefore, the answer (arabic numerals) is",
    "yes_no": "Therefore, the answer (Yes or No) is",
    "coin": "Therefore, the answer (Yes or No) is",
}
# An answer, and not a second rationale.
ANSWER_TOKENS = 32


@dataclasses.dataclass(frozen=True)
class PromptStyle:
    r"""How questions become prompts: by the templates of training.

    Args:
        cot: Whether to ask for the reasoning.
        exemplars: Solved examples to show first: dicts of `question`,
            `answer` and, with `cot`, `rationale`. All are shown.
        family: A template family of the library, or a YAML file of one,
            which asks for a `question` only; for instance `mgsm_de` asks in
            German.
        template: Which template of the family's list for this way of asking
            (and so, which trigger), from 0.
        two_passes: Whether to ask for the answer once more, with the
            rationale in the prompt; needs `cot`.

    Raises:
        InputError: If the family has no such template, an exemplar lacks a
            field, or there is no rationale to read twice.

    Example:
        >>> PromptStyle(cot=True).render("What is 2 + 3?")
        "What is 2 + 3?\nLet's think step by step."
        >>> PromptStyle(cot=True, family="mgsm_de").render("Was ist 2 + 3?")
        'Was ist 2 + 3?\nDenken wir Schritt für Schritt nach.'

    Source: zero-shot CoT in one pass, arXiv:2210.11416, section 4.2; in two,
    Kojima et al., arXiv:2205.11916, section 3; few-shot CoT,
    arXiv:2201.11903; in the question's own language, arXiv:2210.03057.
    """

    cot: bool = False
    exemplars: Sequence[Mapping[str, str]] = ()
    family: str | os.PathLike = "generic"
    template: int = 0
    two_passes: bool = False

    def __post_init__(self) -> None:
        if self.two_passes and not self.cot:
            raise InputError(
                "two passes: the second one reads a rationale; ask for one "
                "(cot) too"
            )
        number = len(load_family(self.family).templates(self._format))
        if not 0 <= self.template < number:
            raise InputError(
                f"template {self.template}: the family {self.family} has "
                f"{number} for {self._format.value}; give a number "
                f"from 0 to {number - 1}"
                if number
                else f"the family {self.family} has no templates for "
                f"{self._format.value}; choose another one (`keras-flan "
                "templates`)"
            )
        needed = {"question", "answer"} | ({"rationale"} if self.cot else set())
        for place, exemplar in enumerate(self.exemplars, 1):
            for name in sorted(needed):
                if not isinstance(exemplar.get(name), str):
                    raise InputError(
                        f"exemplar {place}: expected a text under {name!r}; "
                        f"it has {', '.join(sorted(exemplar)) or 'nothing'}"
                    )

    @property
    def _format(self) -> Format:
        shots = "few_shot" if self.exemplars else "zero_shot"
        return Format(f"{shots}_{'cot' if self.cot else 'direct'}")

    def render(self, question: str) -> str:
        """Returns the prompt of a question.

        Raises:
            InputError: If the template needs more than a question.
        """
        family = load_family(self.family)
        return render_prompt(
            dataclasses.replace(family, shots=None),
            Example({"question": question, "answer": "", "rationale": ""}, ""),
            self._format,
            self.template,
            [Example(dict(exemplar), "") for exemplar in self.exemplars],
        ).inputs

    def second(self, prompt: str, rationale: str, kind: str) -> str:
        """Returns the prompt of the second pass; it ends with a cue.

        Args:
            prompt: That of the first pass.
            rationale: What the model answered to it.
            kind: Kind of the answer, see `extract_answer`.
        """
        return f"{prompt} {rationale.strip()}\n{cue(kind)}"


def cue(kind: str) -> str:
    """Returns what asks for an answer of this kind.

    Example:
        >>> cue("number")
        'Therefore, the answer (arabic numerals) is'
    """
    return _CUES.get(kind, _CUE)


def read_exemplars(path: str | os.PathLike) -> list[dict]:
    """Reads exemplars from JSON Lines, or from a JSON list of objects.

    Raises:
        InputError: If the file is missing or of another form.
    """
    is_list = read_text(path).lstrip().startswith("[")
    rows = read_json(path) if is_list else read_jsonl(path)
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise InputError(
            f"{path}: expected objects with question, answer and rationale; "
            "found something else, or none"
        )
    return rows
