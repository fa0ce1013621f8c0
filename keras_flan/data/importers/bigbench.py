"""BIG-bench task JSON (Srivastava et al., 2022).

The data are for evaluation only: the canary of the file is kept in
`dataset_info.json`, so that the records can be found and left out.
"""

from pathlib import Path
from typing import Any

from keras_flan.data.importers import base


def _answers(example: Any) -> base.Found:
    """Returns the fields besides the question, or why there are none."""
    target = example.get("target")
    target = target[0] if isinstance(target, list) and target else target
    scores = example.get("target_scores")
    if scores is None:
        if not isinstance(target, str) or not target.strip():
            return f"expected a text under 'target', found {target!r:.40}"
        return {"answer": target.strip()}
    if not isinstance(scores, dict) or not all(
        isinstance(score, int | float) and base.one_line(option)
        for option, score in scores.items()
    ):
        return "expected options and scores under 'target_scores'"
    highest = max(scores.values(), default=0)
    best = [option for option in scores if scores[option] == highest]
    if len(best) != 1 or len(scores) < 2:
        return "expected one option with the highest score"
    answer = base.one_line(best[0])
    fields = {"options": base.join_options(scores), "answer": answer}
    # StrategyQA has "Yes. Because ..." as the target.
    if isinstance(target, str) and target.startswith(f"{answer}. "):
        fields["rationale"] = target.removeprefix(f"{answer}. ").strip()
    return fields


def _fields(example: Any) -> base.Found:
    found = base.missing_text(example, ["input"]) or _answers(example)
    if isinstance(found, str):
        return found
    return {"question": example["input"].strip(), **found}


def _read(path: Path, options: base.Options) -> base.Source:
    document = base.read_document(path, "examples")
    rows = list(base.item_rows(path, "examples", document["examples"], _fields))
    used = [row.fields for row in rows if isinstance(row, base.Row)]
    is_yes_no = all(f["answer"].lower() in ("yes", "no") for f in used)
    has_options = all("options" in fields for fields in used)
    name = base.clean_name(base.text_or_empty(document.get("name")))
    extra = {k: document[k] for k in ("canary",) if document.get(k)}
    return base.Source(
        rows,
        name or base.task_name(path, "bigbench"),
        "multiple_choice" if has_options else "generic",
        "yes_no" if is_yes_no else "text",
        extra,
    )


IMPORTER = base.Importer(
    format="bigbench",
    summary="BIG-bench task JSON: examples with input, target(_scores)",
    read=_read,
    origin="https://github.com/google/BIG-bench",
    license="Apache-2.0",
)
