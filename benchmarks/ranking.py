"""MMLU by ranking its answers: questions a second beside lm-eval.

    python benchmarks/ranking.py DATA [--subjects 4] [--questions 50]
        [--shots 5] [--sides keras_flan keras_flan_alone lm_eval]
        [--results FILE.json]

SmolLM2-135M in float32 ranks the four letters of each question behind the
exemplars of its subject:

- keras_flan: reads the exemplars of a subject once for many questions;
- keras_flan_alone: reads every prompt by itself, as it did before;
- lm_eval: `HFLM.loglikelihood` of lm-eval on transformers, which reads every
  prompt once for its four letters.

Every side is a process of its own, one after the other. Time counts without
loading the model; compiling is said apart, and counts. All sides are to find
the same log-probabilities, within 1e-3.

DATA names a folder with `mmlu/`. Needs the extras `[parity]` and `[smollm2]`.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIDES = ("keras_flan", "keras_flan_alone", "lm_eval")
SUBJECTS = ("anatomy", "astronomy", "marketing", "philosophy", "virology")
LETTERS = [" A", " B", " C", " D"]


def prompts(plan: dict) -> list[str]:
    """Returns the prompts, those of a subject in a row."""
    from keras_flan.evaluation.benchmarks.files import load_benchmark

    source = load_benchmark("mmlu", plan["data"])
    items = source.items(
        mode="rank",
        shots=plan["shots"],
        limit=plan["questions"],
        tasks=list(SUBJECTS[: plan["subjects"]]),
        seed=0,
    )
    assert all(list(item.continuations) == LETTERS for item in items)
    return [item.prompt for item in items]


def keras_flan_side(plan: dict) -> tuple[list[list[float]], dict]:
    """Ranks; returns log-probabilities and what to report."""
    from keras_flan.generation import likelihood
    from keras_flan.models import load
    from keras_flan.runtime.xla import compile_seconds

    if plan["side"] == "keras_flan_alone":
        likelihood._by_group = likelihood._by_row
    texts, model = prompts(plan), load("smollm2_135m")
    compiling, begin = compile_seconds(), time.perf_counter()
    before = compiling.total
    found = likelihood.log_likelihoods(model, texts, [LETTERS] * len(texts))
    seconds = time.perf_counter() - begin
    return [[one.log_probability for one in row] for row in found], {
        "seconds": seconds,
        "compiling": compiling.total - before,
    }


keras_flan_alone_side = keras_flan_side


def lm_eval_side(plan: dict) -> tuple[list[list[float]], dict]:
    """Ranks by lm-eval; as `keras_flan_side`."""
    import torch
    import transformers
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    from keras_flan.models.gguf.packaged import PACKAGED

    texts = prompts(plan)
    with PACKAGED["smollm2_135m"]() as path:
        read = {"gguf_file": path.name}
        model = transformers.AutoModelForCausalLM.from_pretrained(
            path.parent, dtype=torch.float32, **read
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            path.parent, **read
        )
    judge = HFLM(
        pretrained=model, tokenizer=tokenizer, batch_size=8, device="cpu"
    )
    asked = [
        Instance("loglikelihood", {}, (text, letter), i)
        for i, text in enumerate(texts)
        for letter in LETTERS
    ]
    begin = time.perf_counter()
    found = judge.loglikelihood(asked, disable_tqdm=True)
    seconds = time.perf_counter() - begin
    scores = [score for score, _ in found]
    rows = [scores[i : i + 4] for i in range(0, len(scores), 4)]
    return rows, {"seconds": seconds, "compiling": 0.0}


def work(plan: dict) -> None:
    """Runs a side; writes what it found."""
    rows, facts = globals()[plan["side"] + "_side"](plan)
    Path(plan["out"]).write_text(json.dumps({"rows": rows, **facts}))


def main() -> None:
    """Runs the sides in turns and compares them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--subjects", type=int, default=4)
    parser.add_argument("--questions", type=int, default=50)
    parser.add_argument("--shots", type=int, default=5)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    parser.add_argument("--results", type=Path, help="JSON to write")
    given = parser.parse_args()
    plan = {k: v for k, v in vars(given).items() if k != "results"}
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for side in plan["sides"]:
            if side == "lm_eval" and not importlib.util.find_spec(side):
                print("lm_eval: left out, it is not installed")
                continue
            out = Path(folder) / side
            own = {**plan, "side": side, "out": str(out)}
            command = [sys.executable, __file__, "--work", json.dumps(own)]
            subprocess.run(command, check=True)
            results[side] = json.loads(out.read_text())
            rows, seconds = results[side]["rows"], results[side]["seconds"]
            print(
                f"{side}: {len(rows)} questions in {seconds:.1f} s "
                f"({results[side]['compiling']:.1f} s of them compiling), "
                f"{len(rows) / seconds:.2f} per second",
                flush=True,
            )
    if given.results:
        sides = {
            side: {k: v for k, v in found.items() if k != "rows"}
            for side, found in results.items()
        }
        given.results.write_text(json.dumps({"plan": plan, "sides": sides}))
    first, *others = results
    for other in others:
        pairs = [
            abs(a - b)
            for one, two in zip(
                results[first]["rows"], results[other]["rows"], strict=True
            )
            for a, b in zip(one, two, strict=True)
        ]
        ratio = results[other]["seconds"] / results[first]["seconds"]
        print(
            f"{first} beside {other}: {ratio:.2f} times as fast; "
            f"log-probabilities differ by at most {max(pairs):.1e}"
        )
        same = sum(
            one.index(max(one)) == two.index(max(two))
            for one, two in zip(
                results[first]["rows"], results[other]["rows"], strict=True
            )
        )
        print(f"  the same answer to {same} of {len(results[first]['rows'])}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(json.loads(sys.argv[2]))
    else:
        main()
