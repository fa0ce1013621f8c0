"""What a prompt protocol promises."""

import os
from collections.abc import Mapping, Sequence

from keras_flan.errors import InputError
from keras_flan.evaluation.benchmarks.base import Item
from keras_flan.evaluation.benchmarks.files import load_benchmark
from keras_flan.evaluation.benchmarks.protocols import (
    PromptProtocol,
    load_protocol,
    read_protocol,
)
from keras_flan.evaluation.scores.judging import judge


def check_protocol(
    protocol: PromptProtocol | str | os.PathLike,
    data: str | os.PathLike | None = None,
    *,
    prompts: Mapping[tuple[str, int], Sequence[str]] | None = None,
    outputs: Mapping[str, str | None] | None = None,
) -> None:
    r"""Checks that a protocol asks what is expected, and reads its answers.

    Prompts equal the golden ones, the right answer after "The answer is" is
    read as right, and an empty output is not.

    Args:
        protocol: The protocol, the path of its file, or a shipped one's name.
        data: What `load_benchmark` takes: a small set.
        prompts: The first prompts, by mode (`direct`, `cot`) and number of
            exemplars; default: both modes without exemplars, unseen.
        outputs: What a model may write, to the answer that is read from it
            (`None` for none), under the first question.

    Raises:
        AssertionError: If a promise is broken.
        InputError: If the protocol is no valid one, or data are missing.

    Example:
        >>> check_protocol(
        ...     Path("quiz.yaml"),
        ...     "quiz.jsonl",
        ...     prompts={("direct", 0): ["Q: 2 + 2?\nA:"]},
        ...     outputs={"That makes 4.": "4", "I don't know": None},
        ... )
    """
    if isinstance(protocol, os.PathLike):
        protocol = read_protocol(protocol)
    protocol = load_protocol(protocol)
    benchmark = load_benchmark(protocol, data)
    expected = prompts or {("direct", 0): [], ("cot", 0): []}
    for (mode, shots), golden in expected.items():
        items = benchmark.items(mode=mode, shots=shots)
        place = f"{protocol.name}: {mode}, {shots} exemplars"
        found = [item.prompt for item in items[: len(golden)]]
        assert found == list(golden), f"{place}: {found}, expected {golden}"
        for item in items:
            _check_reading(place, protocol, item)
    first = benchmark.items(mode="direct", limit=1)[0]
    for text, answer in (outputs or {}).items():
        [read] = judge(protocol, [_row(first, text)])
        assert read.answer == answer, (
            f"{protocol.name}: read {read.answer!r} from {text!r}, expected "
            f"{answer!r}"
        )


def _check_reading(place: str, protocol: PromptProtocol, item: Item) -> None:
    told = (
        item.target
        if item.answer_kind == "whole"
        else (f"The answer is {item.target}.")
    )
    try:
        right, silent = judge(protocol, [_row(item, told), _row(item, "")])
    except InputError as error:
        raise AssertionError(f"{place}: {item.id}: {error}") from None
    assert right.correct, f"{place}: {item.id}: {told!r} is read as wrong"
    assert not silent.correct, f"{place}: {item.id}: no output is right"


def _row(item: Item, output: str) -> dict[str, object]:
    return {
        "task": item.task,
        "target": item.target,
        "output": output,
        "options": list(item.options),
        "stop": list(item.stop),
    }
