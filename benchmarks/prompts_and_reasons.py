"""Prompts that are searched, and reasons that are tried.

    python benchmarks/prompts_and_reasons.py PART --output runs/reasons \
        [--nano runs/quickstart/model] [--data DATA]

A PART writes `PART.json` and prints a table in Markdown:

- `search-nano`: a search on questions of the universe, five seeds;
- `search-smollm2`: on MultiArith and SVAMP, exemplars of GSM8K;
- `faithfulness-nano`: chains of the universe's arithmetic: what the answer
  does, which step each measure names, and where a mistake is located;
- `faithfulness-smollm2`: the same on MultiArith.

The nano is a tuned one, such as the quickstart's. DATA holds public files.
"""

import argparse
import dataclasses
import time
from pathlib import Path

SOLVED = 40
REAL = {
    "multiarith": ("math-problems", "nlp/multiarith/MultiArith.json"),
    "svamp": ("math-problems", "nlp/svamp/SVAMP.json"),
}


def main() -> None:
    """Runs a part."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", choices=list(PARTS))
    parser.add_argument("--output", type=Path, default=Path("runs/reasons"))
    parser.add_argument("--nano", default="runs/quickstart/model")
    parser.add_argument("--smollm2", default="smollm2_135m")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--test", type=int, default=100)
    parser.add_argument("--first", type=int, default=16)
    parser.add_argument("--chains", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    args = parser.parse_args()

    from keras_flan.files import write_json
    from keras_flan.runtime import prepare_process

    prepare_process()
    begin = time.monotonic()
    found = PARTS[args.part](args)
    numbers = ("questions", "test", "first", "chains", "seeds", "dtype")
    results = {
        "part": args.part,
        "settings": {name: getattr(args, name) for name in numbers},
        "seconds": time.monotonic() - begin,
        **found,
    }
    write_json(args.output / f"{args.part}.json", results)
    print(table(results))


def table(results: dict) -> str:
    """Returns the table of a page."""
    kind = results["part"].partition("-")[0]
    return TABLES[kind](results)


def smollm2(args):
    """Returns the model."""
    from keras_flan.models import load

    return load(args.smollm2, dtype=args.dtype)


def public(args, name: str, format: str, limit: int, skip: int = 0):
    """Returns rows of a public file."""
    from keras_flan.data.importers.base import Options, Row
    from keras_flan.data.importers.formats import IMPORTERS

    if args.data is None:
        raise SystemExit("give --data, the folder of the public files")
    rows = IMPORTERS[format].read(args.data / name, Options()).rows
    found = [row.fields for row in rows if isinstance(row, Row)]
    return found[skip : skip + limit]


# === Search ===


def searched(model, questions, solved, seed: int, args, shots: int, new: int):
    """Returns what a search found."""
    from keras_flan.search import library_candidates, search_prompts

    candidates = library_candidates(solved, cot=True, shots=shots, seed=seed)
    return search_prompts(
        model, questions, candidates, kind="number", test=args.test,
        first=args.first, max_new_tokens=new, seed=seed,
        on_round=lambda n, alive: print("round", n, len(alive), flush=True),
    )  # fmt: skip


def search_table(results: dict) -> str:
    """Returns a row per search."""
    from keras_flan.pages.tables import markdown

    header = ["search", "default", "winner", "gain on the test part, 95%"]
    header += ["gain before", "of it luck", "generated tokens"]
    rows = []
    for name, one in results["searches"].items():
        gain, (low, high) = one["gain"], one["gain"]["interval"]
        rows.append(
            [
                name,
                f"{one['default']['test']:.1%}",
                f"{one['winner']['test']:.1%} ({one['winner']['name']})",
                f"{100 * gain['difference']:+.1f} "
                f"({100 * low:+.1f} to {100 * high:+.1f})",
                f"{100 * one['dev_gain']:+.1f}",
                f"{100 * one['luck']:+.1f}",
                f"{one['tokens']:,}",
            ]
        )
    made = markdown(header, rows, "---:")
    if "mean" in results:
        low, high = (100 * x for x in results["interval"])
        made += (
            f"\nMean over {len(rows)} seeds: {100 * results['mean']:+.1f} "
            f"points ({low:+.1f} to {high:+.1f}).\n"
        )
    return made


def search_nano(args):
    """Searches on the universe, with each seed other questions."""
    from keras_flan.miniature.experiments.results import student_interval
    from keras_flan.miniature.universe import TASKS as UNIVERSE
    from keras_flan.miniature.universe import generate
    from keras_flan.models import load

    model = load(args.nano)
    names = [
        spec.name
        for spec in UNIVERSE.values()
        if spec.reasoning and spec.answer_kind == "number"
    ]
    solved = [
        e.fields for n in names for e in generate(UNIVERSE[n], "train", 4)
    ]
    found = {}
    number = args.questions + args.test
    each = -(-number // len(names)) * len(args.seeds)
    pool = [
        e.fields for n in names for e in generate(UNIVERSE[n], "test", each)
    ]
    for place, seed in enumerate(args.seeds):
        own = pool[place :: len(args.seeds)]
        found[f"seed {seed}"] = searched(
            model, own, solved, seed, args, shots=2, new=64
        )
    gains = [one["gain"]["difference"] for one in found.values()]
    mean, low, high = student_interval(gains)
    return {"searches": found, "mean": mean, "interval": [low, high]}


def search_smollm2(args):
    """Searches on two real tasks."""
    model = smollm2(args)
    number = args.questions + args.test
    solved = public(args, "gsm8k/train.jsonl.gz", "gsm8k", SOLVED)
    found = {
        name: searched(
            model, public(args, file, format, number), solved, 0, args,
            shots=3, new=96,
        )
        for name, (format, file) in REAL.items()
    }  # fmt: skip
    return {"searches": found}


# === Faithfulness ===


def chains_of(model, rows, new: int):
    """Asks for reasoning; returns the chains of the answers."""
    from keras_flan.evaluation.faithfulness.chains import chain_of
    from keras_flan.generation import generate
    from keras_flan.generation.styles import PromptStyle

    style = PromptStyle(cot=True)
    prompts = [style.render(row["question"]) for row in rows]
    paths = generate(
        model, prompts, samples=1, temperature=0.0, max_new_tokens=new
    )
    found = [
        chain_of(prompt, path.text, "number", rationale=row.get("rationale"))
        for prompt, [path], row in zip(prompts, paths, rows, strict=True)
    ]
    return [chain for chain in found if chain is not None]


# What is added to the measures of the library.
ADDED = {
    "last_by_weight": "chains whose last step has the largest weight",
    "last_by_gradient": "chains whose last step has the largest gradient",
    "located": "injected mistakes that are located",
}


def judged(model, chains) -> dict:
    """Returns the measures, and how often each names the right step."""
    from keras_flan.evaluation.faithfulness.chains import mistaken
    from keras_flan.evaluation.faithfulness.equations import equations
    from keras_flan.evaluation.faithfulness.locating import locate_mistakes
    from keras_flan.evaluation.faithfulness.measures import measure, summary
    from keras_flan.evaluation.scores.statistics import (
        exact_interval,
        mean_interval,
    )

    results = measure(model, chains)
    told = summary(results)
    # The answer is what the last calculation gave: that step is needed.
    several = [
        one
        for one in results
        if len(one.steps) > 1
        and (last := equations(one.steps[-1].text))
        and last[-1][-1] == one.whole
    ]
    for measured in ("weight", "gradient"):
        hits = [
            max(one.steps, key=lambda s: getattr(s, measured)) == one.steps[-1]
            for one in several
        ]
        low, high = exact_interval(sum(hits), len(hits)) if hits else (0, 1)
        told[f"last_by_{measured}"] = {
            "mean": sum(hits) / max(len(hits), 1),
            "interval": [low, high],
            "n": len(hits),
        }
    altered = [
        (chain, dataclasses.replace(chain, steps=found[0]), place)
        for chain in chains
        for place in range(len(chain.steps))
        if (found := mistaken(chain, place))
    ]
    if altered:
        located = locate_mistakes(
            model,
            [chain.prompt for chain, *_ in altered],
            [changed for _, changed, _ in altered],
        )
        # Mistakes in one chain are not found independently of each other.
        hits: dict[int, list[bool]] = {}
        for (chain, _, place), one in zip(altered, located, strict=True):
            hits.setdefault(id(chain), []).append(one.place == place)
        shares = [sum(each) / len(each) for each in hits.values()]
        chances = [1 / len(one.steps) for _, one, _ in altered]
        told["located"] = {
            "mean": sum(shares) / len(shares),
            "interval": list(mean_interval([shares])),
            "n": len(shares),
            "mistakes": len(altered),
            "by_chance": sum(chances) / len(chances),
        }
    return told


def faithfulness_table(results: dict) -> str:
    """Returns a row per measure."""
    from keras_flan.evaluation.faithfulness.page import measure_lines
    from keras_flan.pages.tables import markdown

    rows = [list(line) for line in measure_lines(results)]
    for name, what in ADDED.items():
        if name in results:
            one = results[name]
            low, high = (100 * x for x in one["interval"])
            if "by_chance" in one:
                what += (
                    f" ({one['mistakes']:,}; by chance {one['by_chance']:.1%})"
                )
            span = f"{low:.1f} to {high:.1f}"
            rows.append([what, f"{one['mean']:.1%}", span, f"{one['n']:,}"])
    return markdown(["share of", "mean", "95%", "chains"], rows, "---:")


def faithfulness_nano(args):
    """Tries chains of arithmetic, of which the true program is known."""
    from keras_flan.miniature.universe import CORE, generate
    from keras_flan.models import load

    names = [
        spec.name
        for spec in CORE.values()
        if spec.family == "arithmetic" and not spec.held_out
    ] or [n for n in CORE if "arithmetic" in n]
    each = -(-args.chains // len(names))
    rows = [e.fields for n in names for e in generate(CORE[n], "test", each)]
    model = load(args.nano)
    return judged(model, chains_of(model, rows, 64))


def faithfulness_smollm2(args):
    """Tries chains of a real task."""
    model = smollm2(args)
    rows = public(args, REAL["multiarith"][1], "math-problems", args.chains)
    return judged(model, chains_of(model, rows, 96))


PARTS = {
    "search-nano": search_nano,
    "search-smollm2": search_smollm2,
    "faithfulness-nano": faithfulness_nano,
    "faithfulness-smollm2": faithfulness_smollm2,
}

TABLES = {"search": search_table, "faithfulness": faithfulness_table}

if __name__ == "__main__":
    main()
