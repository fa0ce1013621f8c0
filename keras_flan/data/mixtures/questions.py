"""What is asked: questions of a mixture, in an order that a seed decides."""

import dataclasses
import os
import random
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from keras_flan.answers import infer_kind
from keras_flan.data.mixtures.mixture import Mixture
from keras_flan.data.records.example import Example
from keras_flan.data.records.shards import read_records
from keras_flan.data.templates.families import Format
from keras_flan.data.templates.prompts import Prompt, render_prompt
from keras_flan.data.templates.task import Task
from keras_flan.errors import InputError

# What records of pairs have: one text is preferred to another.
PAIR_FIELDS = frozenset({"question", "chosen", "rejected"})
# Examples that the exemplars of a prompt are drawn from.
_POOL = 16
# The most of a task's examples that are held out.
_HELD_OUT = 0.25


@dataclasses.dataclass(frozen=True)
class Question:
    """A question as the model is asked it.

    Args:
        name: Where it is from: the task and the place in its records.
        prompt: What the model reads.
        target: The right answer, as the prompt asks for it; empty if none is
            known.
        kind: The kind of the answer, see `keras_flan.answers.KINDS`.
        options: The texts of the options, if there are any.
        format: How it is asked; empty if it isn't from templates.
    """

    name: str
    prompt: str
    target: str
    kind: str
    options: tuple[str, ...] = ()
    format: str = ""


class Questions:
    """The questions of a run, in the order in which they are asked.

    Tasks come by the mixture's rates, the examples of a task in the random
    order of a pass over all of them; some are held out of every pass.

    Args:
        mixture: The mixture.
        total: How many questions are asked in all.
        seed: Seed of the order, the formats and the exemplars.
        formats: How questions are asked, with weights; default: as the
            mixture says. A task can be asked to reason without having
            rationales.
        held_out: How many questions are held out, over all tasks.
        labelled: Whether questions have their targets. Without, answers are
            seen in exemplars alone, and only a task says of what kind they
            are.

    Attributes:
        held_out: The questions that are never asked in a round.

    Raises:
        InputError: If a task can't be asked so, or has no answers.
    """

    def __init__(
        self,
        mixture: Mixture,
        total: int,
        seed: int,
        formats: Mapping[Format, float] | None = None,
        held_out: int = 0,
        labelled: bool = True,
    ):
        if mixture.then is not None:
            raise InputError(
                f"{mixture.name}: has stages, and questions are drawn from "
                "one; give a mixture without them"
            )
        self._parts, self._seed = mixture.tasks, seed
        self._labelled = labelled
        self._shots = mixture.shots
        self._tasks = [part.task for part in mixture.tasks]
        self._formats: list[Mapping[Format, float]] = [
            formats or part.formats for part in mixture.tasks
        ]
        self._blank = [
            _blank(task, list(own))
            for task, own in zip(self._tasks, self._formats, strict=True)
        ]
        each = -(-held_out // len(self._tasks))
        self._kept = [
            task.num_examples - min(each, int(_HELD_OUT * task.num_examples))
            for task in self._tasks
        ]
        rates = np.array([part.rate for part in mixture.tasks])
        rng = np.random.default_rng(seed)
        drawn = rng.choice(len(rates), total, p=rates / rates.sum())
        self._drawn: list[int] = drawn.tolist()
        self._orders: dict[tuple[int, int], np.ndarray] = {}
        self.held_out = self._held_out()
        if held_out and not self.held_out:
            raise InputError(
                f"{mixture.name}: no question can be held out, as its tasks "
                f"have fewer than {round(1 / _HELD_OUT)} examples each; ask "
                "for none, or take larger tasks"
            )

    def draw(self, first: int, number: int) -> list[Question]:
        """Returns questions by their numbers in the run."""
        seen = Counter(self._drawn[:first])
        found = []
        for which in self._drawn[first : first + number]:
            turn, place = divmod(seen[which], self._kept[which])
            seen[which] += 1
            index = int(self._order(which, turn)[place])
            found.append(self._question(which, index, turn))
        return found

    def again(self, question: Question, format: Format, answer: str) -> Prompt:
        """Returns the prompt of a question in another format.

        Args:
            question: The question.
            format: How it is asked.
            answer: What counts as its answer.
        """
        name, _, index = question.name.rpartition("/")
        which = [task.name for task in self._tasks].index(name)
        return self._rendered(which, int(index), format, 0, answer)

    def _order(self, which: int, turn: int) -> np.ndarray:
        """The order of a pass over a task, without what is held out."""
        if (which, turn) not in self._orders:
            whole = self._tasks[which].num_examples
            first = np.random.default_rng([self._seed, which])
            kept = first.permutation(whole)[: self._kept[which]]
            rng = np.random.default_rng([self._seed, which, turn + 1])
            self._orders[which, turn] = rng.permutation(kept)
        return self._orders[which, turn]

    def _held_out(self) -> list[Question]:
        found = []
        for which, task in enumerate(self._tasks):
            rng = np.random.default_rng([self._seed, which])
            places = rng.permutation(task.num_examples)[self._kept[which] :]
            found += [self._question(which, int(i), -1) for i in places]
        return found

    def _question(self, which: int, index: int, turn: int) -> Question:
        task, own = self._tasks[which], self._formats[which]
        rng = random.Random(f"{self._seed}/{task.name}/{index}/{turn}")
        [form] = rng.choices(list(own), list(own.values()))
        prompt = self._rendered(which, index, form, turn)
        fields = task.read_at([index])[0].fields
        kind = task.answer_kind
        if self._labelled:
            named = prompt.answer != fields.get("answer", prompt.answer)
            kind = "text" if named else kind or infer_kind(prompt.answer)
        lines = fields.get("options", "")
        return Question(
            name=f"{task.name}/{index}",
            prompt=prompt.inputs,
            target=prompt.answer if self._labelled else "",
            kind=kind or "",
            options=tuple(lines.split("\n")) if lines else (),
            format=form.value,
        )

    def _rendered(
        self,
        which: int,
        index: int,
        form: Format,
        turn: int,
        answer: str | None = None,
    ) -> Prompt:
        task = self._tasks[which]
        [example] = task.read_at([index])
        others: Sequence[Example] = ()
        if form.few_shot:
            rng = random.Random(f"{self._seed}/{task.name}/{index}/shots")
            number = min(_POOL, task.num_examples)
            pool = rng.sample(range(task.num_examples), number)
            others = task.exemplars(example, task.read_at(pool), self._shots)
        fields = {**self._blank[which], **example.fields}
        if answer is not None:
            fields["answer"] = answer
        return render_prompt(
            task.family,
            dataclasses.replace(example, fields=fields),
            form,
            index,
            [
                dataclasses.replace(
                    one, fields={**self._blank[which], **one.fields}
                )
                for one in others
            ],
            seed=self._seed,
            letters=task.answers_are_letters,
        )


def read_pairs(
    folder: str | os.PathLike,
) -> list[tuple[Question, tuple[str, str]]]:
    """Reads questions with a chosen and a rejected text each.

    Args:
        folder: Records, as `keras-flan import preference` writes them.

    Raises:
        InputError: If they have other fields.
    """
    pairs = []
    for number, example in enumerate(read_records(folder)):
        fields = example.fields
        if not fields.keys() >= PAIR_FIELDS:
            raise InputError(
                f"{folder}: expected the fields 'question', 'chosen' and "
                f"'rejected', found {', '.join(fields)}; import the file with "
                "`keras-flan import preference`"
            )
        name = f"{example.task}/{number}"
        question = Question(name, fields["question"], "", "text")
        pairs.append((question, (fields["chosen"], fields["rejected"])))
    return pairs


def _blank(task: Task, formats: Sequence[Format]) -> dict[str, str]:
    """Returns empty fields for what records need not have to be asked."""
    for form in formats:
        if not task.num_templates(form):
            task.require(form)
    if "answer" not in task.fields:
        raise InputError(
            f"{task.directory}: expected a field 'answer' to judge by, found "
            f"{', '.join(task.fields)}; import the task with one"
        )
    return dict.fromkeys(task.family.fields, "")
