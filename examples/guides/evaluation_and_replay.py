"""Evaluation, and the same outputs scored again.

Purpose: Ask in two ways, compare them fairly, change the scoring, not the run.
Time: Two minutes on two CPU cores.
Accelerator: None.
"""

import json
import os
import random
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

from keras_flan.evaluation import compare_runs, evaluate, report_runs, score
from keras_flan.models import load

"""
## Questions

GSM8K's own form: a line of JSON each, the answer behind `####`. The protocol
`gsm8k` knows how it is asked. Its exemplars would come from the training file;
here none is shown (`shots=0`).
"""

folder = Path("runs/guide_evaluation/data")
folder.mkdir(parents=True, exist_ok=True)
rng = random.Random(0)
for name, count in (("train", 20), ("test", 40)):
    lines = []
    for _ in range(count):
        a, b = rng.randint(2, 20), rng.randint(2, 20)
        question = f"Ann has {a} pens and buys {b}. How many has she?"
        answer = f"{a} + {b} = {a + b}.\n#### {a + b}"
        lines.append(json.dumps({"question": question, "answer": answer}))
    (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")

"""
## Two ways of asking

Every example is logged: prompt, outputs, the answer that was found, and by
which rule. A run that was stopped goes on with `resume=True`.
"""

model = load("flan_nano")
ways = {"direct": {"mode": "direct"}, "cot_vote": {"mode": "cot", "samples": 4}}
for name, way in ways.items():
    metrics = evaluate(
        model,
        "gsm8k",
        folder,
        output=f"runs/guide_evaluation/{name}",
        resume=True,
        shots=0,
        max_new_tokens=32,
        **way,
    )
    low, high = metrics["interval"]
    print(f"{name}: {metrics['accuracy']:.1%} ({low:.1%} to {high:.1%})")
    print(f"{metrics['unparsed']} questions without any answer")

"""
## Is the difference more than chance?

The same questions were asked, so the comparison is paired.
"""

runs = [f"runs/guide_evaluation/{name}" for name in ways]
print(json.dumps(compare_runs(*runs), indent=1)[:400])

"""
## Scored again

The log has all that scoring needs, so other rules cost no model. With `rules`
answers are read and compared as a published pipeline did.
"""

log = Path(runs[1], "predictions.jsonl").read_text().splitlines()
again = score("gsm8k", map(json.loads, log))
assert again["accuracy"] == metrics["accuracy"]
print(f"again: {again['accuracy']:.1%}")

"""
## A page

Scores with intervals, votes against accuracy, reliability, the worst examples:
"""

print(report_runs(runs, "runs/guide_evaluation/report", overwrite=True))
