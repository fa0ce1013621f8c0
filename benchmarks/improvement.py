"""Learning from one's own answers against more supervised steps.

Each method starts from the same tuned model and gets some rounds; supervised
finetuning gets the same wall time on the same tasks. Both are asked unseen
examples of these tasks, and held-out tasks. A cell that is there is kept, so
the command goes on where it was stopped:

    keras-flan quickstart --output runs/quickstart
    python benchmarks/improvement.py runs/quickstart/model runs/improvement \
        --methods right advantage --seeds 0 1 2
"""

import argparse
import math
import statistics
import time
from pathlib import Path

import yaml

TASKS = 8
NEW_TOKENS = 64
SETTINGS = {
    "right": {
        "optimizer": {"name": "adafactor", "learning_rate": 0.001},
        "data": {"batch_size": 8},
    },
    "star": {
        "optimizer": {"name": "adafactor", "learning_rate": 0.001},
        "data": {"batch_size": 8},
    },
    "majority": {
        "optimizer": {"name": "adafactor", "learning_rate": 0.001},
        "data": {"batch_size": 8},
    },
    "advantage": {
        "optimizer": {"name": "adam", "learning_rate": 0.0001},
        "data": {"batch_size": 32},
    },
    "preference": {
        "optimizer": {"name": "adam", "learning_rate": 0.00002},
        "data": {"batch_size": 16},
        "sampling": {"temperature": 1.0},
    },
}


def tasks() -> dict[str, list[str]]:
    """Returns the tasks that are trained, and those that are held out."""
    from keras_flan.miniature.universe import CORE
    from keras_flan.miniature.universe import TASKS as ALL

    trained = [t.name for t in CORE.values() if t.reasoning and not t.held_out]
    held_out = [t.name for t in ALL.values() if t.reasoning and t.held_out]
    return {"trained": trained[:TASKS], "held_out": held_out[:TASKS]}


def prepare(output: Path) -> Path:
    """Writes records and the mixture; returns the mixture."""
    from keras_flan.miniature.universe import ensure_records

    chosen = tasks()
    records = output / "records"
    for names, splits in (
        (chosen["trained"], {"train": 2000, "test": 100}),
        (chosen["held_out"], {"test": 100}),
    ):
        ensure_records(records, tasks=names, sizes=splits, splits=splits)
    formats = {"zero_shot_cot": 1}
    group = {"tasks": chosen["trained"], "formats": formats}
    path = output / "mixture.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "name": "improvement",
                "records": "records",
                "split": "train",
                "groups": {"all": group},
            }
        )
    )
    return path


def improved(model: str, mixture: Path, output: Path, method: str, args):
    """Returns a model after rounds of a method, and the seconds they took."""
    from keras_flan.improvement import ImproveConfig, improve
    from keras_flan.training.start import start_model

    own = SETTINGS[method]
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


def supervised(model: str, mixture: Path, seconds: float, seed: int):
    """Returns a model after as many seconds of finetuning, and its steps."""
    import keras

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
    dataset = build_dataset(
        Mixture.from_yaml(mixture),
        trained.vocabulary,
        input_length=128,
        target_length=NEW_TOKENS,
        batch_size=8,
        seed=seed,
    )
    trained.compile(optimizer=Adafactor(1e-3), loss=TokenCrossentropy())
    clock = Clock()
    trained.fit(dataset, steps_per_epoch=10**6, callbacks=[clock], verbose=0)
    return trained, clock.steps


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
    mixture, row = prepare(args.output), {"name": name, "seed": seed}
    if name == "start":
        model = load(args.model)
    elif name.startswith("supervised"):
        seconds = cell(args, name.split()[1], seed)["seconds"]["total"]
        model, steps = supervised(args.model, mixture, seconds, seed)
        row |= {"steps": steps, "seconds": {"total": seconds}}
    else:
        model, seconds, rounds = improved(
            args.model, mixture, folder / "run", name, args
        )
        row |= {"seconds": seconds, "rounds": rounds}
    row["scores"] = asked(
        model, args.output / "records", folder / "asked", args.limit
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


def main() -> None:
    """Runs what is missing, and prints a line per method and view."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="The model to start from.")
    parser.add_argument("output", type=Path)
    parser.add_argument("--methods", nargs="+", default=list(SETTINGS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--paths", type=int, default=8)
    parser.add_argument("--limit", type=int, default=100, help="per task")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    start = cell(args, "start", 0)
    print("start", {k: round(v, 4) for k, v in start["scores"].items()})
    for method in args.methods:
        ours, others = [], []
        for seed in args.seeds:
            ours.append(cell(args, method, seed))
            others.append(cell(args, f"supervised {method}", seed))
        spent = [row["seconds"] for row in ours]
        share = statistics.fmean(
            one["sampling"] / one["total"] for one in spent
        )
        print(f"{method}: {share:.0%} of the time is sampling")
        for view in start["scores"]:
            means = [
                statistics.fmean(row["scores"][view] for row in rows)
                for rows in (ours, others)
            ]
            print(
                f"{method:10} {view:18} start {start['scores'][view]:.1%} "
                f"{method} {means[0]:.1%} supervised {means[1]:.1%} "
                f"difference {difference(ours, others, view)}, to the start "
                f"{difference(ours, [start] * len(ours), view)}"
            )


if __name__ == "__main__":
    main()
