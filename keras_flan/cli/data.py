"""Commands about data: records, tasks, mixtures, vocabularies."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from keras_flan.cli import templates
from keras_flan.cli.options import (
    Json,
    Overwrite,
    Quiet,
    Seed,
    parse_pairs,
    path_argument,
    path_option,
)
from keras_flan.cli.printing import data as printing
from keras_flan.cli.printing import print_json, show
from keras_flan.errors import InputError
from keras_flan.storage import as_path

app = typer.Typer()
app.add_typer(templates.app, name="templates")


# Options of `import`.
_Limit = Annotated[int | None, Option(min=1, help="Import the first N rows.")]
_Strict = Annotated[bool, Option("--strict", help="Fail at the first bad row.")]
_Map = Annotated[
    list[str] | None,
    Option(
        help="FIELD=COLUMN, for csv and such, or columns in a pattern: "
        "'question={title}\\n{body}'; may repeat."
    ),
]
_Label = Annotated[
    list[str] | None,
    Option(help="ANSWER=NAME, such as 0=negative; may repeat."),
]
_KeepMMLU = Annotated[
    bool, Option("--keep-mmlu", help="Keep Natural Instructions made of MMLU.")
]
_Replace = Annotated[
    bool, Option("--replace", help="Replace another task or split there.")
]
_Templates = Annotated[
    str | None, Option(help="A name of `keras-flan templates`, or a YAML file.")
]
_Delimiter = Annotated[
    str | None, Option(help="Of csv, such as ';'; default: what is found.")
]
_Encoding = Annotated[
    str | None, Option(help="Such as cp1251; default: UTF-8, or what is found.")
]
_Runner = Annotated[str, Option(help="local, or beam for Apache Beam.")]
_Processes = Annotated[
    int | None, Option(min=1, help="Default: as many as make it faster.")
]
_BeamOption = Annotated[
    list[str] | None, Option(help="Such as --runner=FlinkRunner; may repeat.")
]


@app.command("import")
def import_(
    format: Annotated[str, Argument(help="See `keras-flan formats`.")],
    source: Annotated[Path, path_argument("The file, or its folder.")],
    output: Annotated[Path, path_option("The folder to write.")],
    name: Annotated[
        str | None, Option(help="Task name; default: from the file.")
    ] = None,
    split: Annotated[str, Option(help="Name of the split.")] = "train",
    limit: _Limit = None,
    shards: Annotated[int, Option(min=1, help="Number of files.")] = 1,
    strict: _Strict = False,
    map: _Map = None,
    label: _Label = None,
    keep_mmlu: _KeepMMLU = False,
    templates: _Templates = None,
    delimiter: _Delimiter = None,
    encoding: _Encoding = None,
    runner: _Runner = "local",
    processes: _Processes = None,
    beam_option: _BeamOption = None,
    replace: _Replace = False,
    overwrite: Overwrite = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Turn public task files into checksummed TFRecords.

    `import flan2022 FOLDER` takes all that a folder of downloads has of the
    paper's mixture, at once; `keras-flan tasks` says where the files are.
    """
    from keras_flan.data.importers import import_source
    from keras_flan.data.mixtures.files import start_mixture_file

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
        delimiter=delimiter,
        encoding=encoding,
        runner=runner,
        processes=processes,
        beam_options=beam_option or [],
        replace=replace,
        overwrite=overwrite,
        progress=not (quiet or json_),
    )
    mixture_file = None
    if imported.mixture:
        mixture_file = start_mixture_file(output, imported.mixture)
    printing.print_import(imported, output, mixture_file, json_)


@app.command()
def formats(json_: Json = False) -> None:
    """List the formats that `keras-flan import` reads."""
    from keras_flan.data.importers import describe_formats

    rows = describe_formats()
    show(rows, json_, printing.print_formats)


@app.command()
def universe(
    output: Annotated[Path, path_option("The folder to write.")] = Path(
        "tf_records/quickstart"
    ),
    all_: Annotated[
        bool, Option("--all", help="All tasks, not only the core's.")
    ] = False,
    train: Annotated[
        int, Option(min=1, help="Training examples per task.")
    ] = 200,
    test: Annotated[int, Option(min=1, help="Test examples per task.")] = 50,
    quiet: Quiet = False,
) -> None:
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
        Path, path_argument("A task folder or a mixture YAML file.")
    ],
    n: Annotated[int, Option("-n", min=1, help="How many.")] = 3,
    shots: Annotated[int, Option(min=0, help="Exemplars.")] = 0,
    cot: Annotated[
        bool | None,
        Option("--cot/--direct", help="Chain of thought, or direct."),
    ] = None,
    seed: Seed = 0,
    json_: Json = False,
) -> None:
    """Show rendered prompts of a task or a mixture."""
    from keras_flan.data.mixtures.inspection import inspect as run

    rows = run(source, n=n, shots=shots, cot=cot, seed=seed)
    show(rows, json_, printing.print_prompts)


@app.command()
def tasks(
    mixture: Annotated[
        str | None, Option(help="Only of muffin, t0_sf, niv2 or cot.")
    ] = None,
    category: Annotated[
        str | None, Option(help="Only with this in the category.")
    ] = None,
    records: Annotated[Path, path_option("The folder of records.")] = Path(
        "records"
    ),
    json_: Json = False,
) -> None:
    """List the tasks of the Flan 2022 paper, and which have records.

    Of those that have none it says how to get them.
    """
    from keras_flan.data.mixtures.task_registry import list_tasks

    rows = list_tasks(mixture, category, records)
    show(rows, json_, lambda rows: printing.print_tasks(rows, records))


_Records = Annotated[
    Path | None, path_option("The folder of records; default: the file's.")
]
_Missing = Annotated[
    str | None, Option(help="Tasks without records: error or skip.")
]


@app.command()
def mixture(
    path: Annotated[
        Path, path_argument("A mixture YAML file, or a known name.")
    ],
    records: _Records = None,
    missing: _Missing = None,
    report: Annotated[
        Path | None, path_option("An .html page to write.")
    ] = None,
    vocabulary: Annotated[
        str | None,
        Option(
            help="Count tokens, not characters, by a .model file, or by the "
            "vocabulary of a model, such as flan_nano."
        ),
    ] = None,
    input_length: Annotated[
        int, Option(min=2, help="Input tokens of a row.")
    ] = 1024,
    target_length: Annotated[
        int, Option(min=2, help="Target tokens of a row.")
    ] = 256,
    long: Annotated[
        list[str] | None,
        Option(
            help="Too long texts: inputs=HOW or targets=HOW, of shorten, "
            "trim, drop and fail; may repeat. Default: as `train`."
        ),
    ] = None,
    against: Annotated[
        Path | None, path_option("A benchmark's folder: is it in the mixture?")
    ] = None,
    seed: Seed = 0,
    json_: Json = False,
) -> None:
    """Show the tasks of a mixture and their sampling rates.

    With --vocabulary, draw from it, and show what is trained, left out and
    cut. With --report, write a page about that.
    """
    from keras_flan.data.mixtures.mixture import Mixture

    loaded = Mixture.from_yaml(path, records, missing)
    summary = loaded.summary()
    known = _vocabulary(vocabulary) if vocabulary else None
    settings: dict[str, Any] = {
        "input_length": input_length,
        "target_length": target_length,
        "seed": seed,
        "long": parse_pairs(long or [], "--long"),
    }
    if report:
        from keras_flan.data.analysis.report import write_mixture_report

        summary["realised"] = write_mixture_report(
            report, loaded, known, against=against, **settings
        )
    elif against:
        raise InputError(
            "--against goes with --report PAGE.html; `keras-flan contamination`"
            " checks without a page"
        )
    elif known:
        from keras_flan.data.analysis.statistics import measure_stages

        summary["realised"] = measure_stages(loaded, known, **settings)
    if json_:
        print_json(summary)
        return
    if report:
        print(report)
    else:
        printing.print_mixture(summary)
    if known:
        printing.print_fates(summary["realised"], table=not report)


@app.command()
def contamination(
    path: Annotated[Path, path_argument("A mixture YAML file.")],
    against: Annotated[Path, path_option("The benchmark's folder or file.")],
    ngram: Annotated[int, Option(min=1, help="Words in a row that tell.")] = 13,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Look for a benchmark's texts in the records of a mixture."""
    from keras_flan.data.analysis.contamination import check_contamination
    from keras_flan.data.mixtures.mixture import Mixture

    report = check_contamination(
        Mixture.from_yaml(path),
        against,
        ngram=ngram,
        progress=not (quiet or json_),
    )
    show(report, json_, printing.print_contamination)


@app.command()
def vocabulary(
    source: Annotated[
        list[Path], path_argument("Mixtures, record folders or texts.")
    ],
    size: Annotated[int, Option(min=32, help="Number of pieces.")],
    output: Annotated[Path, path_option("The .model file to write.")],
    json_: Json = False,
) -> None:
    """Train a SentencePiece vocabulary on records or text."""
    from keras_flan.data.vocabularies.training import train_vocabulary_from

    vocabulary = train_vocabulary_from(source, size, output)
    made = {"path": str(output), "size": vocabulary.size}
    show(made, json_, lambda made: print(f"{output}: {made['size']} pieces"))


def _vocabulary(name: str) -> Any:
    """Returns a vocabulary of a file, or that of a model."""
    if name.endswith(".model") or as_path(name).is_file():
        from keras_flan.data.vocabularies.sentencepiece import Vocabulary

        return Vocabulary(name)
    from keras_flan.models.loading import load

    found = load(name).vocabulary
    if found is None:
        raise InputError(f"--vocabulary: the model {name} has none")
    return found


def _columns(texts: list[str]) -> dict[str, str | list[str]]:
    """Parses `--map` texts; a field that is given again has several."""
    columns: dict[str, str | list[str]] = {}
    for text in texts:
        field, equals, column = text.partition("=")
        if not equals or not field:
            raise InputError(f"--map: expected FIELD=COLUMN, found {text!r}")
        if "{" in column:  # A pattern.
            column = column.replace("\\n", "\n").replace("\\t", "\t")
        if field in columns:
            before = columns[field]
            before = [before] if isinstance(before, str) else before
            columns[field] = [*before, column]
        else:
            columns[field] = column
    return columns
