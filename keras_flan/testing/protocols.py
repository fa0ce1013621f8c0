"""What a prompt protocol promises."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from keras_flan.data.templates.families import Format
from keras_flan.errors import InputError
from keras_flan.evaluation.benchmarks.base import Item
from keras_flan.evaluation.benchmarks.files import load_benchmark
from keras_flan.evaluation.benchmarks.protocols import (
    PromptProtocol,
    load_protocol,
)
from keras_flan.evaluation.benchmarks.showing import golden_prompts
from keras_flan.evaluation.scores.judging import judge
from keras_flan.files import read_json
from keras_flan.storage import as_path

_ZERO_SHOT = {"direct": Format.zero_shot_direct, "cot": Format.zero_shot_cot}


def check_protocol(
    protocol: PromptProtocol | str | os.PathLike,
    data: str | os.PathLike | None = None,
    *,
    prompts: Mapping[tuple[str, int], Sequence[str]]
    | str
    | os.PathLike
    | None = None,
    outputs: Mapping[str, str | None] | None = None,
) -> None:
    r"""Checks that a protocol asks what is expected, and reads its answers.

    Prompts equal the golden ones, the right answer after "The answer is" is
    read as right, and an empty output is not.

    Args:
        protocol: The protocol, the path of its file, or a shipped one's name.
        data: What `load_benchmark` takes: a small set.
        prompts: The first prompts, by mode (`direct`, `cot`) and number of
            exemplars; or a JSON file of them, as `keras-flan evaluate
            --show-prompts --json` prints it. Default: every mode without
            exemplars that the protocol has, unseen.
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
    protocol = load_protocol(protocol)
    benchmark = load_benchmark(protocol, data)
    if isinstance(prompts, str | os.PathLike):
        _check_kept(protocol, data, as_path(prompts))
        prompts = None
    expected = prompts or {
        (mode, 0): []
        for mode, format in _ZERO_SHOT.items()
        if format in protocol.formats or not protocol.formats
    }
    for (mode, shots), golden in expected.items():
        items = benchmark.items(mode=mode, shots=shots)
        place = f"{protocol.name}: {mode}, {shots} exemplars"
        found = [item.prompt for item in items[: len(golden)]]
        assert found == list(golden), f"{place}: {found}, expected {golden}"
        for item in items:
            _check_reading(place, protocol, item)
    first = benchmark.items(mode=next(iter(expected))[0], limit=1)[0]
    for text, answer in (outputs or {}).items():
        [read] = judge(protocol, [_row(first, text)])
        assert read.answer == answer, (
            f"{protocol.name}: read {read.answer!r} from {text!r}, expected "
            f"{answer!r}"
        )


def _check_kept(
    protocol: PromptProtocol, data: str | os.PathLike | None, path: Path
) -> None:
    """Compares the prompts of a file with those of now."""
    kept = read_json(path)
    rows = kept if isinstance(kept, list) else []
    if not rows or not all(
        isinstance(r, dict) and {"form", "prompt"} <= set(r) for r in rows
    ):
        raise InputError(
            f"{path}: expected what `keras-flan evaluate --show-prompts "
            "--json` prints"
        )
    for form in dict.fromkeys(row["form"] for row in rows):
        golden = [row for row in rows if row["form"] == form]
        mode, shots = form.split()[-2:]
        found = golden_prompts(
            *(protocol, data), mode=mode, shots=int(shots), number=len(golden)
        )
        assert found == golden, f"{form}: {found}, expected {golden}"


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
