"""How sure a vote is, and how sure a fitted confidence says it is.

    python benchmarks/confidence.py votes runs/votes --output confidence.json
    python benchmarks/confidence.py recorded DATA --output confidence.json

`votes` are the runs that `examples/vote_smollm2.py` logged; `recorded` are
published paths of GPT-3.5 and GPT-4 in DATA. The expected calibration error of
the share of votes, and of a confidence that is fitted on other questions of the
same set; of logged runs, which have probabilities, also votes of half of the
paths, weighted, against a majority of all. Seconds.
"""

import argparse
import gzip
import json
import time
from pathlib import Path

# Published paths, and the benchmark by which their answers are judged.
RECORDED = {
    "GPT-3.5, dates, 40 paths": ("GPT3_date_cot1_40", "records", "text"),
    "GPT-4, dates, 3 paths": ("GPT4_date_cot1", "records", "text"),
    "GPT-4, GSM8K, 3 paths": ("GPT4_gsm_cot1", "gsm8k", "number"),
}
# How half of the paths vote in the table; named beforehand, so that no best of
# three is chosen.
WAY = "rank"


def recorded(data: Path) -> dict:
    """Fits confidence on paths that others have published."""
    from keras_flan.evaluation.scores.judging import judge

    tasks = {}
    for name, (file, benchmark, kind) in RECORDED.items():
        path = data / "model_outputs/mot_cascade" / f"{file}.json.gz"
        rows = [
            {
                "task": file,
                "target": row["answer"],
                "outputs": row["generated"],
                "answer_kind": kind,
            }
            for row in json.loads(gzip.decompress(path.read_bytes()))
        ]
        tasks[name] = calibration_of(
            judge(benchmark, rows, rules="mot_cascade")
        )
    return {"tasks": tasks}


def logged(folder: Path) -> dict:
    """Fits confidence on logged votes, and lets fewer paths vote by weight."""
    from keras_flan.evaluation.reports.finished import load_runs

    folders = sorted(p.parent for p in folder.glob("*/predictions.jsonl"))
    if not folders:
        raise SystemExit(f"{folder}: no runs; see examples/vote_smollm2.py")
    runs = {run.folder.name: run for run in load_runs(folders)}
    every = [one for run in runs.values() for one in run.judged]
    tasks = {name: confidence_of(run.judged) for name, run in runs.items()}
    tasks["all together"] = confidence_of(every)
    added, decoding = map(sum, zip(*map(overhead, runs.values()), strict=True))
    return {
        "tasks": tasks,
        "overhead": {"confidence": added, "decoding": decoding},
    }


def table(results: dict) -> str:
    """Returns the table of a page."""
    from keras_flan.pages.tables import markdown

    header = ["task", "questions", "majority of all", "ECE of votes", "fitted"]
    header += ["Brier", "fitted", "risk at 50%", "fitted"]
    halves = "overhead" in results
    if halves:
        header += ["weighted, half", "difference, 95%"]
    rows = []
    for name, told in results["tasks"].items():
        row = [name, f"{told['n']:,}", f"{told['majority']:.1%}"]
        sides = [told["share"], told.get("fitted")]
        for key in ("ece", "brier"):
            row += [f"{side[key]:.3f}" if side else "" for side in sides]
        row += [f"{s['risk'][-1]['risk']:.1%}" if s else "" for s in sides]
        if halves:
            half = told["ways"][WAY]
            gain = half["against all"]
            low, high = (100 * x for x in gain["interval"])
            row += [
                f"{half['right']:.1%} ({WAY})",
                f"{100 * gain['difference']:+.1f} ({low:+.1f} to {high:+.1f}; "
                f"p = {gain['mcnemar']:.2f})",
            ]
        rows.append(row)
    made = markdown(header, rows, "---:")
    if halves:
        its, number = results["overhead"], results["tasks"]["all together"]["n"]
        spent = its["confidence"], its["decoding"]
        made += (
            f"\nSignals and confidence of {number:,} questions: "
            f"{spent[0]:.2f} s; decoding them: {spent[1]:.0f} s; "
            f"{spent[0] / spent[1]:.3%}.\n"
        )
    return made


def overhead(run) -> tuple[float, float]:
    """Returns the seconds of confidence, and of decoding, of a run."""
    from keras_flan.answers.confidence import ConfidenceModel, signals
    from keras_flan.evaluation.runs.evaluate import TIMING_FILE
    from keras_flan.evaluation.scores.predictions import read_predictions
    from keras_flan.files import read_json

    rows = read_predictions(run.folder)
    known = [one.signals for one in run.judged]
    # Whatever it says: what it costs is the same.
    guess = [i % 2 == 0 for i in range(len(known))]
    model = ConfidenceModel.fit(known, guess)
    begin = time.perf_counter()
    for row, one in zip(rows, run.judged, strict=True):
        more = row.log_probabilities, row.token_counts
        model(signals(one.answers, row.outputs, *more))
    added = time.perf_counter() - begin
    timing = read_json(run.folder / TIMING_FILE)
    share = 1 + timing["resumed"] / max(1, timing["examples"])
    return added, timing["seconds"] * share


def calibration_of(results) -> dict:
    """Returns how well the share of votes and a fitted confidence do."""
    from keras_flan.answers.calibration import judged_confidence
    from keras_flan.answers.confidence import cross_fitted
    from keras_flan.errors import InputError

    right = [one.correct for one in results]
    shares = [one.confidence for one in results]
    told = {"n": len(right), "share": judged_confidence(shares, right)}
    begin = time.monotonic()
    try:
        fitted = cross_fitted([one.signals for one in results], right)
        told["fitted"] = judged_confidence(fitted, right)
    except InputError as error:
        told["not fitted"] = str(error)
    told["seconds to fit and tell"] = time.monotonic() - begin
    told["majority"] = sum(right) / len(right)
    return told


def confidence_of(results) -> dict:
    """Returns calibration, and votes of half of the paths by weights."""
    from keras_flan.answers.voting import path_weights, rank_weights, vote
    from keras_flan.evaluation.scores.statistics import paired_difference

    told = calibration_of(results)
    right = [one.correct for one in results]

    def elected(one, number, weigh) -> bool:
        answers = one.answers[:number]
        row = one.marked.row
        gains, counts = row.log_probabilities, row.token_counts
        weights = weigh(gains[:number], counts[:number])
        winner = vote(answers, weights, "sum").winner
        return winner is not None and one.paths_correct[answers.index(winner)]

    def by_rank(gains, counts):
        pairs = zip(gains, counts, strict=True)
        return rank_weights([g / max(n, 1) for g, n in pairs], 1.0)

    ways = {
        "majority": lambda gains, counts: [1.0] * len(gains),
        "probability per token": path_weights,
        "rank": by_rank,
    }
    told["ways"] = {}
    for name, weigh in ways.items():
        half = [
            elected(one, max(1, len(one.answers) // 2), weigh)
            for one in results
        ]
        told["ways"][name] = {
            "right": sum(half) / len(half),
            "against all": paired_difference({"t": right}, {"t": half}),
        }
    return told


def main() -> None:
    """Prints a table, and writes what is in it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", choices=("votes", "recorded"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path, help="a JSON file")
    args = parser.parse_args()

    from keras_flan.files import write_json

    results = {"votes": logged, "recorded": recorded}[args.part](args.folder)
    if args.output is not None:
        write_json(args.output, results)
    print(table(results))


if __name__ == "__main__":
    main()
