"""Bytes and answers of a tuned model in few bits.

    keras-flan quickstart
    python benchmarks/compression.py runs/quickstart [--each 40] [--group 32]

The quickstart's model answers new examples of the tasks that it was trained on
(direct, greedy), as it is and with its weights in few bits. The calibration of
`gptq` are eight packed batches of the run's mixture. Printed is a table of the
share of right answers, of the bytes of all weights, and of the questions that
are answered as by the whole model.
"""

import argparse
import json
import tempfile
from pathlib import Path

WAYS = ("float32", "int8", "int4", "gptq")
BATCHES = 8


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path, help="what `quickstart` wrote")
    parser.add_argument("--each", type=int, default=40, help="per task")
    parser.add_argument("--group", type=int, default=32)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    args = parser.parse_args()

    from keras_flan.miniature.universe import CORE, ensure_records
    from keras_flan.runtime import prepare_process

    prepare_process()
    tasks = [task.name for task in CORE.values() if not task.held_out]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        ensure_records(
            folder / "records",
            tasks=tasks,
            sizes={"test": args.each},
            splits=["test"],
        )
        rows = {way: measure(args, way, folder, tasks) for way in args.ways}
    first = next(iter(rows.values()))
    print("| weights | right | bytes | of float32 | same answers |")
    print("|---|---|---|---|---|")
    for way, row in rows.items():
        pairs = list(zip(row["answers"], first["answers"], strict=True))
        same = sum(one == other for one, other in pairs) / len(pairs)
        share = row["bytes"] / first["bytes"]
        print(
            f"| {way} | {100 * row['accuracy']:.1f} % of {len(pairs)} | "
            f"{row['bytes']:,} | {share:.3f} | {100 * same:.1f} % |"
        )


def measure(args, way: str, folder: Path, tasks: list[str]) -> dict:
    """Returns accuracy, answers and bytes of one way."""
    import keras_flan
    from keras_flan.data import Mixture, Pipeline
    from keras_flan.evaluation import evaluate

    model = keras_flan.models.load(args.run / "model")
    if way == "gptq":
        pipeline = Pipeline(
            Mixture.from_yaml(args.run / "mixture.yaml"),
            model.vocabulary,
            input_length=128,
            target_length=64,
            batch_size=4,
        )
        batches = pipeline.dataset().take(BATCHES).as_numpy_iterator()
        model.quantize(way, group=args.group, calibration=batches)
    elif way != "float32":
        model.quantize(way, group=args.group)
    metrics = evaluate(
        model,
        "records",
        folder / "records",
        output=folder / way,
        mode="direct",
        limit=args.each,
        tasks=tasks,
        max_new_tokens=16,
    )
    lines = (folder / way / "predictions.jsonl").read_text().splitlines()
    found = {
        "accuracy": metrics["accuracy"],
        "answers": [json.loads(line)["outputs"] for line in lines],
        "bytes": sum(
            weight.value.dtype.itemsize * weight.value.size
            for weight in model.backbone.weights
        ),
    }
    print(way, found["accuracy"], found["bytes"], flush=True)
    return found


if __name__ == "__main__":
    main()
