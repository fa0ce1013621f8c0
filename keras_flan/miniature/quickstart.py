"""The whole recipe in a few minutes: `keras-flan quickstart`.

Records, vocabulary, mixture, training, chain-of-thought generation, votes,
scores and a report, on tasks of the universe. Every stage is what the other
commands run, and leaves its files behind: `mixture.yaml` and `train.yaml`
can be edited and run again.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from keras_flan.errors import InputError
from keras_flan.evaluation.benchmarks.ways import WRITTEN, Way
from keras_flan.evaluation.scores.predictions import (
    Prediction,
    read_predictions,
)
from keras_flan.files import atomic_write, read_text, write_json
from keras_flan.outputs import Kind, output_folder, replace_files
from keras_flan.progress import Stages
from keras_flan.storage import local_path

if TYPE_CHECKING:
    from keras_flan.generation.prompting import Answered
    from keras_flan.models.language_model import LanguageModel

# Examples per task, by group of tasks.
_Sizes = Mapping[str, int]
# The model to start from; it was pretrained on generated text.
MODEL = "flan_nano"
STEPS = 1600
# Examples of each task, and the parts of the mixture: tasks that are asked too,
# few and broad ones; sums, for what stories are made of; and many others.
TRAIN_EXAMPLES = {"asked": 800, "sums": 3000, "more": 150}
PROPORTIONS = {"asked": 1.0, "sums": 0.25, "more": 1.3}
SUMS = (
    "calculation_difference",
    "calculation_take_away_two",
    "calculation_plus_minus",
)
TEST_EXAMPLES = {"trained": 12, "held_out": 8}
# The most of them that the untuned model is asked: most of its outputs do not
# end, and it is far behind.
UNTUNED_EXAMPLES = {"trained": 4, "held_out": 8}
# Tasks of which the report shows the first example.
SHOWN = {"trained": 7, "held_out": 3}
SAMPLES = 8
# That of the smaller models of the paper on votes (arXiv:2203.11171, 3.1).
TEMPERATURE = 0.5
# Room for the reasons of all tasks but the longest sums.
NEW_TOKENS = 48
BATCH_PATHS = 512
# Small batches: with few steps, their number counts most.
DATA = {"input_length": 128, "target_length": 64, "batch_size": 4}
# Adafactor's rate is relative to the size of a weight; a model as small as
# this one takes a larger rate than the paper's, and gains from its fall in
# the last steps.
OPTIMIZER = {"learning_rate": 0.005, "warmdown": 0.3}
# Of four that were tried, the one that answers the question below; the tables
# of the others are within a few points.
SEED = 3
# The example of the papers (arXiv:2201.11903, figure 1); no story that the
# model is trained on has these numbers.
QUESTION = (
    "The cafeteria had 23 apples. If they used 20 for lunch and bought 6 "
    "more, how many apples do they have?"
)
FORMATS = {
    "zero_shot_direct": 11,
    "zero_shot_cot": 9,
    "few_shot_direct": 1,
    "few_shot_cot": 1,
}


def quickstart(
    output: str | os.PathLike = "runs/quickstart",
    *,
    steps: int = STEPS,
    train_examples: _Sizes = TRAIN_EXAMPLES,
    test_examples: _Sizes = TEST_EXAMPLES,
    quiet: bool = False,
    overwrite: bool = False,
) -> dict:
    """Finetunes the shipped nano model on synthetic tasks and measures it.

    The model is asked before and after training, on unseen examples of
    trained tasks and on tasks that it never saw (held out): for the answer
    at once (direct), with its reasoning (CoT), and with a vote over 8
    sampled reasonings (CoT + vote). Before training it is asked the first
    few of each task only (`UNTUNED_EXAMPLES`). In the end it is asked
    `QUESTION`. Two runs give the same numbers.

    Args:
        output: The folder to write: `metrics.json`, `report.html`, `model/`,
            the question's `question/trace.html` and `question/votes.png`,
            and what led to them.
        steps: Optimizer steps.
        train_examples: Training examples per task, made on the fly, for the
            tasks that are `"asked"` too, for `"sums"` and for `"more"`.
        test_examples: Examples per task in each evaluation, by group:
            `"trained"` and `"held_out"`.
        quiet: Whether to print nothing.
        overwrite: Whether to write over an output that is neither empty nor
            a quickstart: what has the names of its files is replaced.

    Returns:
        What `metrics.json` holds: exact match between 0 and 1 under
        `before` and `after`, then `trained` and `held_out`, then `direct`,
        `cot` and `cot_vote`; their 95% `intervals`, likewise; the `question`
        with its paths and votes; and `seconds` by stage.

    Example:
        >>> quickstart()["after"]["trained"]["cot_vote"] > 0.5
        True

    Raises:
        InputError: If a number of examples is missing or not one, the output
            holds something else, or another process writes there.
        OSError: If the disk is full; says how much is missing.

    Source: the steps of arXiv:2210.11416, figure 1, in miniature.
    """
    from keras_flan.generation.printing import Printer

    output = local_path(output)
    clock = Stages(quiet)
    sizes = {"train": train_examples, "test": test_examples}
    _check(sizes)
    with output_folder(output, QUICKSTART, overwrite):
        found, trained, question = _run(output, steps, sizes, clock, overwrite)
        metrics: dict[str, Any] = {
            **_pick(found, "accuracy"),
            "intervals": _pick(found, "interval"),
            "question": question.to_dict(),
            "seconds": {**clock.seconds, "total": sum(clock.seconds.values())},
        }
        shown = _predictions(output / "after")
        with replace_files(output, "metrics.json") as made:
            _write_report(made, steps, sizes["test"], trained, metrics, shown)
            write_json(made / "metrics.json", metrics)
    if not quiet:
        Printer()(question)
        _print(metrics, output)
    return metrics


def _check(sizes: Mapping[str, _Sizes]) -> None:
    for split, known in (("train", TRAIN_EXAMPLES), ("test", TEST_EXAMPLES)):
        found = sizes[split]
        right = isinstance(found, Mapping) and found.keys() == known.keys()
        if not right or not all(
            isinstance(number, int) and number > 0 for number in found.values()
        ):
            raise InputError(
                f"{split}_examples: found {found!r}, expected a number above 0 "
                f"for each of {', '.join(known)}, such as {known}"
            )


def _is_quickstart(folder: Path) -> bool:
    file = folder / "mixture.yaml"
    return file.is_file() and read_text(file).startswith("name: quickstart\n")


# What takes up the folder of a quickstart.
QUICKSTART = Kind("quickstart", _is_quickstart)


def _run(
    output: Path,
    steps: int,
    sizes: Mapping[str, _Sizes],
    clock: Stages,
    overwrite: bool,
) -> "tuple[dict[str, dict], dict, Answered]":
    """Returns the evaluations, what `train` returns, and the question's."""
    from keras_flan.training.config import TrainConfig
    from keras_flan.training.run import train
    from keras_flan.training.start import start_model

    with clock.stage("records"):
        _records(output / "records", sizes)
        _write_yaml(output / "mixture.yaml", _mixture())
        _write_yaml(output / "train.yaml", _train(output, steps))
    config = TrainConfig.from_yaml(output / "train.yaml")
    found, quiet = {}, clock.quiet
    with clock.stage("evaluation before"):
        model = start_model(config)
        found["before"] = _evaluate(
            model, output, "before", _few(sizes["test"]), quiet
        )
    with clock.stage("training"):
        trained = train(config, model=model, quiet=quiet, overwrite=overwrite)
    with clock.stage("evaluation after"):
        found["after"] = _evaluate(model, output, "after", sizes["test"], quiet)
    with clock.stage("question"):
        question = _ask(model, output / "question")
    return found, trained, question


def _few(test_examples: _Sizes) -> _Sizes:
    """Returns of how many examples of each task the untuned model is asked."""
    return {
        group: min(number, UNTUNED_EXAMPLES[group])
        for group, number in test_examples.items()
    }


def _mixed() -> dict[str, list[str]]:
    """Names of the tasks in the mixture, by its parts; see `PROPORTIONS`."""
    from keras_flan.miniature.universe import TASKS

    chosen = {"asked": _asked()["trained"], "sums": list(SUMS)}
    named = {name for names in chosen.values() for name in names}
    more = [
        task.name
        for task in TASKS.values()
        if not task.held_out and task.name not in named
    ]
    return {**chosen, "more": more}


def _asked(reasoning: bool = False) -> dict[str, list[str]]:
    """Names of the tasks that the model is asked, by group.

    Few and broad ones of those that are trained; all that are held out.
    """
    from keras_flan.miniature.universe import CORE, TASKS

    tasks = {
        "trained": [t for t in CORE.values() if not t.held_out],
        "held_out": [t for t in TASKS.values() if t.held_out],
    }
    return {
        group: [t.name for t in some if t.reasoning or not reasoning]
        for group, some in tasks.items()
    }


def _records(folder: Path, sizes: Mapping[str, _Sizes]) -> None:
    from keras_flan.miniature.universe import ensure_records

    for split, groups in (("train", _mixed()), ("test", _asked())):
        for group, tasks in groups.items():
            ensure_records(
                folder,
                tasks=tasks,
                sizes={split: sizes[split][group]},
                # Paths that go different ways are what a vote gains from.
                other_ways=split == "train",
                splits=[split],
            )


def _mixture() -> dict:
    return {
        "name": "quickstart",
        "records": "records",
        "split": "train",
        "shots": 2,
        "flan_rounds": True,
        "groups": {
            group: {
                "tasks": tasks,
                "formats": FORMATS,
                "proportion": PROPORTIONS[group],
            }
            for group, tasks in _mixed().items()
        },
    }


def _train(output: Path, steps: int) -> dict:
    return {
        "output": str(output),
        "mixture": "mixture.yaml",
        "steps": steps,
        "checkpoint_every": 0,
        "seed": SEED,
        "model": {"init": MODEL, "dropout": 0.0},
        "data": DATA,
        "optimizer": OPTIMIZER,
    }


def _evaluate(
    model: "LanguageModel",
    output: Path,
    when: str,
    test_examples: _Sizes,
    quiet: bool,
) -> dict[str, dict[str, dict]]:
    """What `evaluate` returns, by group of tasks and way of asking."""
    from keras_flan.evaluation.runs.evaluate import evaluate

    found: dict[str, dict[str, dict]] = {"trained": {}, "held_out": {}}
    for way in WRITTEN:
        asked = _asked(reasoning=way.mode == "cot")
        # The most tasks first: the other prompts fit the programs it leaves.
        for group, tasks in sorted(asked.items(), key=lambda x: -len(x[1])):
            found[group][way.name] = evaluate(
                model,
                "records",
                output / "records",
                output=output / when / group / way.name,
                mode=way.mode,
                samples=SAMPLES if way.votes else 1,
                temperature=TEMPERATURE if way.votes else 0.0,
                limit=test_examples[group],
                tasks=tasks,
                max_new_tokens=NEW_TOKENS,
                batch_paths=BATCH_PATHS,
                progress=not quiet,
            )
    return found


def _ask(model: "LanguageModel", folder: Path) -> "Answered":
    """Asks `QUESTION`; writes paths and votes as a page and a picture."""
    from keras_flan.generation.prompting import ask
    from keras_flan.generation.trace import draw_votes, write_trace

    settings: dict[str, Any] = {
        "cot": True,
        "samples": SAMPLES,
        "temperature": TEMPERATURE,
        "max_new_tokens": NEW_TOKENS,
    }
    results = ask(model, [QUESTION], kind="number", **settings)
    write_trace(folder, results, {"model": str(folder.parent), **settings})
    draw_votes(folder / "votes.png", results)
    return results[0]


def _pick(found: Mapping[str, dict], key: str) -> dict[str, dict]:
    """One of the numbers of each evaluation."""
    return {
        when: {
            group: {way: metrics[key] for way, metrics in ways.items()}
            for group, ways in groups.items()
        }
        for when, groups in found.items()
    }


def _write_report(
    output: Path,
    steps: int,
    test_examples: _Sizes,
    trained: dict,
    metrics: Mapping[str, Any],
    predictions: list[Prediction],
) -> None:
    from keras_flan.miniature.quickstart_report import write_report

    few = _few(test_examples)
    write_report(
        output / "report.html",
        title="keras_flan quickstart",
        loss=trained["loss"],
        loss_steps=trained["loss_steps"],
        table=metrics,
        predictions=predictions,
        settings={
            "model": f"{MODEL}, {trained['parameters']:,} parameters",
            "trained tasks": sum(map(len, _mixed().values())),
            "trained tasks that are asked": ", ".join(_asked()["trained"]),
            "held-out tasks": len(_asked()["held_out"]),
            "steps": steps,
            "rows per step": DATA["batch_size"],
            "tokens per row": "{input_length} + {target_length}".format(**DATA),
            "learning rate": OPTIMIZER["learning_rate"],
            "paths in a vote": SAMPLES,
            "test examples per task": ", ".join(
                f"{number} ({group.replace('_', '-')}; before training "
                f"{few[group]})"
                for group, number in test_examples.items()
            ),
        },
        seconds=metrics["seconds"],
    )


def _predictions(folder: Path) -> list[Prediction]:
    """The first voted prediction of some tasks, held-out ones last."""
    chosen = []
    for group, number in SHOWN.items():
        first: dict[str | None, Prediction] = {}
        for row in read_predictions(folder / group / Way.cot_vote.name):
            first.setdefault(row.task, row)
        chosen += list(first.values())[:number]
    return chosen


def _print(metrics: dict, output: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    ways = [way.label for way in WRITTEN]
    table = Table("exact match (95% interval)", *ways)
    for when in ("before", "after"):
        for group, label in (("trained", "trained"), ("held_out", "held-out")):
            edges = metrics["intervals"][when][group]
            table.add_row(
                f"{when}, {label} tasks",
                *(
                    f"{score:.1%} ({edges[way][0]:.0%} to {edges[way][1]:.0%})"
                    for way, score in metrics[when][group].items()
                ),
            )
    console = Console()
    console.print(table)
    minutes = metrics["seconds"]["total"] / 60
    console.print(f"{minutes:.1f} minutes; open {output / 'report.html'}")


def _write_yaml(path: Path, value: dict) -> None:
    # Through JSON: no YAML anchors for what occurs twice.
    with atomic_write(path) as f:
        yaml.safe_dump(json.loads(json.dumps(value)), f, sort_keys=False)
