"""The command line: a thin layer that parses, calls and prints.

Nothing heavy is imported before a command needs it, so `--help` answers at
once. Bad input ends with exit code 2 and one message on stderr.
"""

import enum
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from keras_flan.errors import InputError

app = typer.Typer(
    name="keras-flan",
    help="Instruction and chain-of-thought finetuning with Keras.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_debug = False


class Mode(str, enum.Enum):
    """How a benchmark is asked: answer at once, or reason first."""

    direct = "direct"
    cot = "cot"


class Library(str, enum.Enum):
    """Another library, whose model files are converted."""

    huggingface = "huggingface"


class Dtype(str, enum.Enum):
    """The dtype of a model's weights."""

    float32 = "float32"
    bfloat16 = "bfloat16"


Json = Annotated[
    bool, typer.Option("--json", help="Print only JSON on stdout.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]
Seed = Annotated[int, typer.Option(help="The seed of everything random.")]


@app.callback()
def _options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks.")
    ] = False,
):
    global _debug
    _debug = debug


def _print_json(value) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


@app.command()
def quickstart(
    output: Annotated[
        Path, typer.Option(help="Where the run is written.")
    ] = Path("runs/quickstart"),
    json_: Json = False,
    quiet: Quiet = False,
):
    """Run the whole recipe on the shipped tasks, in a few minutes."""
    from keras_flan.quickstart import quickstart

    metrics = quickstart(output, quiet=quiet or json_)
    if json_:
        _print_json(metrics)


@app.command("import")
def import_(
    format: Annotated[str, typer.Argument(help="See `keras-flan formats`.")],
    source: Annotated[Path, typer.Argument(help="The file, or its folder.")],
    output: Annotated[Path, typer.Option(help="The folder to write.")],
    name: Annotated[
        str | None, typer.Option(help="Task name; default: from the file.")
    ] = None,
    split: Annotated[str, typer.Option(help="Name of the split.")] = "train",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Import the first N rows.")
    ] = None,
    shards: Annotated[int, typer.Option(min=1, help="Number of files.")] = 1,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail at the first bad row.")
    ] = False,
    map: Annotated[
        list[str] | None,
        typer.Option(help="FIELD=COLUMN; may repeat, see the docs."),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="ANSWER=NAME, such as 0=negative; may repeat."),
    ] = None,
    keep_mmlu: Annotated[
        bool,
        typer.Option(
            "--keep-mmlu", help="Keep Natural Instructions made of MMLU."
        ),
    ] = False,
    templates: Annotated[
        str | None,
        typer.Option(help="Template family: a name or a YAML file."),
    ] = None,
    runner: Annotated[
        str, typer.Option(help="local, or beam for Apache Beam.")
    ] = "local",
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="Default: as many as make it faster."),
    ] = None,
    beam_option: Annotated[
        list[str] | None,
        typer.Option(help="Such as --runner=FlinkRunner; may repeat."),
    ] = None,
    json_: Json = False,
    quiet: Quiet = False,
):
    """Turn public task files into checksummed TFRecords."""
    from keras_flan.data.importers import import_source

    imported = import_source(
        format,
        source,
        output,
        name=name,
        split=split,
        limit=limit,
        shards=shards,
        strict=strict,
        columns=_columns(map or []),
        labels=_pairs(label or [], "--label"),
        keep_mmlu=keep_mmlu,
        templates=templates,
        runner=runner,
        processes=processes,
        beam_options=beam_option or [],
        progress=not (quiet or json_),
    )
    one, *more = imported.tasks
    if not (more or imported.rejected or imported.left_out):
        if json_:
            _print_json(one)
        else:
            _print_import(one, output)
    elif json_:
        _print_json(vars(imported))
    else:
        examples = sum(info["num_examples"] for info in imported.tasks)
        for problem in imported.rejected:
            print(f"rejected: {problem['reason']}")
        print(
            f"{len(imported.tasks)} tasks, {examples} examples -> {output}; "
            f"{len(imported.rejected)} tasks rejected, "
            f"{len(imported.left_out)} left out"
        )


def _print_import(info: dict, output: Path) -> None:
    rejected = info["num_rejected"]
    print(
        f"{info['name']}: {info['num_examples']} examples in "
        f"{len(info['shards'])} shard(s), {rejected} rejected -> {output}"
        + (f" (see {output / 'rejects.jsonl'})" if rejected else "")
    )


@app.command()
def formats(json_: Json = False):
    """List the formats that `keras-flan import` reads."""
    from keras_flan.data.importers import describe_formats

    rows = describe_formats()
    if json_:
        _print_json(rows)
    else:
        for row in rows:
            print(f"{row['format']:24} {row['summary']}")


@app.command()
def universe(
    output: Annotated[Path, typer.Option(help="The folder to write.")] = Path(
        "tf_records/quickstart"
    ),
    quiet: Quiet = False,
):
    """Rebuild the shipped synthetic task records, byte for byte."""
    from keras_flan.data.universe import build_records

    for info in build_records(output, progress=not quiet):
        print(f"{info['name']} {info['split']}: {info['num_examples']}")


@app.command()
def inspect(
    source: Annotated[
        Path, typer.Argument(help="A task folder or a mixture YAML file.")
    ],
    n: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 3,
    shots: Annotated[int, typer.Option(min=0, help="Exemplars.")] = 0,
    cot: Annotated[
        bool | None,
        typer.Option("--cot/--direct", help="Chain of thought, or direct."),
    ] = None,
    seed: Seed = 0,
    json_: Json = False,
):
    """Show rendered prompts of a task or a mixture."""
    from keras_flan.data.inspection import inspect as run
    from keras_flan.data.inspection import print_prompts

    rows = run(source, n=n, shots=shots, cot=cot, seed=seed)
    if json_:
        _print_json(rows)
    else:
        print_prompts(rows)


@app.command()
def mixture(
    path: Annotated[Path, typer.Argument(help="A mixture YAML file.")],
    report: Annotated[
        Path | None, typer.Option(help="An .html page to write.")
    ] = None,
    vocabulary: Annotated[
        Path | None,
        typer.Option(help="A .model: count tokens, not characters."),
    ] = None,
    input_length: Annotated[
        int, typer.Option(min=2, help="Input tokens of a row.")
    ] = 1024,
    target_length: Annotated[
        int, typer.Option(min=2, help="Target tokens of a row.")
    ] = 256,
    seed: Seed = 0,
    json_: Json = False,
):
    """Show the tasks of a mixture and their sampling rates.

    With --report, draw from it and write a page about what comes.
    """
    from keras_flan.data.inspection import print_mixture
    from keras_flan.data.mixtures import Mixture

    loaded = Mixture.from_yaml(path)
    summary = loaded.summary()
    if report:
        from keras_flan.data.mixture_report import write_mixture_report
        from keras_flan.data.tokenizers import Vocabulary

        summary["realised"] = write_mixture_report(
            report,
            loaded,
            Vocabulary(vocabulary) if vocabulary else None,
            input_length=input_length,
            target_length=target_length,
            seed=seed,
        )
    if json_:
        _print_json(summary)
    elif report:
        print(report)
    else:
        print_mixture(summary)


@app.command()
def contamination(
    path: Annotated[Path, typer.Argument(help="A mixture YAML file.")],
    against: Annotated[
        Path, typer.Option(help="The benchmark's folder or file.")
    ],
    ngram: Annotated[
        int, typer.Option(min=1, help="Words in a row that tell.")
    ] = 13,
    json_: Json = False,
    quiet: Quiet = False,
):
    """Look for a benchmark's texts in the records of a mixture."""
    from keras_flan.data.contamination import (
        check_contamination,
        print_contamination,
    )
    from keras_flan.data.mixtures import Mixture

    report = check_contamination(
        Mixture.from_yaml(path),
        against,
        ngram=ngram,
        progress=not (quiet or json_),
    )
    if json_:
        _print_json(report)
    else:
        print_contamination(report)


@app.command()
def vocabulary(
    source: Annotated[
        list[Path], typer.Argument(help="Mixtures, record folders or texts.")
    ],
    size: Annotated[int, typer.Option(min=32, help="Number of pieces.")],
    output: Annotated[Path, typer.Option(help="The .model file to write.")],
    json_: Json = False,
):
    """Train a SentencePiece vocabulary on records or text."""
    from keras_flan.data.tokenizers import train_vocabulary_from

    vocabulary = train_vocabulary_from(source, size, output)
    if json_:
        _print_json({"path": str(output), "size": vocabulary.size})
    else:
        print(f"{output}: {vocabulary.size} pieces")


@app.command(context_settings={"allow_interspersed_args": True})
def train(
    config: Annotated[Path, typer.Argument(help="A training config YAML.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, dots for nesting.")
    ] = None,
    json_: Json = False,
    quiet: Quiet = False,
):
    """Finetune a model on a mixture with `model.fit`."""
    from keras_flan.training.config import TrainConfig
    from keras_flan.training.runner import train

    result = train(
        TrainConfig.from_yaml(config, overrides or []), quiet=quiet or json_
    )
    if json_:
        _print_json(result)
    else:
        first, *_, last = [*result["loss"], result["loss"][-1]]
        change = f"{first:.4f} -> " if len(result["loss"]) > 1 else ""
        print(
            f"{result['steps']} steps, loss {change}{last:.4f}, "
            f"model in {result['model']}"
        )


@app.command()
def convert(
    source: Annotated[
        str, typer.Argument(help="A model folder, or hf://NAME.")
    ],
    output: Annotated[Path, typer.Argument(help="The folder to write.")],
    from_: Annotated[
        Library | None, typer.Option("--from", help="Read its format.")
    ] = None,
    to: Annotated[
        Library | None, typer.Option("--to", help="Write its format.")
    ] = None,
    dtype: Annotated[
        Dtype, typer.Option(help="Of the written weights.")
    ] = Dtype.float32,
):
    """Convert a T5 from the files of Hugging Face, or to them."""
    from keras_flan import models

    if (from_ is None) == (to is None):
        raise InputError("give either --from huggingface or --to huggingface")
    if to is not None:
        model = models.load(source)
        models.to_huggingface(model, output, dtype=dtype.value)
    else:
        model = models.from_huggingface(source, dtype=dtype.value)
        models.save(model, output)
    print(output)


@app.command()
def generate(
    model: Annotated[
        str, typer.Option(help="A model folder, hf://NAME or kaggle://NAME.")
    ],
    prompt: Annotated[str | None, typer.Option(help="One prompt.")] = None,
    input: Annotated[
        Path | None, typer.Option(help="JSONL with a `prompt` a line.")
    ] = None,
    cot: Annotated[
        bool, typer.Option("--cot", help="Ask for step-by-step reasoning.")
    ] = False,
    samples: Annotated[int, typer.Option(min=1, help="Paths a prompt.")] = 1,
    temperature: Annotated[
        float | None,
        typer.Option(min=0, help="Default: 0 for one path, else 0.7."),
    ] = None,
    top_k: Annotated[
        int, typer.Option(min=0, help="0 keeps the whole vocabulary.")
    ] = 40,
    kind: Annotated[
        str, typer.Option(help="Answers: text, number, option, program, ...")
    ] = "text",
    seed: Seed = 0,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="Longest output, in tokens.")
    ] = 128,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for answers.jsonl and trace.html."),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="A .png, .svg or .pdf of the votes.")
    ] = None,
    json_: Json = False,
):
    """Generate answers, with k sampled paths and a vote."""
    from keras_flan.generation import trace
    from keras_flan.generation.prompting import ask, print_answered
    from keras_flan.models.loading import load

    rows = _read_prompts(prompt, input)
    if picture:
        trace.check_picture(picture, len(rows))
    settings = {
        "cot": cot,
        "samples": samples,
        "temperature": temperature,
        "top_k": top_k,
        "kind": kind,
        "seed": seed,
        "max_new_tokens": max_new_tokens,
    }
    results = ask(
        load(model),
        [row["prompt"] for row in rows],
        on_done=None if json_ else print_answered,
        **settings,
    )
    if output:
        trace.write_trace(output, results, {"model": model, **settings}, rows)
    if picture:
        trace.draw_votes(picture, results)
    if json_:
        _print_json(
            [
                {**row, **result.to_dict()}
                for row, result in zip(rows, results, strict=True)
            ]
        )


@app.command()
def serve(
    model: Annotated[
        str, typer.Option(help="A model folder, hf://NAME or kaggle://NAME.")
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen on; only this machine.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="0 takes a free one.")
    ] = 8000,
):
    """Ask a model questions on a local web page."""
    from keras_flan.generation.serving import serve
    from keras_flan.models.loading import load

    serve(load(model), host=host, port=port)


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
        _print_json(metrics)
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
        _print_json(metrics)
    else:
        print_metrics(metrics)


def _columns(texts: list[str]) -> dict[str, str | list[str]]:
    """Parses `--map` texts; a field that is given again has several."""
    columns: dict[str, str | list[str]] = {}
    for text in texts:
        field, equals, column = text.partition("=")
        if not equals or not field:
            raise InputError(f"--map: expected FIELD=COLUMN, found {text!r}")
        if field in columns:
            before = columns[field]
            before = [before] if isinstance(before, str) else before
            columns[field] = [*before, column]
        else:
            columns[field] = column
    return columns


def _pairs(texts: list[str], option: str) -> dict[str, str]:
    """Parses `key=value` strings; the error names the option."""
    pairs: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InputError(f"{option}: expected NAME=VALUE, found {text!r}")
        if key in pairs:
            raise InputError(f"{option}: {key!r} is given twice; remove one")
        pairs[key] = value
    return pairs


def _read_prompts(prompt: str | None, path: Path | None) -> list[dict]:
    """Returns `[{"prompt": ...}, ...]` from `--prompt` or `--input`."""
    if (prompt is None) == (path is None):
        raise InputError("give either --prompt TEXT or --input FILE.jsonl")
    if prompt is not None:
        return [{"prompt": prompt}]
    from keras_flan.files import read_jsonl

    rows = read_jsonl(path)
    for number, row in enumerate(rows, 1):
        if not isinstance(row.get("prompt"), str):
            raise InputError(
                f"{path}:{number}: expected a text under 'prompt', found the "
                f"keys {sorted(row)}"
            )
    return rows


def main() -> None:
    """Entry point of `keras-flan`."""
    try:
        sys.exit(app(standalone_mode=False))
    except InputError as error:
        if _debug:
            raise
        print(f"keras-flan: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        # typer's errors of usage, which it would draw as a box of lines.
        if _debug or not hasattr(error, "format_message"):
            raise
        place = getattr(getattr(error, "ctx", None), "command_path", "")
        message = " ".join(error.format_message().split())
        if message:
            print(
                f"keras-flan: {message} (see `{place or 'keras-flan'} --help`)",
                file=sys.stderr,
            )
        sys.exit(2)
    except BrokenPipeError:
        # `keras-flan ... | head`: nobody listens any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
