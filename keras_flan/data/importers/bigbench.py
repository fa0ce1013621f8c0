"""BIG-bench task JSON (Srivastava et al., 2022).

The data are for evaluation only: the canary of the file is kept in
`dataset_info.json`, so that the records can be found and left out.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_flan.data.importers.base import (
    Importer,
    Options,
    Reject,
    Row,
    Source,
    as_json,
    clean_name,
    join_options,
    missing_text,
    one_line,
    read_document,
    task_name,
)


def _answers(example: Any) -> dict[str, str] | str:
    """Returns the fields besides the question, or why there are none."""
    target = example.get("target")
    target = target[0] if isinstance(target, list) and target else target
    scores = example.get("target_scores")
    if scores is None:
        if not isinstance(target, str) or not target.strip():
            return f"expected a text under 'target', found {target!r:.40}"
        return {"answer": target.strip()}
    if not isinstance(scores, dict) or not all(
        isinstance(score, int | float) and one_line(option)
        for option, score in scores.items()
    ):
        return "expected options and scores under 'target_scores'"
    highest = max(scores.values(), default=0)
    best = [option for option in scores if scores[option] == highest]
    if len(best) != 1 or len(scores) < 2:
        return "expected one option with the highest score"
    answer = one_line(best[0])
    fields = {"options": join_options(scores), "answer": answer}
    # StrategyQA has "Yes. Because ..." as the target.
    if isinstance(target, str) and target.startswith(f"{answer}. "):
        fields["rationale"] = target.removeprefix(f"{answer}. ").strip()
    return fields


def _rows(path: Path, examples: list) -> Iterator[Row | Reject]:
    for number, example in enumerate(examples, 1):
        found = missing_text(example, ["input"]) or _answers(example)
        if isinstance(found, str):
            reason = f"examples[{number - 1}]: {found}"
            yield Reject(path, number, reason, as_json(example))
        else:
            question = example["input"].strip()
            yield Row(path, number, {"question": question, **found})


def _read(path: Path, options: Options) -> Source:
    document = read_document(path, "examples")
    rows = list(_rows(path, document["examples"]))
    used = [row.fields for row in rows if isinstance(row, Row)]
    is_yes_no = all(
        fields["answer"].lower() in ("yes", "no") for fields in used
    )
    has_options = all("options" in fields for fields in used)
    name = document.get("name")
    name = clean_name(name) if isinstance(name, str) else ""
    extra = {k: document[k] for k in ("canary",) if document.get(k)}
    return Source(
        rows,
        name or task_name(path, "bigbench"),
        "multiple_choice" if has_options else "generic",
        "yes_no" if is_yes_no else "text",
        extra,
    )


IMPORTER = Importer(
    format="bigbench",
    summary="BIG-bench task JSON: examples with input, target(_scores)",
    read=_read,
    origin="https://github.com/google/BIG-bench",
    license="Apache-2.0",
)
