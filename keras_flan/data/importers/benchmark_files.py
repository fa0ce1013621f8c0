"""Files of benchmarks that no other format reads: questions, worked prompts.

They are read for evaluation; `keras-flan import` does not list them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_flan.data.importers import base
from keras_flan.errors import InputError, did_you_mean
from keras_flan.files import read_text

_TRIGGER = "A: Let's think step by step."
_RESTORE = "restore the file as it was published"


def _aqua(row: dict[str, Any]) -> base.Found:
    """Returns the fields of a row whose options are such as "A)300"."""
    letter = row.get("correct", row.get("answer"))
    options: Any = row.get("options")
    reason = base.missing_text(row, ("question", "rationale"))
    reason = reason or base.missing_text({"correct": letter}, ["correct"])
    if not reason and not _are_texts(options):
        reason = f"expected texts under 'options', found {options!r:.40}"
    if reason:
        return reason
    options = [option[2:].strip() or option for option in options]
    return {
        **multiple_choice(row["question"], options, str(letter)),
        "rationale": row["rationale"].strip(),
    }


def _commonsenseqa(row: dict[str, Any]) -> base.Found:
    """Returns the fields of a row with a stem and labelled choices."""
    asked: Any = row.get("question")
    reason = base.missing_text(row, ["answerKey"])
    if reason and not row.get("answerKey"):
        reason = (
            "no answer under 'answerKey', as in the published test file, which "
            "can't be scored; ask dev_rand_split.jsonl"
        )
    if reason := reason or base.missing_text(asked, ["stem"]):
        return reason
    choices = asked.get("choices")
    options: Any = [
        choice.get("text") if isinstance(choice, dict) else None
        for choice in (choices if isinstance(choices, list) else [])
    ]
    if not _are_texts(options):
        return f"expected texts under 'choices', found {choices!r:.40}"
    return multiple_choice(asked["stem"], options, row["answerKey"])


def _are_texts(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(text, str) and text.strip() for text in value)
    )


def multiple_choice(
    question: str, options: list[str], answer: str
) -> dict[str, str]:
    """Returns the fields of a question with options, on single lines."""
    return {
        "question": question.strip(),
        "options": "\n".join(" ".join(o.split()) for o in options),
        "answer": answer.strip(),
    }


def _of_objects(
    format: str, fields_of: Callable[[dict[str, Any]], base.Found]
) -> base.Importer:
    """Returns the importer of JSON Lines."""

    def read(path: Path, options: base.Options) -> base.Source:
        rows = base.object_rows(path, fields_of, "id")
        name = base.task_name(path, format)
        return base.Source(rows, name, answer_kind="option")

    return base.Importer(format, "Questions with options, one per line.", read)


def _example(value: Any) -> base.Found:
    names = ("question", "answer")
    reason = base.missing_text(value, names)
    return reason or {name: value[name] for name in names}


def _read_examples(path: Path, options: base.Options) -> base.Source:
    examples = base.read_document(path, "examples")["examples"]
    rows = base.item_rows(path, "examples", examples, _example)
    return base.Source(rows, base.task_name(path, "examples"))


def _read_bbh_prompt(path: Path, options: base.Options) -> base.Source:
    # The file opens with a canary and a dashed line.
    _, dashes, text = read_text(path).partition("\n-----\n")
    if not dashes:
        raise InputError(
            f"{path}: expected a canary line and a line '-----' before "
            f"the prompt; {_RESTORE}"
        )
    description, exemplars = parse_exemplars(text, str(path))
    rows = [
        base.Row(path, number, {**exemplar, "description": description})
        for number, exemplar in enumerate(exemplars, 1)
    ]
    return base.Source(rows, options.name or base.task_name(path, "bbh"))


def _read_mmlu_cot(path: Path, options: base.Options) -> base.Source:
    prompts, name = base.read_exact_json(path), options.name
    prompts = prompts if isinstance(prompts, dict) else {}
    if name is None or not isinstance(prompts.get(name), str):
        raise InputError(
            f"{path}: no prompt for {name!r}."
            + did_you_mean(str(name), prompts)
        )
    _, exemplars = parse_exemplars(prompts[name], f"{path}: {name}")
    rows = [
        base.Row(path, number, exemplar, f"{name}:{number}")
        for number, exemplar in enumerate(exemplars, 1)
    ]
    return base.Source(rows, name)


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
        question, trigger, rationale = block.partition("\n" + _TRIGGER)
        _, phrase, answer = rationale.rpartition("answer is ")
        if not trigger or not phrase:
            missing = "answer is " if trigger else _TRIGGER
            raise InputError(
                f"{place}: exemplar {number}: expected {missing!r} in it, "
                f"found none in {block[:40]!r}...; {_RESTORE}"
            )
        answer = answer.removesuffix(".")
        exemplars.append(
            {"question": question, "rationale": rationale, "answer": answer}
        )
    return description, exemplars


IMPORTERS = {
    importer.format: importer
    for importer in (
        _of_objects("aqua", _aqua),
        _of_objects("commonsenseqa", _commonsenseqa),
        # Last letters and coin flips.
        base.Importer("examples", "JSON: question and answer", _read_examples),
        base.Importer("bbh-prompt", "A worked prompt of BBH", _read_bbh_prompt),
        # The option `name` says which subject.
        base.Importer("mmlu-cot", "Worked prompts of MMLU", _read_mmlu_cot),
    )
}
