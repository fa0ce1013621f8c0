"""Learning from one's own answers against more supervised steps.

Tasks whose rationales are few and whose answers are many: the quickstart's
model, to which they are new, is finetuned on `--rationales` worked examples
of each for `--start-steps` steps. From there each method gets some rounds on
1,000 questions per task, the worked ones among them, of which it is told the
answers alone (`majority`: not even these). Supervised finetuning gets the same
wall time on the worked examples (`supervised`), and on these and the answers
of the 1,000 questions, without reasoning, in turns (`answers`). All are asked
unseen examples of these tasks, and tasks that none of them saw. A cell that is
there is kept, so the command goes on where it was stopped:

    keras-flan quickstart --output runs/quickstart
    python benchmarks/improvement.py runs/quickstart/model runs/improvement \
        --methods right preference --seeds 0 1 2 3 4

`results.json` in the output has what each method gave, by the number of
rationales. Two commands may run side by side, each on a core of its own
(`taskset -c 0`), if they do different methods.
"""

import argparse
import math
import statistics
import time
from pathlib import Path

import yaml

TASKS = 8
QUESTIONS = 1000
NEW_TOKENS = 64
COMPARED = ("supervised", "answers")
FINETUNED = {
    "optimizer": {"name": "adafactor", "learning_rate": 0.001},
    "data": {"batch_size": 8},
}
SETTINGS = {
    "right": FINETUNED,
    "star": FINETUNED,
    "majority": {
        **FINETUNED,
        "judges": [{"name": "majority", "confidence": 0.75}],
    },
    "advantage": {
        "optimizer": {"name": "adafactor", "learning_rate": 0.001},
        "data": {"batch_size": 64},
        "prompts": 48,
    },
    "preference": {
        "optimizer": {"name": "adafactor", "learning_rate": 0.001},
        "data": {"batch_size": 16, "target_length": 96},
        "sampling": {"temperature": 1.0, "max_new_tokens": NEW_TOKENS},
    },
    # Its teacher is given by `--teacher`.
    "distil": FINETUNED,
}


def tasks() -> dict[str, list[str]]:
    """Returns the tasks that are trained, and those that are held out.

    None of them is in the quickstart's mixture.
    """
    from keras_flan.miniature.universe import TASKS as ALL

    names = [t.name for t in ALL.values() if t.reasoning and t.held_out]
    return {"trained": names[:TASKS], "held_out": names[TASKS : 2 * TASKS]}


def prepare(output: Path, rationales: int) -> dict[str, Path]:
    """Writes records; returns mixtures of worked examples and of questions."""
    from keras_flan.miniature.universe import ensure_records

    chosen, mixtures = tasks(), {}
    for name, names, sizes in (
        ("worked", chosen["trained"], {"train": rationales}),
        ("questions", chosen["trained"], {"train": QUESTIONS, "test": 100}),
        ("questions", chosen["held_out"], {"test": 100}),
    ):
        ensure_records(output / name, tasks=names, sizes=sizes, splits=sizes)
    for name, records, form in (
        ("worked", "worked", "zero_shot_cot"),
        ("questions", "questions", "zero_shot_cot"),
        ("answers", "questions", "zero_shot_direct"),
    ):
        group = {"tasks": chosen["trained"], "formats": {form: 1}}
        mixtures[name] = output / f"{name}.yaml"
        mixtures[name].write_text(
            yaml.safe_dump(
                {
                    "name": name,
                    "records": records,
                    "split": "train",
                    "groups": {"all": group},
                }
            )
        )
    return mixtures


def improved(model: str, mixture: Path, output: Path, method: str, args):
    """Returns a model after rounds of a method, and the seconds they took."""
    from keras_flan.improvement import ImproveConfig, improve
    from keras_flan.training.start import start_model

    own = SETTINGS[method]
    if method == "distil":
        own = {**own, "distil": {"teacher": args.teacher}}
    lengths = {"input_length": 128, "target_length": NEW_TOKENS}
    config = ImproveConfig.model_validate(
        {
            "output": str(output),
            "mixture": str(mixture),
            "method": method,
            "rounds": args.rounds,
            "prompts": args.prompts,
            "seed": args.seed,
            "steps": 100_000,
            "checkpoint_every": 0,
            "model": {"init": model, "dropout": 0.0},
            **own,
            "data": {**lengths, **own["data"]},
            "sampling": {
                "paths": args.paths,
                "batch_paths": 128,
                **own.get("sampling", {}),
            },
        }
    )
    trained = start_model(config)
    found = improve(config, model=trained, quiet=False)
    return trained, found["seconds"], found["rounds"]


def supervised(
    model: str,
    mixtures: list[Path],
    seed: int,
    seconds: float = math.inf,
    steps: int | None = None,
):
    """Returns a model after seconds or steps of finetuning, and its steps."""
    import keras
    import tensorflow as tf

    from keras_flan.data import Mixture, build_dataset
    from keras_flan.models import load
    from keras_flan.training import Adafactor, TokenCrossentropy

    class Clock(keras.callbacks.Callback):
        steps = 0

        def on_train_begin(self, logs=None):
            # As for the method, whose model is loaded before its clock runs.
            self.begin = time.monotonic()

        def on_train_batch_end(self, batch, logs=None):
            self.steps += 1
            if time.monotonic() - self.begin > seconds:
                self.model.stop_training = True

    keras.utils.set_random_seed(seed)
    trained = load(model)
    datasets = [
        build_dataset(
            Mixture.from_yaml(mixture),
            trained.vocabulary,
            input_length=128,
            target_length=NEW_TOKENS,
            batch_size=8,
            seed=seed,
        )
        for mixture in mixtures
    ]
    dataset = tf.data.Dataset.choose_from_datasets(
        datasets, tf.data.Dataset.range(len(datasets)).repeat()
    )
    trained.compile(optimizer=Adafactor(1e-3), loss=TokenCrossentropy())
    clock = Clock()
    trained.fit(
        dataset, steps_per_epoch=steps or 10**6, callbacks=[clock], verbose=0
    )
    return trained, clock.steps


def started(args, worked: Path) -> str:
    """Returns the folder of the model from which all others start."""
    from keras_flan.models import save

    folder = args.output / "start"
    if not folder.is_dir():
        model, _ = supervised(args.model, [worked], 0, steps=args.start_steps)
        save(model, folder)
    return str(folder)


def asked(model, records: Path, output: Path, limit: int) -> dict[str, float]:
    """Returns shares of right answers: sampled paths, votes and greedy ones."""
    from keras_flan.evaluation.runs.evaluate import evaluate

    found = {}
    for group, names in tasks().items():
        for name, settings in (
            ("greedy", {"samples": 1}),
            ("sampled", {"samples": 8, "temperature": 0.7}),
        ):
            metrics = evaluate(
                model,
                "records",
                records,
                output=output / group / name,
                mode="cot",
                tasks=names,
                limit=limit,
                max_new_tokens=NEW_TOKENS,
                batch_paths=256,
                **settings,
            )
            found[f"{group} {name}"] = metrics[
                "single" if name == "sampled" else "accuracy"
            ]
            if name == "sampled":
                found[f"{group} vote"] = metrics["accuracy"]
    return found


def cell(args, name: str, seed: int) -> dict:
    """Trains and asks one model, unless that was done before."""
    from keras_flan.files import read_json, write_json
    from keras_flan.models import load

    folder = args.output / "cells" / f"{name}-{seed}"
    file = folder / "scores.json"
    if file.is_file():
        return read_json(file)
    args.seed = seed
    mixtures = prepare(args.output, args.rationales)
    row, start = {"name": name, "seed": seed}, started(args, mixtures["worked"])
    if name == "start":
        model = load(start)
    elif name.startswith(COMPARED):
        kind, method = name.split()
        seconds = cell(args, method, seed)["seconds"]["total"]
        used = ["worked", "answers"] if kind == "answers" else ["worked"]
        chosen = [mixtures[one] for one in used]
        model, steps = supervised(start, chosen, seed, seconds)
        row |= {"steps": steps, "seconds": {"total": seconds}}
    else:
        model, seconds, rounds = improved(
            start, mixtures["questions"], folder / "run", name, args
        )
        row |= {"seconds": seconds, "rounds": rounds}
    row["scores"] = asked(
        model, args.output / "questions", folder / "asked", args.limit
    )
    write_json(file, row)
    return row


# Two-sided, 95 %, by degrees of freedom.
STUDENT = {1: 12.71, 2: 4.303, 3: 3.182, 4: 2.776}


def difference(ours: list[dict], others: list[dict], view: str) -> str:
    """Returns the mean difference of pairs of seeds in points."""
    values = [
        100 * (a["scores"][view] - b["scores"][view])
        for a, b in zip(ours, others, strict=True)
    ]
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:+.1f}"
    spread = statistics.stdev(values) / math.sqrt(len(values))
    half = STUDENT[len(values) - 1] * spread
    return f"{mean:+.1f} ({mean - half:+.1f} to {mean + half:+.1f})"


def average(rows: list[dict], view: str) -> float:
    """Returns the mean of a score."""
    return statistics.fmean(row["scores"][view] for row in rows)


def main() -> None:
    """Runs what is missing, and prints a line per method and view."""
    from keras_flan.files import read_json, write_json

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="The model to start from.")
    parser.add_argument("output", type=Path)
    default = [name for name in SETTINGS if name != "distil"]
    parser.add_argument("--methods", nargs="+", default=default)
    parser.add_argument("--teacher", help="The model that `distil` asks.")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--paths", type=int, default=8)
    parser.add_argument("--compared", nargs="*", default=list(COMPARED))
    parser.add_argument("--rationales", type=int, default=16)
    parser.add_argument("--start-steps", type=int, default=250)
    parser.add_argument("--limit", type=int, default=100, help="per task")
    args = parser.parse_args()
    if "distil" in args.methods and args.teacher is None:
        parser.error("--methods distil: say with --teacher whom it asks")
    file, number = args.output / "results.json", str(args.rationales)
    args.output /= f"rationales_{number}"
    args.output.mkdir(parents=True, exist_ok=True)
    start = cell(args, "start", 0)
    methods = {}
    print("start", {k: round(v, 4) for k, v in start["scores"].items()})
    for method in args.methods:
        ours = [cell(args, method, seed) for seed in args.seeds]
        others = {
            kind: [cell(args, f"{kind} {method}", s) for s in args.seeds]
            for kind in args.compared
        }
        spent = [row["seconds"] for row in ours]
        share = statistics.fmean(
            one["sampling"] / one["total"] for one in spent
        )
        views = {}
        for view, first in start["scores"].items():
            sides = {method: ours, **others}
            views[view] = {
                "start": first,
                **{name: average(rows, view) for name, rows in sides.items()},
                "to start": difference(ours, [start] * len(ours), view),
                **{
                    f"to {kind}": difference(ours, rows, view)
                    for kind, rows in others.items()
                },
            }
            print(method, view, views[view])
        methods[method] = {
            "seeds": len(ours),
            "seconds": statistics.fmean(one["total"] for one in spent),
            "sampling": share,
            "views": views,
        }
        print(f"{method}: {share:.0%} of the time is sampling")
    # Only now: another command may have written it meanwhile.
    results = read_json(file) if file.is_file() else {}
    before = results.get(number, {}).get("methods", {})
    results[number] = {
        "start_steps": args.start_steps,
        "start": start["scores"],
        "methods": {**before, **methods},
    }
    write_json(file, results)


if __name__ == "__main__":
    main()
