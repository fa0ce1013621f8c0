"""The paper's experiments on two CPU cores, with a report.

Every claim is an experiment in
`keras_flan/miniature/experiments/experiments.yaml`; the models, mixtures,
training and evaluation are those that train an 11B model.

    python examples/paper_in_miniature.py --quick

A killed run goes on where it stopped.
"""

import argparse
import os

os.environ.setdefault("KERAS_BACKEND", "jax")

from keras_flan.miniature import run_miniature

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--output", default="runs/miniature")
parser.add_argument("--plan", help="another YAML file of experiments")
parser.add_argument("--quick", action="store_true")
args = parser.parse_args()

more = {"plan": args.plan} if args.plan else {}
results = run_miniature(args.output, quick=args.quick, **more)

for name, experiment in results["experiments"].items():
    print(f"\n{name}: {experiment['title']}")
    for arm, found in experiment["arms"].items():
        for view, scores in found["views"].items():
            score = scores["groups"]["held_out"]["normalised"]
            print(f"  {arm}, {view}: {score['mean']:.1f}")
    for check in experiment["checks"]:
        print(f"  {check['claim']} {check['verdict']}")
