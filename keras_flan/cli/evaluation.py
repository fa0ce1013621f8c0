"""Commands that score: evaluate, score."""

import enum
from pathlib import Path
from typing import Annotated

import typer

from keras_flan.cli.options import Json, Quiet, Seed, print_json

app = typer.Typer()


class Mode(str, enum.Enum):
    """How a benchmark is asked: answer at once, or reason first."""

    direct = "direct"
    cot = "cot"


@app.command()
def evaluate(
    model: Annotated[
        str, typer.Option(help="A model folder, hf://NAME or kaggle://NAME.")
    ],
    benchmark: Annotated[
        str, typer.Option(help="gsm8k, bbh, mmlu or records.")
    ],
    data: Annotated[Path, typer.Option(help="The benchmark's files.")],
    output: Annotated[Path, typer.Option(help="The folder to write.")],
    mode: Annotated[
        Mode, typer.Option(help="Answer at once, or reason first.")
    ] = Mode.direct,
    shots: Annotated[int, typer.Option(min=0, help="Exemplars.")] = 0,
    samples: Annotated[int, typer.Option(min=1, help="Paths to vote.")] = 1,
    temperature: Annotated[
        float | None,
        typer.Option(min=0, help="Default: 0 for one path, else 0.7."),
    ] = None,
    top_k: Annotated[int, typer.Option(min=0, help="0: no limit.")] = 40,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Examples a task.")
    ] = None,
    tasks: Annotated[
        list[str] | None, typer.Option(help="Only these tasks.")
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="Longest output, in tokens.")
    ] = 256,
    seed: Seed = 0,
    json_: Json = False,
    quiet: Quiet = False,
):
    """Score a model on a benchmark; every example is logged."""
    from keras_flan.evaluation.benchmarks import load_benchmark
    from keras_flan.evaluation.runner import evaluate
    from keras_flan.evaluation.scoring import print_metrics
    from keras_flan.models.loading import load

    load_benchmark(benchmark, data)  # a wrong one fails before the long load
    metrics = evaluate(
        load(model),
        benchmark,
        data,
        output=output,
        mode=mode.value,
        shots=shots,
        samples=samples,
        temperature=temperature,
        top_k=top_k,
        limit=limit,
        tasks=tasks,
        max_new_tokens=max_new_tokens,
        seed=seed,
        progress=not (quiet or json_),
    )
    if json_:
        print_json(metrics)
    else:
        print_metrics(metrics)


@app.command()
def score(
    benchmark: Annotated[str, typer.Option(help="Name of the benchmark.")],
    predictions: Annotated[
        Path, typer.Option(help="JSONL: task, target, output or outputs.")
    ],
    rules: Annotated[
        str | None,
        typer.Option(help="Read answers as a published pipeline did."),
    ] = None,
    json_: Json = False,
):
    """Score recorded outputs; no model needed."""
    from keras_flan.evaluation.scoring import print_metrics, score_file

    metrics = score_file(benchmark, predictions, rules=rules)
    if json_:
        print_json(metrics)
    else:
        print_metrics(metrics)
