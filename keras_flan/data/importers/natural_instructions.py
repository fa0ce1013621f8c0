"""Super-NaturalInstructions v2 (Wang et al., 2022): one JSON file per task.

A record holds one instance: the task's definition, the input and the first
reference; `references` has all of them as a JSON list. One positive example
with its explanation goes along for the inline one-shot form (examples take
turns, and never have the instance's own input).
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_flan.data.importers import base
from keras_flan.errors import InputError

# The paper keeps these out of the training mixture (section 2.1 of
# arXiv:2210.11416); all of them, and no others, are named so.
_MMLU = "_mmmlu_"
_WHY_LEFT_OUT = "made of MMLU, a held-out benchmark"

_LISTS = {  # Key of the file to key of dataset_info.json.
    "Categories": "categories",
    "Domains": "domains",
    "Source": "sources",
    "Input_language": "input_languages",
    "Output_language": "output_languages",
}


def _open(path: Path, options: base.Options | None = None) -> base.Source:
    document = base.read_document(path, "Instances")
    definition = next(iter(_texts(path, document, "Definition")), "")
    if not definition:
        raise InputError(
            f"{path}: expected a text, or a list of them, under 'Definition', "
            f"found {document.get('Definition')!r:.40}"
        )
    extra = {name: _texts(path, document, key) for key, name in _LISTS.items()}
    name, split = _name(path)
    return base.Source(
        _rows(path, document["Instances"], definition, _examples(document)),
        name,
        "natural_instructions",
        "text",
        extra,
        "; ".join(_texts(path, document, "Instance License")),
        split,
    )


def _name(path: Path) -> tuple[str, str | None]:
    """Returns task and split: `task/train.json` gives both."""
    stem = base.file_stem(path)
    if stem in base.SPLITS and base.clean_name(path.resolve().parent.name):
        return base.clean_name(path.resolve().parent.name), stem
    return base.clean_name(stem), None


def _texts(path: Path, document: dict, key: str) -> list[str]:
    """Returns the texts under a key that may hold one, several or none."""
    value = document.get(key, [])
    value = [value] if isinstance(value, str) else value
    if isinstance(value, list) and all(isinstance(v, str) for v in value):
        return [text.strip() for text in value if text.strip()]
    raise InputError(
        f"{path}: expected a text, or a list of them, under {key!r}, found "
        f"{value!r:.40}"
    )


def _examples(document: dict) -> list[dict[str, str]]:
    """Returns the positive examples that come with an explanation."""
    found = document.get("Positive Examples")
    keys = ("input", "output", "explanation")
    return [
        {f"example_{key}": example[key].strip() for key in keys}
        for example in (found if isinstance(found, list) else [])
        if not base.missing_text(example, keys)
    ]


def _rows(
    path: Path, instances: list, definition: str, examples: list[dict[str, str]]
) -> Iterator[base.Row | base.Reject]:
    for number, instance in enumerate(instances, 1):
        reason = base.missing_text(instance, ["input"])
        references = [] if reason else _references(instance.get("output"))
        if not reason and not references:
            reason = (
                "expected a text, or a list with one, under 'output', found "
                f"{instance.get('output')!r:.40}"
            )
        if reason:
            reason = f"Instances[{number - 1}]: {reason}"
            yield base.Reject(path, number, reason, base.as_json(instance))
            continue
        inputs = instance["input"].strip()
        fields = {
            "definition": definition,
            "inputs": inputs,
            "targets": references[0],
            "references": base.as_json(references),
            **_shown(examples, number, inputs),
        }
        source_id = base.text_or_empty(instance.get("id"))
        yield base.Row(path, number, fields, source_id)


def _references(output: Any) -> list[str]:
    """Returns the distinct references; empty if `output` isn't as it ought."""
    outputs = output if isinstance(output, list) else [output]
    if not all(isinstance(text, str) for text in outputs):
        return []
    texts = dict.fromkeys(text.strip() for text in outputs)
    return [text for text in texts if text]


def _shown(
    examples: list[dict[str, str]], number: int, inputs: str
) -> dict[str, str]:
    """Returns the positive example that goes with an instance, or `{}`."""
    turn = number % len(examples) if examples else 0
    for example in examples[turn:] + examples[:turn]:
        if example["example_input"] != inputs:
            return example
    return {}


def _parts(path: Path, options: base.Options) -> list[base.Part] | None:
    if not path.is_dir():
        return None
    files = sorted([*path.rglob("*.json"), *path.rglob("*.json.gz")])
    return [part_of_file(file, options.keep_mmlu) for file in files]


def part_of_file(path: Path, keep_mmlu: bool) -> base.Part:
    """Returns the task that a file holds; it isn't opened yet."""
    name, split = _name(path)
    left_out = _WHY_LEFT_OUT if _MMLU in name and not keep_mmlu else ""
    return base.Part(
        path, name, functools.partial(_open, path), split, left_out
    )


IMPORTER = base.Importer(
    format="natural-instructions",
    summary="Natural Instructions JSON; a folder: one record set per task",
    read=_open,
    origin="https://github.com/allenai/natural-instructions",
    license="Apache-2.0",
    parts=_parts,
)
