"""How many programs a tuned nano repairs, of bugs that it never saw.

    python benchmarks/debugging.py runs/debugging [--steps 400] [--seeds 0 1 2]

The shipped model is asked to find the fault, explain it and repair the
program: as it is; after finetuning on the universe and five kinds of bugs,
mixed from the first step on (`joint`); and where those come in the second half
(`growing`). What it writes is run: a program is repaired if it does what the
right one does, from its own first number and from others. Asked are three
kinds of bugs that no training shows, and the five that it does; `universe` is
the share of right answers to held-out tasks of the other families, direct. A
cell that is there is kept. `debugging.json` is written.
"""

import argparse
from pathlib import Path

ARMS = {
    "before": {"steps": 0},
    "joint": {"debugging": "joint"},
    "growing": {"debugging": "last"},
}
NEW_TOKENS = 112


def main() -> None:
    """Runs what is missing; writes results and table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument(
        "--examples", type=int, default=400, help="trained, each"
    )
    parser.add_argument("--each", type=int, default=60, help="asked, per kind")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()

    from keras_flan.files import read_json, write_json
    from keras_flan.miniature.experiments.cells import Bench
    from keras_flan.miniature.experiments.plan import (
        Cell,
        Evaluation,
        load_plan,
    )
    from keras_flan.runtime import prepare_process

    prepare_process()
    bench = Bench(args.output, load_plan().bases, Evaluation())
    found: dict[str, list] = {arm: [] for arm in ARMS}
    for arm, changes in ARMS.items():
        for seed in args.seeds if arm != "before" else [0]:
            values = {
                "steps": args.steps,
                "train_examples": args.examples,
                "target_length": NEW_TOKENS,
                "seed": seed,
                **changes,
            }
            name = f"{arm}-{seed}-{args.steps}-{args.examples}-{args.each}"
            file = args.output / "asked" / f"{name}.json"
            if not file.is_file():
                model = bench.trained(Cell(**values))
                write_json(file, asked(model, args.output, args.each))
            found[arm].append(read_json(file))
            print(name, flush=True)
    arms = {arm: summed(runs, found["before"]) for arm, runs in found.items()}
    settings = {k: v for k, v in vars(args).items() if k != "output"}
    results = {"settings": settings, "arms": arms}
    write_json(args.output / "debugging.json", results)
    print(table(results))


def asked(model, output: Path, each: int) -> dict:
    """Returns by kind of bug which programs were repaired, and the rest."""
    from keras_flan.generation import generate
    from keras_flan.generation.styles import PromptStyle
    from keras_flan.miniature.universe import DEBUGGING
    from keras_flan.miniature.universe import generate as examples
    from keras_flan.miniature.universe.debugging import repaired

    style = PromptStyle(cot=True)
    right = {}
    for spec in DEBUGGING.values():
        rows = [e.fields for e in examples(spec, "test", each)]
        paths = generate(
            model,
            [style.render(row["question"]) for row in rows],
            samples=1,
            temperature=0.0,
            max_new_tokens=NEW_TOKENS,
        )
        texts = [path.text for [path] in paths]
        right[spec.name] = repaired(texts, [row["answer"] for row in rows])
    return {"repaired": right, "universe": universe(model, output)}


def universe(model, output: Path) -> float:
    """Returns the share of right answers to other held-out tasks."""
    import tempfile

    from keras_flan.evaluation import evaluate
    from keras_flan.miniature.universe import TASKS, ensure_records

    names = [spec.name for spec in TASKS.values() if spec.held_out][::3]
    sizes = {"test": 10}
    records = ensure_records(
        output / "records" / "universe", tasks=names, sizes=sizes, splits=sizes
    )
    with tempfile.TemporaryDirectory() as folder:
        metrics = evaluate(
            model, "records", records, output=folder, mode="direct",
            limit=10, tasks=names, max_new_tokens=24,
        )  # fmt: skip
    return metrics["accuracy"]


def summed(runs: list[dict], before: list[dict]) -> dict:
    """Returns shares and the differences from before, over questions."""
    from keras_flan.evaluation.scores.statistics import (
        bootstrap_interval,
        paired_difference,
    )
    from keras_flan.miniature.universe import DEBUGGING

    def shares(several: list[dict], held_out: bool) -> dict[str, list[float]]:
        """The share of the seeds that repaired each program, by kind."""
        return {
            spec.name: [
                sum(values) / len(values)
                for values in zip(
                    *(run["repaired"][spec.name] for run in several),
                    strict=True,
                )
            ]
            for spec in DEBUGGING.values()
            if spec.held_out == held_out
        }

    told = {"universe": sum(run["universe"] for run in runs) / len(runs)}
    for name, held_out in (("held_out", True), ("trained", False)):
        own, old = (shares(some, held_out) for some in (runs, before))
        flat = [x for values in own.values() for x in values]
        told[name] = {
            "repaired": sum(flat) / len(flat),
            "interval": list(bootstrap_interval([flat])),
            "gain": paired_difference(old, own),
            "kinds": {kind: sum(v) / len(v) for kind, v in own.items()},
        }
    return told


def table(results: dict) -> str:
    """Returns the table of a page."""
    from keras_flan.pages.tables import markdown

    header = ["the nano", "new kinds of bugs repaired", "gain, 95%"]
    header += ["kinds trained", "other held-out tasks"]
    rows = []
    for arm, told in results["arms"].items():
        gain = told["held_out"]["gain"]
        low, high = (100 * x for x in gain["interval"])
        points = f"{100 * gain['difference']:+.1f} ({low:+.1f} to {high:+.1f})"
        rows.append(
            [
                arm,
                f"{told['held_out']['repaired']:.1%}",
                "" if arm == "before" else points,
                f"{told['trained']['repaired']:.1%}",
                f"{told['universe']:.1%}",
            ]
        )
    return markdown(header, rows, "---:")


if __name__ == "__main__":
    main()
