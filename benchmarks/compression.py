"""What few bits and zeros cost, and what QLoRA saves of memory.

    python benchmarks/compression.py runs/quickstart [--each 53] [--group 64]
    python benchmarks/compression.py smollm2_135m --data DATA [--each 18]
    python benchmarks/compression.py smollm2_135m --data DATA --qlora
    python benchmarks/compression.py smollm2_135m --data DATA --prune

The first asks a quickstart's model (`keras-flan quickstart`) new examples of
the tasks that it was trained on, direct and greedy. The second asks any model
that `load` takes the multiple-choice questions of MMLU by likelihood, without
exemplars: 18 of each of 57 subjects are 1,026. Both ask it as it is and with
its weights in few bits, and print the share of right answers, the bytes of all
weights, and the questions that are answered as by the whole model. The
differences have 95 % intervals over the questions, paired. The
calibration of `gptq` are eight packed batches: of the run's mixture, or of
GSM8K's training questions, which are not asked.

The third trains LoRA, and LoRA on weights in 4 bits (QLoRA), on GSM8K with
several seeds, each in a process of its own, and prints the loss of held-out
questions and the largest memory of the process.

The fourth sets half of the weights to 0, by magnitude, Wanda and SparseGPT, and
prints the loss of GSM8K's test questions; the calibration are packed batches of
its training questions.

DATA has the folders `mmlu` and `gsm8k` as they were published.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

WAYS = ("float32", "int8", "int4", "gptq")
BATCHES = 8
# Batches of which the loss is measured, where weights are pruned.
HELD_OUT = 60


def main() -> None:
    """Prints a table, and writes what is in it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", help="what `quickstart` wrote, or a model")
    parser.add_argument("--data", type=Path, help="for a model")
    parser.add_argument("--each", type=int, help="per task; 53, or 18 of MMLU")
    parser.add_argument("--group", type=int, default=64)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--qlora", action="store_true", help="train instead")
    parser.add_argument("--prune", action="store_true", help="prune instead")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="a JSON file")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    is_run = (Path(args.model) / "mixture.yaml").is_file()
    if args.data is None and not is_run:
        parser.error(f"{args.model}: no quickstart's run, so give --data")

    from keras_flan.runtime import prepare_process

    prepare_process()
    if args.one:
        train_one(args, *args.one)
        return
    if args.qlora:
        results = {"steps": args.steps, "adapters": compare_training(args)}
    elif args.prune:
        results = {"losses": compare_pruned(args)}
    else:
        results = {"group": args.group, "ways": compare_answers(args, is_run)}
    if args.output is not None:
        from keras_flan.files import write_json

        write_json(args.output, results)
    print(table(results))


def table(results: dict) -> str:
    """Returns the table of a page."""
    from keras_flan.pages.tables import markdown

    if "losses" in results:
        header = ["half of the weights are 0 by", "loss per target token"]
        rows = [[k, f"{v:.4f}"] for k, v in results["losses"].items()]
    elif "adapters" in results:
        header = ["adapter", "held-out loss, per seed", "mean", "memory"]
        rows = [
            [
                kind,
                ", ".join(f"{row['loss']:.4f}" for row in found),
                f"{statistics.mean(row['loss'] for row in found):.4f}",
                f"{max(row['memory'] for row in found) / 2**20:,.0f} MiB",
            ]
            for kind, found in results["adapters"].items()
        ]
    else:
        header = ["weights", "right", "to float32", "bytes", "of float32"]
        header.append("same answers")
        rows = []
        for way, row in results["ways"].items():
            low, high = (100 * x for x in row["interval"])
            rows.append(
                [
                    way,
                    f"{100 * row['right']:.1f} % of {row['questions']:,}",
                    f"{100 * row['difference']:+.1f} "
                    f"({low:+.1f} to {high:+.1f})",
                    f"{row['bytes']:,}",
                    f"{row['share']:.3f}",
                    f"{100 * row['same']:.1f} %",
                ]
            )
    return markdown(header, rows, "---:")


def compare_answers(args: argparse.Namespace, is_run: bool) -> dict:
    """Returns of each way answers and bytes."""
    from keras_flan.evaluation.scores.statistics import paired_difference

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make = quickstart_questions if is_run else mmlu_questions
        source, mixture, questions = make(args, folder)
        rows = {
            way: measure(args, way, source, mixture, folder / way, questions)
            for way in args.ways
        }
    first, found = next(iter(rows.values())), {}
    for way, row in rows.items():
        pairs = list(zip(row["answers"], first["answers"], strict=True))
        told = paired_difference(first["right"], row["right"])
        found[way] = {
            "questions": len(pairs),
            "right": row["accuracy"],
            "difference": told["difference"],
            "interval": told["interval"],
            "bytes": row["bytes"],
            "share": row["bytes"] / first["bytes"],
            "same": sum(one == other for one, other in pairs) / len(pairs),
        }
    return found


def quickstart_questions(args: argparse.Namespace, folder: Path) -> tuple:
    """Returns model, mixture and settings of `evaluate` for a run."""
    from keras_flan.miniature.universe import CORE, ensure_records

    each = args.each or 53
    tasks = [task.name for task in CORE.values() if not task.held_out]
    ensure_records(
        folder / "records", tasks=tasks, sizes={"test": each}, splits=["test"]
    )
    questions = {
        "benchmark": "records",
        "data": folder / "records",
        "mode": "direct",
        "limit": each,
        "tasks": tasks,
        "max_new_tokens": 16,
    }
    run = Path(args.model)
    return run / "model", run / "mixture.yaml", questions


def mmlu_questions(args: argparse.Namespace, folder: Path) -> tuple:
    """The same for a model that reads real questions."""
    questions = {
        "benchmark": "mmlu",
        "data": args.data / "mmlu",
        "mode": "rank",
        "shots": 0,
        "limit": args.each or 18,
    }
    return args.model, gsm8k_mixture(args.data, folder), questions


def gsm8k_mixture(data: Path, folder: Path) -> Path:
    """Writes records and a mixture of GSM8K's training questions."""
    from keras_flan.data.importers.importing import import_file

    found = sorted((data / "gsm8k").glob("train.jsonl*"))
    import_file("gsm8k", found[0], folder / "records" / "gsm8k")
    path = folder / "mixture.yaml"
    path.write_text(
        "name: gsm8k\nrecords: records\ngroups:\n  cot:\n    proportion: 1.0\n"
        "    formats: {zero_shot_cot: 1}\n    tasks: [gsm8k]\n"
    )
    return path


def measure(
    args: argparse.Namespace,
    way: str,
    source: str | Path,
    mixture: Path,
    output: Path,
    questions: dict,
) -> dict:
    """Returns accuracy, answers and bytes of one way."""
    import keras_flan
    from keras_flan.evaluation import evaluate
    from keras_flan.evaluation.scores.comparing import example_scores

    model = keras_flan.models.load(source)
    if way == "gptq":
        batches = packed(model, mixture).take(BATCHES).as_numpy_iterator()
        model.quantize(way, group=args.group, calibration=batches)
    elif way != "float32":
        model.quantize(way, group=args.group)
    metrics = evaluate(model, output=output, progress=True, **questions)
    lines = (output / "predictions.jsonl").read_text().splitlines()
    right = {
        task: list(scores.values())
        for task, scores in example_scores(output).items()
    }
    found = {
        "accuracy": metrics["accuracy"],
        "right": right,
        "answers": [json.loads(line)["answer"] for line in lines],
        "bytes": sum(
            weight.value.dtype.itemsize * weight.value.size
            for weight in model.backbone.weights
        ),
    }
    print(way, found["accuracy"], found["bytes"], flush=True)
    return found


def packed(model, mixture: Path, **settings):
    """Returns packed batches of a mixture."""
    from keras_flan.data import Mixture, build_dataset

    return build_dataset(
        Mixture.from_yaml(mixture),
        model.vocabulary,
        input_length=128,
        target_length=256 if model.decoder_only else 64,
        batch_size=4,
        decoder_only=model.decoder_only,
        **settings,
    )


def compare_pruned(args: argparse.Namespace) -> dict:
    """Returns the losses of a model whose weights are half zeros."""
    from keras_flan.data.importers.importing import import_file
    from keras_flan.models import load, prune
    from keras_flan.training import TokenCrossentropy, held_out_loss

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        mixture = gsm8k_mixture(args.data, folder)
        test = next(iter(sorted((args.data / "gsm8k").glob("test.jsonl*"))))
        import_file("gsm8k", test, folder / "records" / "test", name="test")
        unseen = folder / "test.yaml"
        unseen.write_text(mixture.read_text().replace("[gsm8k]", "[test]"))
        losses = {}
        for method in ("", "magnitude", "wanda", "sparsegpt"):
            model = load(args.model)
            batches = None
            if method in ("wanda", "sparsegpt"):
                batches = packed(model, mixture).take(BATCHES)
                batches = batches.as_numpy_iterator()
            if method:
                prune(model, method, 0.5, batches)
            model.compile(loss=TokenCrossentropy())
            held_out = packed(model, unseen, repeat=False).take(HELD_OUT)
            losses[method or "(none)"] = held_out_loss(model, held_out)
            print(method, losses[method or "(none)"], flush=True)
    return losses


def compare_training(args: argparse.Namespace) -> dict:
    """Returns held-out losses and memory of LoRA and QLoRA."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        gsm8k_mixture(args.data, folder)
        small = folder / "small"
        run(
            *("keras_flan.cli", "convert", args.model, small),
            *("--quantize", "int4", "--group", args.group),
        )
        rows: dict[str, list[dict]] = {"LoRA": [], "QLoRA": []}
        for seed in range(args.seeds):
            for kind, source in (("LoRA", args.model), ("QLoRA", small)):
                said = run(
                    __file__,
                    *(source, "--data", args.data, "--steps", args.steps),
                    *("--one", folder / "mixture.yaml", folder, seed),
                )
                rows[kind].append(json.loads(said.splitlines()[-1]))
                print(kind, seed, rows[kind][-1], flush=True)
    return rows


def run(*command: object) -> str:
    """Runs a Python program; returns what it printed."""
    first = [] if str(command[0]).endswith(".py") else ["-m"]
    done = subprocess.run(
        [sys.executable, *first, *map(str, command)],
        check=True,
        text=True,
        stdout=subprocess.PIPE,
    )
    return done.stdout


def train_one(
    args: argparse.Namespace, mixture: str, folder: str, seed: str
) -> None:
    """Trains an adapter; prints its held-out loss and the memory."""
    from keras_flan.training import TrainConfig, train

    result = train(
        TrainConfig.model_validate(
            {
                "output": Path(folder) / f"{Path(args.model).name}-{seed}",
                "mixture": mixture,
                "seed": int(seed),
                "steps": args.steps,
                "validation": 0.05,
                "held_out": {"every": args.steps, "batches": 20},
                "checkpoint_every": 0,
                "model": {"init": str(args.model), "dropout": 0.0},
                "data": {
                    "input_length": 128,
                    "target_length": 128,
                    "batch_size": 4,
                },
                "optimizer": {"name": "adam", "learning_rate": 5e-4},
                "adapter": {"kind": "lora", "rank": 8, "targets": "all"},
            }
        ),
        quiet=True,
    )
    # Kilobytes on Linux.
    memory = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loss = result["held_out"]["loss"][-1]
    print(json.dumps({"loss": loss, "memory": memory}))


if __name__ == "__main__":
    main()
