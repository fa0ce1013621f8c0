"""Commands that score: evaluate, score, compare, report, and safety."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from keras_flan.cli.options import (
    Json,
    Modules,
    NewTokens,
    Overwrite,
    Quiet,
    Seed,
    Temperature,
    TopK,
    path_argument,
    path_option,
)
from keras_flan.cli.printing import print_json, show
from keras_flan.cli.printing import scores as printing
from keras_flan.errors import InputError
from keras_flan.evaluation.benchmarks.ways import Way
from keras_flan.named import is_callable_name, load_callable

app = typer.Typer()


def _shots(text: str) -> int | None:
    if text == "protocol":
        return None
    if not text.isdecimal():
        raise typer.BadParameter(f"expected a number or 'protocol': {text!r}")
    return int(text)


def _load(model: str) -> Any:
    """Returns the model, or the callable, that a text names."""
    if is_callable_name(model) and not Path(model).exists():
        return load_callable(model)
    from keras_flan.models.loading import load

    return load(model)


def _as_chat(model: Any) -> Any:
    from keras_flan.generation.chat import ChatModel

    return ChatModel(model)


# Options of `evaluate`.
_Chat = Annotated[
    bool, Option("--chat", help="Ask through the model's chat template.")
]
_Evaluated = Annotated[
    str | None,
    Option(
        help="A model folder, hf://NAME, kaggle://NAME, a preset of "
        "keras-hub, or a Python callable as module:function."
    ),
]
_Benchmark = Annotated[
    list[str],
    Option(
        help="mmlu, bbh, tydiqa, mgsm, gsm8k, records, ..., or the YAML file "
        "of a protocol of your own; repeatable."
    ),
]
_Data = Annotated[
    list[str] | None,
    Option(
        help="The benchmark's files, or a folder of such folders; or "
        "NAME=PATH, repeatable."
    ),
]
_Modes = Annotated[
    list[Way] | None,
    Option(
        help="Answer at once, reason first, reason on several paths that "
        "vote, or compare likelihoods; repeatable. [default: direct]"
    ),
]
_Limit = Annotated[int | None, Option(min=1, help="Examples per task.")]
_Tasks = Annotated[list[str] | None, Option(help="Only these tasks.")]
_BatchPaths = Annotated[
    int | None, Option(min=1, help="Paths decoded, and journaled, at a time.")
]
_Metrics = Annotated[
    list[str] | None,
    Option(
        "--metric",
        help="Score this too: exact_match, f1, rouge_l, macro_f1, ..., or one "
        "of a module; repeatable.",
    ),
]
_ShowPrompts = Annotated[
    bool,
    Option(
        "--show-prompts",
        help="Only print some prompts of each benchmark and mode; needs no "
        "model.",
    ),
]
_Fresh = Annotated[bool, Option("--fresh", help="Don't go on with a journal.")]


@app.command()
def evaluate(
    benchmark: _Benchmark,
    model: _Evaluated = None,
    output: Annotated[Path | None, path_option("The folder to write.")] = None,
    data: _Data = None,
    mode: _Modes = None,
    shots: Annotated[
        str, Option(help="Exemplars; 'protocol': as published.")
    ] = "0",
    samples: Annotated[
        int, Option(min=1, help="Paths to vote; cot-vote: 8.")
    ] = 1,
    temperature: Temperature = None,
    top_k: TopK = 40,
    limit: _Limit = None,
    tasks: _Tasks = None,
    split: Annotated[str | None, Option(help="Of mmlu: test or val.")] = None,
    max_new_tokens: NewTokens = 256,
    batch_paths: _BatchPaths = None,
    metric: _Metrics = None,
    module: Modules = None,
    seed: Seed = 0,
    show_prompts: _ShowPrompts = False,
    chat: _Chat = False,
    fresh: _Fresh = False,
    overwrite: Overwrite = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a model on benchmarks; every example is logged.

    A run that was cut short, even by kill -9, goes on where it was.
    """
    from keras_flan.evaluation.runs.suite import (
        check,
        plan,
        prompts_of,
        run_all,
    )
    from keras_flan.extensions import using

    with using(*(module or [])):
        runs = plan(
            benchmark,
            [way.value for way in mode or [Way.direct]],
            data or [],
            output or Path(),
            samples,
            split,
            shots=_shots(shots),
            temperature=temperature,
            top_k=top_k,
            limit=limit,
            tasks=tasks,
            max_new_tokens=max_new_tokens,
            batch_paths=batch_paths,
            metrics=metric or (),
            seed=seed,
        )
        if show_prompts:
            show(prompts_of(runs, limit or 3), json_, printing.print_prompts)
            return
        if model is None or output is None:
            raise typer.BadParameter("expected --model and --output")
        check(runs, overwrite)  # what is wrong fails before the long load
        results = run_all(
            _as_chat(_load(model)) if chat else _load(model),
            runs,
            done=(lambda metrics: None) if json_ else printing.print_metrics,
            resume=not fresh,
            progress=not (quiet or json_),
            overwrite=overwrite,
        )
    if json_:
        print_json(results[0] if len(results) == 1 else results)


@app.command()
def score(
    predictions: Annotated[
        Path,
        path_option(
            "JSONL: task, target, output or outputs; or a run's folder."
        ),
    ],
    benchmark: Annotated[
        str | None,
        Option(
            help="Its name, or the YAML file of a protocol of your own. "
            "[default: what the log says]"
        ),
    ] = None,
    rules: Annotated[
        str | None, Option(help="Read answers as a published pipeline did.")
    ] = None,
    rows_: Annotated[
        Path | None,
        path_option(
            "Write JSONL: what was found in every row, and if it is right.",
            name="--rows",
        ),
    ] = None,
    metric: _Metrics = None,
    module: Modules = None,
    json_: Json = False,
) -> None:
    """Score recorded outputs without a model; say which answers changed."""
    from keras_flan.evaluation.benchmarks.protocols import load_protocol
    from keras_flan.evaluation.scores.judging import judge
    from keras_flan.evaluation.scores.predictions import read_predictions
    from keras_flan.evaluation.scores.scoring import (
        changes,
        judged_rows,
        logged_protocol,
        summarise,
    )
    from keras_flan.extensions import using
    from keras_flan.files import write_jsonl

    with using(*(module or [])):
        rows = read_predictions(predictions)
        source = str(predictions)
        protocol = (
            load_protocol(benchmark)
            if benchmark
            else logged_protocol(rows, predictions)
        ).with_metrics(metric or ())
        results = judge(protocol, rows, rules=rules, source=source)
        metrics = summarise(protocol, results, rules=rules)
    if rows_:
        write_jsonl(rows_, judged_rows(rows, results))
    found = changes(rows, results)
    logged = any(row.verdict for row in rows)
    if json_:
        print_json({**metrics, **({"changes": found} if logged else {})})
        return
    printing.print_metrics(metrics)
    if logged:
        printing.print_changes(found, len(rows))


@app.command("fit-confidence")
def fit_confidence(
    predictions: Annotated[
        Path, path_argument("A run's folder, or its JSONL: several paths.")
    ],
    output: Annotated[Path, path_option("The JSON file to write.")],
    benchmark: Annotated[
        str | None, Option(help="[default: what the log says]")
    ] = None,
    module: Modules = None,
    json_: Json = False,
) -> None:
    """Learn from scored votes how sure an answer is, for `generate`."""
    from keras_flan.evaluation.benchmarks.protocols import load_protocol
    from keras_flan.evaluation.scores import confidence
    from keras_flan.evaluation.scores.judging import judge
    from keras_flan.evaluation.scores.predictions import read_predictions
    from keras_flan.evaluation.scores.scoring import logged_protocol
    from keras_flan.extensions import using

    with using(*(module or [])):
        rows, source = read_predictions(predictions), str(predictions)
        protocol = (
            load_protocol(benchmark)
            if benchmark
            else logged_protocol(rows, predictions)
        )
        results = judge(protocol, rows, source=source)
    found = confidence.fit_confidence(results, output, source)
    show(found, json_, printing.print_confidence)


@app.command()
def compare(
    first: Annotated[Path, path_argument("The folder of a run.")],
    second: Annotated[Path, path_argument("Another, same questions.")],
    metric: Annotated[
        str | None, Option(help="Compare by this metric. [default: accuracy]")
    ] = None,
    module: Modules = None,
    json_: Json = False,
) -> None:
    """Compare two runs example by example: is the difference real?"""
    from keras_flan.evaluation.scores.comparing import compare_runs
    from keras_flan.extensions import using

    with using(*(module or [])):
        comparison = compare_runs(first, second, metric)
    show(comparison, json_, printing.print_comparison)


@app.command()
def report(
    runs: Annotated[
        list[Path],
        path_argument(
            "Folders of evaluations or trainings, or of such folders."
        ),
    ],
    output: Annotated[
        Path | None,
        path_option("The folder to write. [default: a single folder itself]"),
    ] = None,
    title: Annotated[
        str | None, Option(help="Heading. [default: Evaluation or Training]")
    ] = None,
    contamination: Annotated[
        list[Path] | None,
        path_option("What `contamination --json` printed; repeatable."),
    ] = None,
    module: Modules = None,
    overwrite: Overwrite = False,
) -> None:
    """Write one offline page about runs, with plots and tables.

    About evaluations it is report.html, about trainings training.html; there
    are both if there are both.
    """
    from keras_flan.evaluation.reports.finished import find_runs
    from keras_flan.evaluation.reports.page import report_runs
    from keras_flan.extensions import using
    from keras_flan.training.finished import find_trained
    from keras_flan.training.report import report_training

    if output is None and len(runs) > 1:
        raise InputError("report: give --output, the folder of the page")
    place = runs[0] if output is None else output
    trained = [folder for folder in runs if find_trained(folder)]
    # What is neither is named by the report on evaluations.
    evaluated = [f for f in runs if find_runs(f) or f not in trained]
    if evaluated:
        with using(*(module or [])):
            made = report_runs(
                evaluated,
                place,
                title=title or "Evaluation",
                contamination=contamination or (),
                overwrite=overwrite,
            )
        print(made)
    if trained:
        given = {} if title is None else {"title": title}
        print(report_training(trained, place, overwrite=overwrite, **given))


@app.command()
def toxicity(
    model: Annotated[
        str, Option(help="As `evaluate` takes it, also a callable.")
    ],
    prompts: Annotated[
        Path | None,
        path_option("JSONL: prompt, group. [default: identity terms of ours]"),
    ] = None,
    scorer: Annotated[
        str | None,
        Option(
            help="A callable of texts to scores, as module:function. "
            "[default: a crude lexicon]"
        ),
    ] = None,
    samples: Annotated[int, Option(min=1, help="Texts per prompt.")] = 25,
    max_new_tokens: Annotated[int, Option(min=1)] = 32,
    seed: Seed = 0,
    json_: Json = False,
) -> None:
    """Let a model go on with prompts; score how toxic it gets, by group."""
    from keras_flan.evaluation.responsible.toxicity import (
        identity_prompts,
        lexicon_scores,
        measure_toxicity,
        read_prompts,
    )
    from keras_flan.generation.language_model_like import as_language_model

    rows = read_prompts(prompts) if prompts else identity_prompts()
    found = measure_toxicity(
        as_language_model(_load(model)).generate,
        rows,
        scorer=load_callable(scorer) if scorer else lexicon_scores,
        samples=samples,
        max_new_tokens=max_new_tokens,
        seed=seed,
    )
    show(found, json_, printing.print_toxicity)


@app.command("civil-comments")
def civil_comments(
    model: Annotated[str, Option(help="As `evaluate` takes it.")],
    data: Annotated[Path, path_option("CSV: comment_text, toxicity.")],
    shots: Annotated[int, Option(min=0, help="Exemplars.")] = 0,
    seed: Seed = 0,
    json_: Json = False,
) -> None:
    """AUC of telling toxic comments by the likelihood of yes and no."""
    from keras_flan.evaluation.responsible.civil_comments import (
        civil_comments_auc,
        read_comments,
    )
    from keras_flan.generation.language_model_like import as_language_model

    comments = read_comments(data)
    asked = as_language_model(_load(model))
    found = civil_comments_auc(
        asked.log_likelihoods, comments, shots=shots, seed=seed
    )
    if json_:
        print_json(found)
    else:
        print(
            f"AUC {100 * found['auc']:.1f} on {found['n']:,} comments, "
            f"{found['toxic']:,} of them toxic, {shots}-shot"
        )
