"""Protocols: versioned data that say how a benchmark is asked and read."""

import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import pydantic
import yaml

from keras_flan.answers.kinds import KINDS, infer_kind
from keras_flan.data.templates.families import Format
from keras_flan.data.templates.template import Template
from keras_flan.errors import InputError, did_you_mean
from keras_flan.schema import Strict, read_yaml, validate
from keras_flan.storage import as_path


def _known(kind: str) -> str:
    KINDS.named(kind)  # says if there is none
    return kind


def _is_path(name: str | os.PathLike) -> bool:
    return isinstance(name, os.PathLike) or name.endswith((".yaml", ".yml"))


_LIBRARY = Path(__file__).with_name("protocol_library")
# A run of a protocol that is not in the library keeps a copy of it.
PROTOCOL_FILE = "protocol.yaml"
# A name in `keras_flan.answers.KINDS`.
KindName = Annotated[str, pydantic.AfterValidator(_known)]
# Field name to column name; the field `options` may have several columns.
Columns = dict[str, str | tuple[str, ...]]
# YAML reads a label such as 0 as a number.
_Label = Annotated[str, pydantic.Field(coerce_numbers_to_str=True)]


class PromptLayout(Strict):
    r"""How the prompts of one format are laid out.

    Args:
        header: Template of what comes first, once.
        exemplar: Template of a solved question; few-shot formats only.
        query: Template of the question asked.
        stop: An output ends before the first of these texts.

    Example:
        >>> layout = PromptLayout(
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


class ExemplarSource(Strict):
    """Where the solved questions of a prompt come from.

    Args:
        reader: What reads the file; see `PromptProtocol`. Default: what
            reads the questions, with its columns and labels.
        files: Where the file may be, beside the data; the first that is
            there is read. It may end in `.gz`.
        chosen: The `"first"` ones of the file, the same for each question;
            or `"drawn"` by the seed. A question is never its own exemplar.
        written: The exemplars themselves, instead of a file.
        counts_as: A file with fewer exemplars shows all of them, and counts
            as having this number.
        otherwise: `"questions"` takes other questions of the task, on other
            passages, if there is no file.
    """

    reader: str = ""
    files: tuple[str, ...] = ()
    chosen: Literal["first", "drawn"] = "first"
    written: tuple[dict[str, str], ...] = ()
    counts_as: int = 0
    otherwise: Literal["", "questions"] = ""


class PromptProtocol(Strict):
    r"""How a benchmark is asked, read and scored: all of it is data.

    Args:
        name: The benchmark.
        version: Goes up with every change that can change a prompt.
        source: Where the data and the layout were published.
        formats: A layout for each format; none for `records`, whose tasks
            bring their own templates.
        shots: The number of exemplars in the published protocol.
        stop: Of tasks that bring their own templates: an output ends before
            the first of these texts. A layout has its own.
        reader: What reads a file of questions: an importer's name (such as
            `csv`, `jsonl`, `squad`), one in
            `keras_flan.evaluation.benchmarks.readers.READERS`, or one of a
            module of your own.
        columns: For readers of any content (`csv`, `tsv`, `jsonl`, `json`,
            `labelled-lines`), field name to column name, as `--map` of
            `keras-flan import`. `answer` is the right answer.
        labels: The file's answers to names for them, which also become the
            answer options.
        files: Where the questions are below the data folder; the first that
            is there is read. `{task}` stands for any name, `{split}` for
            the split. None: a single file is given.
        splits: The splits, the default first.
        aliases: Names of tasks in files, to their names here.
        exemplars: Their source for the modes `direct` and `cot`.
        fields: For single tasks, further fields of the templates.
        extractor: The kind of the answers, a name in
            `keras_flan.answers.KINDS`, or of a module of your own; None if
            targets decide. Of `span` the score also has F1, of `whole`
            ROUGE-L.
        metrics: What is scored besides: names in
            `keras_flan.evaluation.scores.metrics.METRICS`, or of a module of
            your own.
        kinds: The kinds of single tasks, where targets don't show them.
        tasks_are_languages: Whether the tasks are languages, by their codes,
            in which numbers and dates are written.
        letters: The letters of the options, if all questions have the same
            number of them.
        baseline: What guessing scores, in percent, where `baselines` is
            silent.
        baselines: The same for single tasks.
        headline: The tasks that the headline score is the unweighted mean
            of; default: all.
        groups: Names of groups of tasks.
        choices: What is ranked in the mode `rank`: `"letters"`, `"options"`
            (their texts), `"targets"` (letters in the question, or the
            answers of the task), or the answers themselves.
        choice: Template of the continuation that is ranked.

    Example:

    ```yaml
    name: quiz
    version: 1
    source: our own
    reader: csv
    columns: {question: Question, answer: Answer}
    extractor: number
    formats:
      zero_shot_direct: {query: "Q: {question}\nA:", stop: ["\nQ:"]}
    ```
    """

    name: str
    version: int
    source: str
    formats: dict[Format, PromptLayout]
    shots: int = 0
    stop: tuple[str, ...] = ()
    reader: str = ""
    columns: Columns = pydantic.Field(default_factory=dict)
    labels: dict[_Label, str] = pydantic.Field(default_factory=dict)
    files: tuple[str, ...] = ()
    splits: tuple[str, ...] = ("test",)
    aliases: dict[str, str] = pydantic.Field(default_factory=dict)
    exemplars: dict[Literal["direct", "cot"], ExemplarSource] = pydantic.Field(
        default_factory=dict
    )
    fields: dict[str, dict[str, str]] = pydantic.Field(default_factory=dict)
    extractor: KindName | None = None
    kinds: dict[str, KindName] = pydantic.Field(default_factory=dict)
    metrics: tuple[str, ...] = ()
    tasks_are_languages: bool = False
    letters: str | None = None
    baseline: float = 0.0
    baselines: dict[str, float] = pydantic.Field(default_factory=dict)
    headline: tuple[str, ...] = ()
    groups: dict[str, tuple[str, ...]] = pydantic.Field(default_factory=dict)
    choices: Literal["letters", "options", "targets"] | tuple[str, ...] = ()
    choice: str = " {choice}"

    def kind_of(self, task: str, targets: Iterable[str]) -> str:
        """Returns the kind of a task's answers.

        Args:
            task: The task.
            targets: Its right answers, which show the kind where the protocol
                does not state it: `text`, if they look different.

        Example:
            >>> bbh = load_protocol("bbh")
            >>> bbh.kind_of("snarks", ["(A)"]), bbh.kind_of("word_sorting", [])
            ('option', 'list')
        """
        if stated := self.kinds.get(task, self.extractor):
            return stated
        kinds = set(map(infer_kind, targets))
        return kinds.pop() if len(kinds) == 1 else "text"

    def headline_of(self, tasks: Iterable[str]) -> list[str]:
        """Returns those of some tasks that the headline score is of."""
        tasks = list(tasks)
        return [task for task in self.headline if task in tasks] or tasks

    def with_metrics(self, names: Iterable[str]) -> "PromptProtocol":
        """Returns the protocol with further metrics."""
        metrics = tuple(dict.fromkeys((*self.metrics, *names)))
        return self.model_copy(update={"metrics": metrics})

    @property
    def shipped(self) -> bool:
        """Whether it is the package's, but for further metrics."""
        if self.name not in protocol_names():
            return False
        own = _read(_LIBRARY / f"{self.name}.yaml")
        return self == own.with_metrics(self.metrics)

    def to_yaml(self) -> str:
        """Returns the content of its file, without what is the default."""
        values = self.model_dump(mode="json", exclude_defaults=True)
        return yaml.safe_dump(values, allow_unicode=True, sort_keys=False)

    def baseline_of(self, task: str) -> float:
        """What guessing scores on a task, in percent."""
        return self.baselines.get(task, self.baseline)


@functools.cache
def protocol_names() -> tuple[str, ...]:
    """Returns the names of all benchmarks that have a protocol."""
    return tuple(sorted(path.stem for path in _LIBRARY.glob("*.yaml")))


def load_protocol(
    benchmark: str | os.PathLike | PromptProtocol,
) -> PromptProtocol:
    r"""Returns the prompt protocol of a benchmark.

    Args:
        benchmark: Its name; or the path of a YAML file of your own, see
            `read_protocol`; a protocol is returned as it is.

    Raises:
        InputError: If there is none, or the file is wrong.

    Example:
        >>> load_protocol("bbh").formats["zero_shot_direct"].query
        'Q: {question}\nA:'
    """
    if isinstance(benchmark, PromptProtocol):
        return benchmark
    if _is_path(benchmark):
        return read_protocol(benchmark)
    if benchmark not in protocol_names():
        raise InputError(
            f"no benchmark {benchmark!r}."
            + did_you_mean(str(benchmark), protocol_names())
            + " One of your own is given by the path of its protocol, ending "
            "in .yaml."
        )
    return _read(_LIBRARY / f"{benchmark}.yaml")


def read_protocol(path: str | os.PathLike) -> PromptProtocol:
    """Reads a protocol of your own, to give instead of a benchmark's name.

    Args:
        path: A YAML file; those of the package are in `protocol_library/`.

    Raises:
        InputError: If a key is unknown, missing or has a wrong value.

    Example:

    ```python
    protocol = read_protocol("my_protocol.yaml")
    keras_flan.evaluation.evaluate(model, protocol, "data", output="runs/mine")
    ```
    """
    return validate(PromptProtocol, read_yaml(path), str(path))


def kept_protocol(
    folder: str | os.PathLike, benchmark: str, metrics: Iterable[str] = ()
) -> PromptProtocol:
    """Returns the protocol of a finished run.

    Args:
        folder: The run's folder, which has a copy unless it is shipped.
        benchmark: The name that the run's log says.
        metrics: What the run scored besides.
    """
    path = as_path(folder, PROTOCOL_FILE)
    if not path.is_file():
        return load_protocol(benchmark).with_metrics(metrics)
    found = read_protocol(path)
    if found.name != benchmark:
        raise InputError(
            f"{path}: expected the protocol of {benchmark!r}, found that of "
            f"{found.name!r}; remove the file, or give --benchmark"
        )
    return found


_read = functools.cache(read_protocol)
