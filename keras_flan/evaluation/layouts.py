"""Prompt protocols: versioned data that say how a benchmark is asked."""

import functools
from collections.abc import Mapping, Sequence
from importlib import resources

from keras_flan.data.patterns import Template
from keras_flan.data.templates import Format
from keras_flan.errors import InputError
from keras_flan.schema import Strict, read_yaml, validate

TRIGGER = "A: Let's think step by step."


class Layout(Strict):
    r"""How the prompts of one format are laid out.

    Args:
        header: Template of what comes first, once.
        exemplar: Template of a solved question; few-shot formats only.
        query: Template of the question asked.
        stop: An output ends before the first of these texts.

    Example:
        >>> layout = Layout(
        ...     exemplar="Q: {question}\nA: {answer}\n\n",
        ...     query="Q: {question}\nA:",
        ... )
        >>> layout.render(
        ...     {"question": "2 + 2?"}, [{"question": "1 + 1?", "answer": "2"}]
        ... )
        'Q: 1 + 1?\nA: 2\n\nQ: 2 + 2?\nA:'
    """

    header: str = ""
    exemplar: str = ""
    query: str
    stop: tuple[str, ...] = ()

    def render(
        self,
        fields: Mapping[str, str],
        exemplars: Sequence[Mapping[str, str]] = (),
    ) -> str:
        """Returns the prompt for the question with these fields."""
        exemplar = Template.parse(self.exemplar)
        return "".join(
            [
                Template.parse(self.header).render(fields),
                *(exemplar.render(solved) for solved in exemplars),
                Template.parse(self.query).render(fields),
            ]
        )


class PromptProtocol(Strict):
    """How a benchmark is asked.

    Args:
        name: The benchmark.
        version: Goes up with every change that can change a prompt.
        source: Where the layout was published.
        formats: A layout for each format; none for `records`, whose tasks
            bring their own templates.
    """

    name: str
    version: int
    source: str
    formats: dict[Format, Layout]


@functools.cache
def load_protocol(benchmark: str) -> PromptProtocol:
    r"""Returns the prompt protocol of a benchmark.

    Example:
        >>> load_protocol("bbh").formats["zero_shot_direct"].query
        'Q: {question}\nA:'
    """
    folder = resources.files(__package__).joinpath("protocols")
    with resources.as_file(folder.joinpath(f"{benchmark}.yaml")) as path:
        return validate(PromptProtocol, read_yaml(path), str(path))


def cut_at_stop(text: str, stop: Sequence[str]) -> str:
    r"""Returns the part of an output before the first stop text.

    A stop text before anything was written doesn't count: a model may open
    with line breaks.

    Example:
        >>> cut_at_stop(" 4\nQ: next", ["\nQ:"])
        ' 4'
    """
    start = len(text) - len(text.lstrip())
    ends = [text.find(mark, start) for mark in stop]
    return text[: min((end for end in ends if end >= 0), default=None)]


def parse_exemplars(text: str, place: str) -> tuple[str, list[dict[str, str]]]:
    r"""Reads the chain-of-thought prompts that benchmarks publish.

    Args:
        text: A description, then blocks of `Q: question`, `A: Let's think
            step by step.` and the reasoning, each after a blank line.
        place: What errors call the text.

    Returns:
        The description, and for each block a dict with `question`,
        `rationale` (all that follows "step by step.", the blank or line
        break included) and `answer` (what follows the last "answer is",
        without the full stop).

    Raises:
        InputError: If a block has another form.

    Example:
        >>> parse_exemplars(
        ...     "Add.\n\nQ: 1 + 1?\nA: Let's think step by step.\n"
        ...     "One and one. So the answer is 2.",
        ...     "sums.txt",
        ... )
        ('Add.', [{'question': '1 + 1?',
        'rationale': '\nOne and one. So the answer is 2.', 'answer': '2'}])
    """
    description, *blocks = text.strip("\n").split("\n\nQ: ")
    exemplars = []
    for number, block in enumerate(blocks, 1):
        question, trigger, rationale = block.partition("\n" + TRIGGER)
        _, phrase, answer = rationale.rpartition("answer is ")
        if not trigger or not phrase:
            missing = "answer is " if trigger else TRIGGER
            raise InputError(
                f"{place}: exemplar {number}: expected {missing!r} in it, "
                f"found none in {block[:40]!r}...; restore the file as it was "
                "published"
            )
        exemplars.append(
            {
                "question": question,
                "rationale": rationale,
                "answer": answer.removesuffix("."),
            }
        )
    return description, exemplars
