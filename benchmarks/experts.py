"""Experts beside the dense model that they were made of, at equal steps.

    python benchmarks/experts.py OUTPUT [--steps 400] [--seeds 0 1 2 3 4]

`flan_nano` is finetuned on the universe's trained tasks as it is, and upcycled
to 8 experts in every other feed-forward block, of which a token takes 2 (no
dropout, the same batches). The loss per target token of new examples of these
tasks, and of held-out tasks, per seed; the mean difference with its 95 % t
interval over the seeds. Some minutes per seed on two CPU cores; what is done is
kept.
"""

import argparse
import math
import os
import statistics
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import yaml

EXPERTS = {"experts": 8, "top_k": 2, "capacity": 1.25}
KINDS = {"dense": {}, "experts": {"experts": EXPERTS}}
FORMATS = {"zero_shot_direct": 1, "zero_shot_cot": 1}
# Two-sided, 95 %, by degrees of freedom.
STUDENT = {1: 12.71, 2: 4.303, 3: 3.182, 4: 2.776}


def prepare(output: Path) -> dict[str, Path]:
    """Writes records; returns mixtures to train on, and to measure on."""
    from keras_flan.miniature.universe import TASKS, ensure_records

    names = {
        "trained": [t.name for t in TASKS.values() if not t.held_out],
        "held out": [t.name for t in TASKS.values() if t.held_out],
    }
    records = output / "records"
    sizes = {"train": 400, "test": 10}
    ensure_records(
        records, tasks=names["trained"], sizes=sizes, splits=list(sizes)
    )
    ensure_records(
        records, tasks=names["held out"], sizes={"test": 10}, splits=["test"]
    )
    found = {}
    for name, tasks, split in (
        ("train", names["trained"], "train"),
        ("trained", names["trained"], "test"),
        ("held out", names["held out"], "test"),
    ):
        path = found[name] = output / f"{name.replace(' ', '_')}.yaml"
        groups = {"all": {"tasks": tasks, "formats": FORMATS}}
        mixture = {"name": name, "records": "records", "split": split}
        path.write_text(yaml.safe_dump({**mixture, "groups": groups}))
    return found


def losses(output: Path, kind: str, seed: int, steps: int) -> dict[str, float]:
    """Trains a model; returns its held-out losses."""
    from keras_flan.data import Mixture, build_dataset
    from keras_flan.training import TrainConfig, held_out_loss, train
    from keras_flan.training.start import start_model

    mixtures = prepare(output)
    lengths = {"input_length": 192, "target_length": 96, "batch_size": 8}
    config = TrainConfig.model_validate(
        {
            "output": output / f"{kind}-{seed}" / "run",
            "mixture": mixtures["train"],
            "steps": steps,
            "seed": seed,
            "checkpoint_every": 0,
            "model": {"init": "flan_nano", "dropout": 0.0, **KINDS[kind]},
            "data": lengths,
            "optimizer": {"name": "adafactor", "learning_rate": 0.003},
        }
    )
    model = start_model(config)
    train(config, model=model)
    return {
        name: held_out_loss(
            model,
            build_dataset(
                Mixture.from_yaml(mixtures[name]),
                model.vocabulary,
                **lengths,
                repeat=False,
            ),
        )
        for name in ("trained", "held out")
    }


def main() -> None:
    """Runs what is missing, and prints a line per seed and the differences."""
    from keras_flan.files import read_json, write_json

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[dict]] = {kind: [] for kind in KINDS}
    for seed in args.seeds:
        for kind, of in found.items():
            file = args.output / f"{kind}-{seed}" / "losses.json"
            if not file.is_file():
                write_json(file, losses(args.output, kind, seed, args.steps))
            of.append(read_json(file))
        print(seed, {kind: of[-1] for kind, of in found.items()}, flush=True)
    results = {"steps": args.steps, "seeds": args.seeds, "losses": found}
    write_json(args.output / "experts.json", results)
    print(table(results))


def table(results: dict) -> str:
    """Returns the table of a page."""
    from keras_flan.pages.tables import markdown

    rows = []
    for name in ("trained", "held out"):
        sides = {
            kind: [one[name] for one in of]
            for kind, of in results["losses"].items()
        }
        pairs = zip(sides["experts"], sides["dense"], strict=True)
        values = [experts - dense for experts, dense in pairs]
        told = f"{statistics.fmean(values):+.4f}"
        if len(values) > 1:
            spread = statistics.stdev(values) / math.sqrt(len(values))
            half = STUDENT[len(values) - 1] * spread
            mean = statistics.fmean(values)
            told += f" ({mean - half:+.4f} to {mean + half:+.4f})"
        means = [f"{statistics.fmean(side):.4f}" for side in sides.values()]
        rows.append([f"{name} tasks", *means, told])
    header = ["loss per token of", "dense", "8 experts", "difference, 95%"]
    return markdown(header, rows, "---:")


if __name__ == "__main__":
    main()
