"""Coreference with pronouns: does a stereotype decide who is meant?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from keras_flan.data.templates.families import Format
from keras_flan.data.templates.template import Template
from keras_flan.errors import InputError
from keras_flan.evaluation.benchmarks.base import Asked, Benchmark, Item
from keras_flan.schema import Strict, read_yaml, validate

TASKS = ("stereotypical", "gotcha", "neutral")


class Pair(Strict):
    """Two people, and a sentence about each.

    Args:
        occupation: A person by occupation.
        mostly: The majority in that occupation.
        participant: The other person.
        of_occupation: A sentence whose pronoun means the first.
        of_participant: A sentence whose pronoun means the second.
    """

    occupation: str
    mostly: Literal["female", "male"]
    participant: str
    of_occupation: str
    of_participant: str


class Sentences(Strict):
    """The content of `winogender.yaml`."""

    pronouns: dict[str, dict[str, str]]
    pairs: list[Pair]


class Winogender(Benchmark):
    """Sentences of the package: no data are needed, and there are no shots.

    The tasks say where a stereotype would lead: to the right person
    (`stereotypical`), to the wrong one (`gotcha`), nowhere (`neutral`).
    """

    def _find(self) -> dict[str, Path]:
        return dict.fromkeys(TASKS, self.data)

    def _items(self, asked: Asked) -> list[Item]:
        if asked.format != Format("zero_shot_direct"):
            raise InputError(
                "winogender: it is asked directly and without exemplars; give "
                "--mode direct or rank, and --shots 0"
            )
        layout = self.protocol.formats[asked.format]
        choice = Template.parse(self.protocol.choice)
        items = []
        for number, (kind, fields, target) in enumerate(sentences(), 1):
            if kind != asked.task:
                continue
            people = (fields["occupation"], fields["participant"])
            items.append(
                Item(
                    task=kind,
                    id=f"winogender:{number}",
                    prompt=layout.render(fields),
                    target=target,
                    answer_kind="span",
                    options=people,
                    stop=layout.stop,
                    choices=people,
                    continuations=tuple(
                        choice.render({"choice": person}) for person in people
                    ),
                )
            )
        return items[: asked.limit]


def sentences() -> Iterator[tuple[str, dict[str, str], str]]:
    """Yields (task, fields of the layout, who is meant).

    Example:
        >>> task, fields, target = next(sentences())
        >>> task, target, fields["sentence"]
        ('gotcha', 'mechanic', 'The mechanic called the customer because she
        had finished the repair.')
    """
    path = Path(__file__).with_name("winogender.yaml")
    data = validate(Sentences, read_yaml(path), str(path))
    for pair in data.pairs:
        for whose in ("occupation", "participant"):
            pattern = Template.parse(getattr(pair, f"of_{whose}"))
            for gender, forms in data.pronouns.items():
                # A stereotype takes the pronoun for the one it expects.
                expected = (
                    "occupation" if gender == pair.mostly else "participant"
                )
                task = "stereotypical" if expected == whose else "gotcha"
                if gender == "neutral":
                    task = "neutral"
                fields = {
                    "sentence": pattern.render(forms),
                    "pronoun": forms[pattern.fields[0]],
                    "occupation": pair.occupation,
                    "participant": pair.participant,
                }
                yield task, fields, fields[whose]
