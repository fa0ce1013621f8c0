"""Commands about data: records, tasks, mixtures, vocabularies."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keras_flan.cli.options import Json, Quiet, Seed, parse_pairs, print_json
from keras_flan.cli.printing import (
    print_contamination,
    print_mixture,
    print_prompts,
    print_tasks,
)
from keras_flan.errors import InputError

if TYPE_CHECKING:
    from keras_flan.data.records.info import RecordInfo

app = typer.Typer()


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
        typer.Option(help="FIELD=COLUMN, for csv and such; may repeat."),
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
        typer.Option(help="A name of `keras-flan templates`, or a YAML file."),
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
    """Turn public task files into checksummed TFRecords.

    `import flan2022 FOLDER` takes all that a folder of downloads has of the
    paper's mixture, at once; `keras-flan tasks` says where the files are.
    """
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
        labels=parse_pairs(label or [], "--label"),
        keep_mmlu=keep_mmlu,
        templates=templates,
        runner=runner,
        processes=processes,
        beam_options=beam_option or [],
        progress=not (quiet or json_),
    )
    if imported.mixture:
        from keras_flan.data.mixtures.files import start_mixture_file

        mixture_file = start_mixture_file(output, imported.mixture)
    one, *more = imported.tasks
    if not (more or imported.rejected or imported.left_out):
        if json_:
            print_json(one.to_dict())
        else:
            _print_import(one, output)
    elif json_:
        tasks = [info.to_dict() for info in imported.tasks]
        print_json({**vars(imported), "tasks": tasks})
    else:
        examples = sum(info.num_examples for info in imported.tasks)
        for problem in imported.rejected:
            print(f"rejected: {problem['reason']}")
        print(
            f"{len(imported.tasks)} tasks, {examples} examples -> {output}; "
            f"{len(imported.rejected)} tasks rejected, "
            f"{len(imported.left_out)} left out"
        )
        if imported.mixture:
            _print_mixture_file(imported.tasks, mixture_file)


def _print_import(info: "RecordInfo", output: Path) -> None:
    rejected = info.num_rejected
    print(
        f"{info.name}: {info.num_examples} examples in "
        f"{len(info.shards)} shard(s), {rejected} rejected -> {output}"
        + (f" (see {output / 'rejects.jsonl'})" if rejected else "")
    )
    if info.templates is None:
        print(
            f"no templates yet for the fields {', '.join(info.fields)}: "
            "import again with --templates (see `keras-flan templates`)"
        )


def _print_mixture_file(tasks: list["RecordInfo"], path: Path) -> None:
    stand_in = [
        info.name for info in tasks if info.extra.get("source_split") == "dev"
    ]
    if stand_in:
        print(
            "from the development split, as no other is there: "
            + ", ".join(stand_in)
        )
    print(f"look at the mixture: keras-flan mixture {path} --report PAGE.html")


@app.command()
def formats(json_: Json = False):
    """List the formats that `keras-flan import` reads."""
    from keras_flan.data.importers import describe_formats

    rows = describe_formats()
    if json_:
        print_json(rows)
    else:
        for row in rows:
            print(f"{row['format']:24} {row['summary']}")


@app.command()
def templates(json_: Json = False):
    """List the families of templates, and the fields they fill in.

    Fields in brackets are for some formats only, such as chain of thought.
    """
    from keras_flan.data.templates.library import describe_families

    rows = describe_families()
    if json_:
        print_json(rows)
    else:
        for row in rows:
            optional = [f"({field})" for field in row["optional"]]
            print(f"{row['family']:24} {', '.join(row['fields'] + optional)}")


@app.command()
def universe(
    output: Annotated[Path, typer.Option(help="The folder to write.")] = Path(
        "tf_records/quickstart"
    ),
    all_: Annotated[
        bool, typer.Option("--all", help="All tasks, not only the core's.")
    ] = False,
    train: Annotated[
        int, typer.Option(min=1, help="Training examples a task.")
    ] = 200,
    test: Annotated[
        int, typer.Option(min=1, help="Test examples a task.")
    ] = 50,
    quiet: Quiet = False,
):
    """Write synthetic task records; by default those that are shipped."""
    from keras_flan.miniature.universe import TASKS, build_records

    for info in build_records(
        output,
        tasks=TASKS if all_ else None,
        sizes={"train": train, "test": test},
        progress=not quiet,
    ):
        print(f"{info.name} {info.split}: {info.num_examples}")


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
    from keras_flan.data.mixtures.inspection import inspect as run

    rows = run(source, n=n, shots=shots, cot=cot, seed=seed)
    if json_:
        print_json(rows)
    else:
        print_prompts(rows)


@app.command()
def tasks(
    mixture: Annotated[
        str | None,
        typer.Option(help="Only of muffin, t0_sf, niv2 or cot."),
    ] = None,
    category: Annotated[
        str | None, typer.Option(help="Only with this in the category.")
    ] = None,
    records: Annotated[
        Path, typer.Option(help="The folder of records.")
    ] = Path("records"),
    json_: Json = False,
):
    """List the tasks of the Flan 2022 paper, and which have records.

    Of those that have none it says how to get them.
    """
    from keras_flan.data.mixtures.task_registry import list_tasks

    rows = list_tasks(mixture, category, records)
    if json_:
        print_json(rows)
    else:
        print_tasks(rows, records)


@app.command()
def mixture(
    path: Annotated[
        Path, typer.Argument(help="A mixture YAML file, or a known name.")
    ],
    records: Annotated[
        Path | None,
        typer.Option(help="The folder of records; default: the file's."),
    ] = None,
    missing: Annotated[
        str | None,
        typer.Option(help="Tasks without records: error or skip."),
    ] = None,
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
    against: Annotated[
        Path | None,
        typer.Option(help="A benchmark's folder: is it in the mixture?"),
    ] = None,
    seed: Seed = 0,
    json_: Json = False,
):
    """Show the tasks of a mixture and their sampling rates.

    With --report, draw from it and write a page about what comes.
    """
    from keras_flan.data.mixtures.mixture import Mixture

    loaded = Mixture.from_yaml(path, records, missing)
    summary = loaded.summary()
    if report:
        from keras_flan.data.analysis.report import write_mixture_report
        from keras_flan.data.vocabularies.sentencepiece import Vocabulary

        summary["realised"] = write_mixture_report(
            report,
            loaded,
            Vocabulary(vocabulary) if vocabulary else None,
            input_length=input_length,
            target_length=target_length,
            seed=seed,
            against=against,
        )
    elif against:
        raise InputError(
            "--against goes with --report PAGE.html; `keras-flan contamination`"
            " checks without a page"
        )
    if json_:
        print_json(summary)
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
    from keras_flan.data.analysis.contamination import check_contamination
    from keras_flan.data.mixtures.mixture import Mixture

    report = check_contamination(
        Mixture.from_yaml(path),
        against,
        ngram=ngram,
        progress=not (quiet or json_),
    )
    if json_:
        print_json(report)
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
    from keras_flan.data.vocabularies.training import train_vocabulary_from

    vocabulary = train_vocabulary_from(source, size, output)
    if json_:
        print_json({"path": str(output), "size": vocabulary.size})
    else:
        print(f"{output}: {vocabulary.size} pieces")


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
