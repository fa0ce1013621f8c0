"""The whole recipe in a few minutes: `keras-flan quickstart`.

Records, vocabulary, mixture, training, chain-of-thought generation, votes,
scores and a report, on tasks of the universe. Every stage is what the other
commands run, and leaves its files behind: `mixture.yaml` and `train.yaml`
can be edited and run again.
"""

import contextlib
import json
import os
import sys
import time
from pathlib import Path

import yaml

from keras_flan.files import atomic_write, write_json

# Long enough for every task to be learned past guessing, short enough for a
# coffee break on two cores.
STEPS = 2400
VOCABULARY_SIZE = 704
TRAIN_EXAMPLES = 2000
TEST_EXAMPLES = 50
SAMPLES = 8
BATCH_PATHS = 256
MODEL = {
    "num_layers": 2,
    "num_heads": 4,
    "hidden_dim": 128,
    "intermediate_dim": 256,
    "dropout": 0.0,
}
# Small batches: what counts from scratch is the number of steps.
DATA = {"input_length": 160, "target_length": 64, "batch_size": 4}
# Adafactor's rate is relative to the size of a weight; from scratch it is
# larger than the paper's rate for finetuning.
LEARNING_RATE = 0.01
FORMATS = {
    "zero_shot_direct": 9,
    "zero_shot_cot": 9,
    "few_shot_direct": 1,
    "few_shot_cot": 1,
}


def quickstart(
    output: str | os.PathLike = "runs/quickstart",
    *,
    steps: int = STEPS,
    train_examples: int = TRAIN_EXAMPLES,
    test_examples: int = TEST_EXAMPLES,
    quiet: bool = False,
) -> dict:
    """Trains a small T5 on synthetic tasks and measures what it learned.

    The model is asked before and after training, on unseen examples of the
    trained tasks and on tasks that it never saw (held out): for the answer
    at once (direct), with its reasoning (CoT), and with a vote over 8
    sampled reasonings (CoT + vote). Two runs give the same numbers.

    Args:
        output: The folder to write: `metrics.json`, `report.html`, `model/`
            and what led to them.
        steps: Optimizer steps.
        train_examples: Training examples a task, made on the fly.
        test_examples: Examples a task in each evaluation.
        quiet: Whether to print nothing.

    Returns:
        What `metrics.json` holds: exact match between 0 and 1 under
        `before` and `after`, then `trained` and `held_out`, then `direct`,
        `cot` and `cot_vote`; and `seconds` by stage.

    Example:
        >>> quickstart()["after"]["trained"]["cot_vote"] > 0.35
        True

    Source: the steps of arXiv:2210.11416, figure 1, in miniature.
    """
    from keras_flan.data.tokenizers import train_vocabulary_from
    from keras_flan.data.universe import ensure_records
    from keras_flan.evaluation.report import write_report
    from keras_flan.training.config import TrainConfig
    from keras_flan.training.runner import start_model, train

    output = Path(output)
    clock = _Clock(quiet)
    with clock.stage("records"):
        records = ensure_records(
            output / "records",
            sizes={"train": train_examples, "test": test_examples},
        )
    with clock.stage("vocabulary"):
        _write_yaml(output / "mixture.yaml", _mixture(records))
        _write_yaml(output / "train.yaml", _train(output, steps))
        train_vocabulary_from(
            [output / "mixture.yaml"],
            VOCABULARY_SIZE,
            output / "vocabulary.model",
        )
    config = TrainConfig.from_yaml(output / "train.yaml")
    with clock.stage("evaluation before"):
        model = start_model(config)
        before = _evaluate(
            model, records, output / "before", test_examples, quiet
        )
    with clock.stage("training"):
        trained = train(config, model=model, quiet=quiet)
    with clock.stage("evaluation after"):
        after = _evaluate(
            model, records, output / "after", test_examples, quiet
        )
    seconds = {**clock.seconds, "total": sum(clock.seconds.values())}
    metrics = {"before": before, "after": after, "seconds": seconds}
    write_json(output / "metrics.json", metrics)
    write_report(
        output / "report.html",
        title="keras_flan quickstart",
        loss=trained["loss"],
        loss_steps=trained["loss_steps"],
        table={"before": before, "after": after},
        predictions=_predictions(output / "after" / "cot_vote"),
        settings={
            "model": f"T5, {trained['parameters']:,} parameters",
            "tasks": ", ".join(_task_names()["trained"]),
            "held-out tasks": ", ".join(_task_names()["held_out"]),
            "steps": steps,
            "rows a step": DATA["batch_size"],
            "tokens a row": f"{DATA['input_length']} + {DATA['target_length']}",
            "learning rate": LEARNING_RATE,
            "paths in a vote": SAMPLES,
            "test examples a task": test_examples,
        },
        seconds=seconds,
    )
    if not quiet:
        _print(metrics, output)
    return metrics


def _task_names(reasoning: bool = False) -> dict[str, list[str]]:
    """Names of the trained and the held-out tasks of the universe."""
    from keras_flan.data.universe import CORE

    names: dict[str, list[str]] = {"trained": [], "held_out": []}
    for task in CORE.values():
        if task.reasoning or not reasoning:
            names["held_out" if task.held_out else "trained"].append(task.name)
    return names


def _mixture(records: Path) -> dict:
    return {
        "name": "quickstart",
        "records": str(records.absolute()),
        "split": "train",
        "shots": 2,
        "groups": {
            "universe": {"tasks": _task_names()["trained"], "formats": FORMATS}
        },
    }


def _train(output: Path, steps: int) -> dict:
    return {
        "output": str(output),
        "mixture": "mixture.yaml",
        "vocabulary": "vocabulary.model",
        "steps": steps,
        "model": MODEL,
        "data": DATA,
        "optimizer": {"learning_rate": LEARNING_RATE},
    }


def _evaluate(model, records, output, limit, quiet) -> dict:
    """Exact match by group of tasks and way of asking."""
    from keras_flan.evaluation.runner import evaluate

    scores: dict[str, dict[str, float]] = {"trained": {}, "held_out": {}}
    for way, mode, samples in (
        ("direct", "direct", 1),
        ("cot", "cot", 1),
        ("cot_vote", "cot", SAMPLES),
    ):
        names = _task_names(reasoning=mode == "cot")
        metrics = evaluate(
            model,
            "records",
            records,
            output=output / way,
            mode=mode,
            samples=samples,
            limit=limit,
            tasks=[*names["trained"], *names["held_out"]],
            max_new_tokens=24 if mode == "direct" else 64,
            batch_paths=BATCH_PATHS,
            progress=not quiet,
        )
        for group, tasks in names.items():
            total = sum(metrics["tasks"][task]["accuracy"] for task in tasks)
            scores[group][way] = total / len(tasks)
    return scores


def _predictions(folder: Path, number: int = 10) -> list[dict]:
    """The first prediction of ten tasks, held-out tasks last."""
    from keras_flan.evaluation.runner import PREDICTIONS_FILE
    from keras_flan.files import read_jsonl

    first: dict[str, dict] = {}
    for row in read_jsonl(folder / PREDICTIONS_FILE):
        first.setdefault(row["task"], row)
    names = _task_names(reasoning=True)
    held_out = names["held_out"][:3]
    chosen = names["trained"][: number - len(held_out)] + held_out
    return [first[name] for name in chosen]


def _print(metrics: dict, output: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("exact match", "direct", "CoT", "CoT + vote")
    for when in ("before", "after"):
        for group, label in (("trained", "trained"), ("held_out", "held-out")):
            scores = metrics[when][group].values()
            table.add_row(
                f"{when}, {label} tasks", *(f"{s:.1%}" for s in scores)
            )
    console = Console()
    console.print(table)
    minutes = metrics["seconds"]["total"] / 60
    console.print(f"{minutes:.1f} minutes; open {output / 'report.html'}")


def _write_yaml(path: Path, value: dict) -> None:
    # Through JSON: no YAML anchors for what occurs twice.
    with atomic_write(path) as f:
        yaml.safe_dump(json.loads(json.dumps(value)), f, sort_keys=False)


class _Clock:
    """Measures stages, and says which one has begun."""

    def __init__(self, quiet: bool):
        self.seconds: dict[str, float] = {}
        self._quiet = quiet

    @contextlib.contextmanager
    def stage(self, name: str):
        if not self._quiet:
            print(f"{name} ...", file=sys.stderr, flush=True)
        begin = time.monotonic()
        yield
        key = name.replace(" ", "_")
        self.seconds[key] = round(time.monotonic() - begin, 3)
