"""Recorded outputs of published systems, in the form that `score` reads.

`python -m tests.evaluation.replays DATA` prints, for every file, the
published and the reproduced accuracy and each example that the default rules
judge otherwise, with the reason.
"""

import csv
import dataclasses
import gzip
import io
import json
import re
import sys
from pathlib import Path

from keras_flan.evaluation.scores.judging import judge
from keras_flan.evaluation.scores.scoring import score

OTHER = {
    "zero_shot_cot": "read up to the first match and compared as a string",
    "plan_and_solve": "read from a second pass that the file does not hold",
    "early_stopping": "reads only 'the answer is yes' or '... no'",
    "mot_cascade": "voted with whole texts where no answer was marked",
    "tora": "right up to a factor of 100 counts",
    None: "the default rules agree",
}


@dataclasses.dataclass(frozen=True)
class Replay:
    """One file: its rows and what its authors made of them.

    Args:
        name: Folder and file.
        benchmark: What `score` is asked for.
        rules: The rule set that reproduces the published accuracy; None if
            the default does.
        rows: What `score` reads.
        correct: Whether each row was published as correct.
    """

    name: str
    benchmark: str
    rules: str | None
    rows: list[dict]
    correct: list[bool]

    @property
    def published(self) -> float:
        """The published accuracy."""
        return sum(self.correct) / len(self.correct)

    def differences(self) -> list[dict]:
        """The examples that the default rules judge otherwise."""
        found = []
        judged = judge(self.benchmark, self.rows)
        for number, (row, result, published) in enumerate(
            zip(self.rows, judged, self.correct, strict=True)
        ):
            if result.correct != published:
                text = row.get("output") or row["outputs"][0]
                found.append(
                    {
                        "file": self.name,
                        "row": number,
                        "target": row["target"],
                        "published": "right" if published else "wrong",
                        "ends": text[-60:],
                        "reason": OTHER[self.rules],
                    }
                )
        return found


def replays(data: Path) -> list[Replay]:
    """All recorded files under `data/model_outputs`."""
    data = data / "model_outputs"
    return [
        *_zero_shot_cot(data / "zero_shot_cot_logs"),
        *_bbh(data / "bbh_code_davinci_002"),
        *_mot_cascade(data / "mot_cascade"),
        *_plan_and_solve(data / "plan_and_solve"),
        *_gsm8k(data),
        _early_stopping(data / "early_stopping_sc"),
        *_mmlu(data / "mmlu_5shot_predictions"),
    ]


def _mmlu(folder):
    for path in sorted(folder.glob("*.csv.gz")):
        task = path.name.removesuffix("_result.csv.gz")
        items = list(csv.DictReader(io.StringIO(_text(path), newline="")))
        letters = ["ABCD"[int(r["answer"])] for r in items]
        rows = [
            # What the model wrote is what follows the prompt: one letter.
            {
                "task": task,
                "target": letter,
                "output": r["completion"][r["completion"].rindex(":") + 1 :],
            }
            for r, letter in zip(items, letters, strict=True)
        ]
        correct = [
            r["prediction"] == letter
            for r, letter in zip(items, letters, strict=True)
        ]
        name = f"mmlu_5shot_predictions/{path.name}"
        yield Replay(name, "mmlu", None, rows, correct)


def rouge_replays(data: Path):
    """Yields split, rows and published ROUGE-L, in percent, of Flan-T5."""
    folder = data / "model_outputs" / "gisting_flan_t5"
    for row in csv.DictReader(io.StringIO(_text(folder / "rouge.csv"))):
        kind = row["model"], row["condition"], row["num_gist_tokens"]
        if kind != ("FLAN-T5", "pos_control", "1"):
            continue
        name = "FLAN-T5-pos_control-1_outputs-16000-validation_"
        path = folder / f"{name}{row['split']}.csv.gz"
        items = csv.DictReader(io.StringIO(_text(path), newline=""))
        rows = [
            {
                "task": row["split"],
                "target": item["y_true"],
                "output": item["y_pred"],
            }
            for item in items
        ]
        yield row["split"], rows, float(row["value"])


def _zero_shot_cot(folder):
    for path in sorted(folder.glob("*.log.gz")):
        text = _text(path)
        rows, correct = [], []
        for item in re.split(r"^\d+_th_sampling\n", text, flags=re.M)[1:]:
            match = re.match(
                r".*?\nA: ?(.*?)\npred_before :.*?"
                r"\npred_mode : (.*?)\nGT : (.*?)\n",
                item,
                re.DOTALL,
            )
            task = re.sub("_zero_shot.*", "", path.name)
            rows.append({"task": task, "target": match[3], "output": match[1]})
            correct.append(match[2] == match[3])
        stated = float(re.search(r"^accuracy : (.*)", text, re.M)[1])
        assert abs(sum(correct) / len(correct) - stated / 100) < 1e-9, path
        benchmark = "records" if "date" in path.name else task
        name = f"zero_shot_cot_logs/{path.name}"
        yield Replay(name, benchmark, "zero_shot_cot", rows, correct)


def _bbh(folder):
    for path in sorted(folder.glob("*/*.json.gz")):
        task = path.name.partition("_few_shot")[0]
        outputs = json.loads(_text(path))["outputs"]
        rows = [
            {"task": task, "target": r["target"], "output": r["prediction"]}
            for r in outputs
        ]
        # The published reading: the text after the last cue, as a string.
        correct = [
            r["prediction"]
            .split("the answer is ")[-1]
            .strip()
            .removesuffix(".")
            == r["target"]
            for r in outputs
        ]
        metrics = path.with_name(
            path.name.replace(".json.gz", "_eval_metrics.jsonl")
        )
        stated = json.loads(metrics.read_text())["accuracy"] / 100
        assert abs(sum(correct) / len(correct) - stated) < 1e-9, path
        name = f"bbh_code_davinci_002/{path.parent.name}/{task}"
        yield Replay(name, "bbh", None, rows, correct)


def _mot_cascade(folder):
    for path in sorted(folder.glob("*.json.gz")):
        date = "date" in path.name
        task = "date_understanding" if date else "gsm8k"
        items = json.loads(_text(path))
        rows = [
            {
                "task": task,
                "target": r["answer"],
                "outputs": r["generated"],
                "answer_kind": "text" if date else "number",
            }
            for r in items
        ]
        yield Replay(
            f"mot_cascade/{path.name}",
            "records" if date else "gsm8k",
            "mot_cascade",
            rows,
            [r["prediction"] == r["answer"] for r in items],
        )


def _plan_and_solve(folder):
    for path in sorted(folder.glob("*.json.gz")):
        benchmark = path.name.partition("-")[0].lower()
        items = json.loads(_text(path))
        rows = [
            {
                "task": benchmark,
                "target": r["answer"],
                "prompt": r["question"],
                "output": r["chain-of-thought"],
            }
            for r in items
        ]
        yield Replay(
            f"plan_and_solve/{path.name}",
            benchmark,
            "plan_and_solve",
            rows,
            [r["ans"] for r in items],
        )


def _gsm8k(data):
    name = "gsm8k_example_solutions/example_model_solutions.jsonl.gz"
    items = _lines(data / name)
    for model in (
        "6b_finetuning",
        "6b_verification",
        "175b_finetuning",
        "175b_verification",
    ):
        rows = [
            {
                "task": "gsm8k",
                "target": r["ground_truth"].split("A: ")[-1],
                "output": r[model]["solution"],
            }
            for r in items
        ]
        correct = [r[model]["is_correct"] for r in items]
        yield Replay(f"{name}:{model}", "gsm8k", None, rows, correct)
    name = "abel_gsm8k/7b.jsonl.gz"
    items = _lines(data / name)
    rows = [
        {"task": "gsm8k", "target": r["gold"], "output": r["response"]}
        for r in items
    ]
    yield Replay(name, "gsm8k", None, rows, [r["result"] for r in items])
    path = next((data / "tora_gsm8k").glob("*.jsonl.gz"))
    items = _lines(path)
    rows = [
        {"task": "gsm8k", "target": r["gt"], "output": r["code"][0]}
        for r in items
    ]
    # The file has the mean only, 80.7: judge its extracted answers.
    correct = [
        any(
            abs(float(r["pred"][0]) - float(r["gt"].replace(",", "")) * k)
            < 1e-9
            for k in (0.01, 1, 100)
        )
        if re.fullmatch(r"-?[\d.]+", r["pred"][0])
        else False
        for r in items
    ]
    yield Replay(f"tora_gsm8k/{path.name}", "gsm8k", "tora", rows, correct)


def _early_stopping(folder):
    path = folder / "GPT4_result_coin_flip_T0.7.jsonl"
    items = _lines(path)
    rows = [
        {
            "task": "coin_flip",
            "target": r["answer"],
            "outputs": r["generated_answer"],
        }
        for r in items
    ]
    correct = [
        f"the answer is {r['answer']}" in r["generated_answer"][0].lower()
        for r in items
    ]
    name = f"early_stopping_sc/{path.name}"
    return Replay(name, "coin_flip", "early_stopping", rows, correct)


def _text(path):
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()


def _lines(path):
    return [json.loads(x) for x in _text(path).split("\n") if x.strip()]


csv.field_size_limit(1 << 24)


def main(data):
    """Prints the table and the differences."""
    for replay in replays(Path(data)):
        default = score(replay.benchmark, replay.rows)["accuracy"]
        print(
            f"{replay.name}: published {replay.published:.4f}, "
            f"default rules {default:.4f}"
        )
        for difference in replay.differences():
            print("   ", json.dumps(difference, ensure_ascii=False))
    for split, rows, published in rouge_replays(Path(data)):
        made = 100 * score("open_ended", rows)["rouge_l"]
        print(f"gisting {split}: published {published:.3f}, ours {made:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
