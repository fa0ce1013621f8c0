"""Looking at prompts and mixtures before anything is trained."""

import dataclasses
import itertools
import os
import random
from pathlib import Path

from keras_flan.data.mixtures.mixture import Mixture
from keras_flan.data.records.info import INFO_FILE
from keras_flan.data.templates.families import Format
from keras_flan.data.templates.prompts import render_prompt
from keras_flan.data.templates.task import Task
from keras_flan.errors import InputError
from keras_flan.storage import as_path

# Examples of a task that exemplars are taken from, as in training.
_POOL = 128


def inspect(
    source: str | os.PathLike | Mixture,
    n: int = 3,
    shots: int = 0,
    cot: bool | None = None,
    seed: int = 0,
    group: str | None = None,
) -> list[dict]:
    """Draws examples and renders them as training would.

    Args:
        source: A folder of records, of which `n` different examples are
            shown, or a mixture or its YAML file, of which `n` draws are
            shown: tasks and formats come at the mixture's rates.
        n: How many prompts.
        shots: Exemplars in a prompt; more than 0 asks for few-shot formats
            only. With 0, a folder is shown zero-shot, and a mixture with its
            own formats and number of shots.
        cot: Chain of thought or not. By default, a folder is shown with a
            chain of thought if it can be, and a mixture as it draws.
        seed: The seed of the draws.
        group: Draw from this group of a mixture only.

    Returns:
        A dict each, with `task`, `index` (the example's place in the
        records), `format`, `template` (its place in the family), `shots`,
        `inputs` and `targets`.

    Raises:
        InputError: If the source is not there or lacks the formats.

    Example:
        >>> inspect("records/gsm8k", n=1, cot=True)[0]["targets"]
        'Natalia sold 48 / 2 = 24 clips in May. ... The answer is 72.'
    """
    rng = random.Random(f"inspect/{seed}")
    if not isinstance(source, Mixture):
        source = as_path(source)
        if source.suffix in (".yaml", ".yml"):
            source = Mixture.from_yaml(source)
    if isinstance(source, Mixture):
        draws = _draw_mixture(source, n, shots, cot, rng, group)
        shots = shots or source.shots
    else:
        check_folder(source)
        draws = _draw_task(Task.from_directory(source), n, shots, cot, rng)
    return [draw.render(shots, rng, seed) for draw in draws]


def show(
    task: Task, format: Format, index: int, *, shots: int, seed: int = 0
) -> dict:
    """Renders one example of a task, as `inspect` does.

    Exemplars are drawn anew, with the seed.
    """
    rng = random.Random(f"show/{seed}/{task.name}/{index}")
    return _Draw(task, format, index).render(shots, rng, seed)


@dataclasses.dataclass
class _Draw:
    """An example that is asked in a format."""

    task: Task
    format: Format
    index: int

    def render(self, shots: int, rng: random.Random, seed: int) -> dict:
        number = self.task.num_examples
        places: list[int] = []
        if self.format.few_shot:
            places = rng.sample(range(number), min(_POOL, number))
        [example] = self.task.read_at([self.index])
        # Of those that may be shown, the first ones mostly do.
        parts = (
            places[i : i + shots] for i in range(0, len(places), shots or 1)
        )
        others = itertools.chain.from_iterable(map(self.task.read_at, parts))
        prompt = render_prompt(
            *(self.task, example, self.format, self.index),
            self.task.exemplars(example, others, shots),
            seed=seed,
        )
        return {
            "task": self.task.name,
            "index": self.index,
            "format": self.format.value,
            "template": prompt.template,
            "shots": prompt.shots,
            "inputs": prompt.inputs,
            "targets": prompt.targets,
        }


def check_folder(source: Path) -> None:
    """Names the record sets below a folder that is none itself."""
    if (source / INFO_FILE).is_file():
        return
    below = sorted(path.parent for path in source.glob(f"*/{INFO_FILE}"))
    below = below or sorted(
        path.parent for path in source.glob(f"*/*/{INFO_FILE}")
    )
    if below:
        shown = ", ".join(str(path.relative_to(source)) for path in below[:20])
        raise InputError(
            f"{source}: no records here, but in the folders below: {shown}; "
            "give the path of one of them"
        )


def _draw_task(
    task: Task, n: int, shots: int, cot: bool | None, rng: random.Random
) -> list[_Draw]:
    if cot is None:
        cot = _format(shots, True) in task.formats
    format = _format(shots, cot)
    task.require(format)
    usable = task.usable(format)
    indices = rng.sample(range(usable), min(n, usable))
    return [_Draw(task, format, index) for index in indices]


def _format(shots: int, cot: bool) -> Format:
    return Format(
        f"{'few' if shots else 'zero'}_shot_{'cot' if cot else 'direct'}"
    )


def _draw_mixture(
    mixture: Mixture,
    n: int,
    shots: int,
    cot: bool | None,
    rng: random.Random,
    group: str | None,
) -> list[_Draw]:
    choices = [
        (part, format)
        for part in mixture.tasks
        for format in part.formats
        if (format.few_shot or not shots)
        and cot in (None, format.cot)
        and group in (None, part.group)
    ]
    if not choices:
        kinds = {f.value for part in mixture.tasks for f in part.formats}
        raise InputError(
            f"{mixture.name}: no prompts of this kind; the mixture holds "
            f"{', '.join(sorted(kinds))}"
        )
    weights = [part.rate * part.formats[format] for part, format in choices]
    return [
        _Draw(part.task, format, rng.randrange(part.task.usable(format)))
        for part, format in rng.choices(choices, weights, k=n)
    ]
