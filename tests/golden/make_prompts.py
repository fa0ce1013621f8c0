"""Remakes prompts.json: `python -m tests.golden.make_prompts DATA`.

Three prompts for each benchmark, mode and number of exemplars (none, and that
of the published protocol), as the public files under DATA give them. A prompt
that begins like the one before it is stored from where it differs.
"""

import itertools
import json
import sys
import tempfile
from pathlib import Path

from keras_flan.evaluation.benchmarks.files import BUILT_IN
from keras_flan.evaluation.benchmarks.protocols import (
    load_protocol,
    protocol_names,
)
from keras_flan.evaluation.benchmarks.showing import golden_prompts

GOLDEN = Path(__file__).with_name("prompts.json")
# Benchmarks whose questions are the user's own, or ours.
OTHERS = ("records",)


def cases():
    """Yields benchmark, mode and number of exemplars."""
    for name in protocol_names():
        protocol = load_protocol(name)
        if name in OTHERS or not (protocol.files or name in BUILT_IN):
            continue
        for mode in ("direct", "cot"):
            if mode == "cot" and protocol.extractor == "span":
                continue  # there is no such form
            for shots in sorted({0, protocol.shots}):
                yield name, mode, shots


def prompts(data: Path, name: str, mode: str, shots: int) -> list[list[str]]:
    """Returns task, id, prompt and target of three items."""
    # The public sample of TyDiQA has one question a language, and so no
    # exemplar: XQuAD's passages, under TyDiQA's names, stand in.
    if name == "tydiqa" and shots:
        with tempfile.TemporaryDirectory() as folder:
            for path in (data / "xquad").iterdir():
                _, task, suffix = path.name.split(".", 2)
                link = Path(folder, f"tydiqa.{task}.dev.{suffix}")
                link.symlink_to(path.resolve())
            return _three(Path(folder), name, mode, shots)
    return _three(data, name, mode, shots)


def _three(data: Path, name: str, mode: str, shots: int) -> list[list[str]]:
    shown = golden_prompts(name, data, mode=mode, shots=shots)
    return [[p["task"], p["id"], p["prompt"], p["target"]] for p in shown]


def load() -> dict[str, list[list[str]]]:
    """Returns the stored prompts, whole."""
    stored = json.loads(GOLDEN.read_text(encoding="utf-8"))
    whole = {}
    for case, rows in stored.items():
        before, whole[case] = "", []
        for task, id, same, rest, target in rows:
            before = before[:same] + rest
            whole[case].append([task, id, before, target])
    return whole


def main(data: str) -> None:
    """Writes the file."""
    stored = {}
    for name, mode, shots in cases():
        before, rows = "", []
        for task, id, prompt, target in prompts(Path(data), name, mode, shots):
            equal = (a == b for a, b in zip(before, prompt, strict=False))
            same = sum(itertools.takewhile(bool, equal))
            rows.append([task, id, same, prompt[same:], target])
            before = prompt
        stored[f"{name} {mode} {shots}"] = rows
    text = json.dumps(stored, ensure_ascii=False, indent=0)
    GOLDEN.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
