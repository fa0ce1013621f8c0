"""A data folder becomes training records and questions that are held out.

What is there is imported by the package's importers. Whole clusters of tasks
are held out; then every training row goes that shares a run of 13 words with
any text that is asked.
"""

import itertools
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from keras_flan.data.analysis.benchmark_texts import read_benchmark
from keras_flan.data.analysis.decontamination import SharedRuns
from keras_flan.data.importers.flan2022 import public_files
from keras_flan.data.importers.importing import import_file, import_source
from keras_flan.data.records.example import Example
from keras_flan.data.records.info import RecordInfo, read_info
from keras_flan.data.records.shards import read_records
from keras_flan.data.records.writing import write_records
from keras_flan.errors import InputError
from keras_flan.evaluation.benchmarks.files import load_benchmark
from keras_flan.files import read_json_object, write_json
from keras_flan.real_flan.clusters import Place, place_of
from keras_flan.real_flan.plan import SOURCES, FlanPlan
from keras_flan.schema import Strict, read_yaml, validate

NGRAM = 13
DATA_FILE = "data.json"
_TABLE = Path(__file__).with_name("data_files.yaml")
# Benchmarks that are asked by their own protocols, and held out: a file that
# tells that they are there.
_BENCHMARKS = {"mgsm": "mgsm_en.tsv", "bbh": "boolean_expressions.json"}
# Fields of records that are answers, and those that direct zero-shot prompts
# don't have.
_ANSWERS = {"answer", "targets"}
_ASIDE = {
    *("example_input", "example_output", "example_explanation"),
    *("rationale", "references"),
}


class _DataFile(Strict):
    cluster: str
    file: str
    format: str
    columns: dict[str, str | list[str]]
    labels: str | dict[str, str] | None = None
    templates: str


class _DataFiles(Strict):
    trained: dict[str, _DataFile]
    asked: dict[str, _DataFile]


def prepare(data: Path, output: Path, plan: FlanPlan) -> dict[str, Any]:
    """Makes the records of a run, once.

    Args:
        data: The folder of public data.
        output: The folder of the run. It gets `imported/`, `records/<task>`
            to train on, `asked/<kind>/<task>` to ask, and `data.json`.
        plan: Says how much is asked.

    Returns:
        What `data.json` holds: `trained` and `asked` tasks with their
        `source`, `cluster` and `examples` (of trained ones also how many were
        `removed`), tasks that are `not_trained`, and those that are held out
        but `not_asked`, with the reason, `removed` rows in all, the
        `benchmarks` that are asked, and what is `missing`.

    Raises:
        InputError: If the folder has nothing to train on, or nothing to ask.
    """
    done = output / DATA_FILE
    if done.is_file():
        return read_json_object(done)
    found = _import(data, output / "imported")
    asked, not_asked = _write_asked(data, found, output / "asked", plan)
    benchmarks = [name for name in _BENCHMARKS if _benchmark(name, data)]
    whole = [folder for name, (folder, _) in found.items() if name in asked]
    known = SharedRuns(_asked_texts(data, [*whole, output / "asked"]), NGRAM)
    trained, not_trained = _write_trained(
        found, known, output / "records", plan
    )
    kept = [name for name, task in trained.items() if task["examples"]]
    if not kept or not asked:
        raise InputError(
            f"{data}: found {len(kept)} tasks to train on and {len(asked)} to "
            "ask; give a folder of public data sets, see docs/real_flan.md"
        )
    here = {place.source for _, place in found.values()}
    summary = {
        "ngram": NGRAM,
        "trained": trained,
        "not_trained": not_trained,
        "removed": sum(task["removed"] for task in trained.values()),
        "asked": asked,
        "not_asked": not_asked,
        "benchmarks": benchmarks,
        "missing": _missing(data, here, benchmarks),
    }
    write_json(done, summary)
    return summary


def _tables() -> _DataFiles:
    return validate(_DataFiles, read_yaml(_TABLE), str(_TABLE))


# === Importing ===


def _import(data: Path, output: Path) -> dict[str, tuple[Path, Place]]:
    """Imports what is there; returns folder and place of each task."""
    found: dict[str, tuple[Path, Place]] = {}
    try:
        imported = import_source("flan2022", data, output).tasks
    except InputError:  # It has none of these; others may be there.
        imported = []
    for info in imported:
        found[info.name] = output / info.name, place_of(info.name)
    for name, entry in _tables().trained.items():
        if file := find_file(data, entry.file):
            _import_file(file, output / name, name, entry, "train")
            place = place_of(name, "classification", entry.cluster)
            found[name] = output / name, place
    return found


def find_file(data: Path, end: str) -> Path | None:
    """Returns the first file of a folder whose path ends so, `.gz` or not."""
    names = [PurePath(end).name, PurePath(end).name + ".gz"]
    for file in sorted(itertools.chain(*(data.rglob(n) for n in names))):
        if PurePath(str(file).removesuffix(".gz")).match(end):
            return file
    return None


def _import_file(
    file: Path, output: Path, name: str, entry: _DataFile, split: str
) -> RecordInfo:
    labels = entry.labels
    if isinstance(labels, str):  # As those of another data set.
        labels = public_files()[labels][0].labels
    return import_file(
        entry.format,
        file,
        output,
        name=name,
        split=split,
        columns=entry.columns,
        labels=labels,
        templates=entry.templates,
        replace=True,
    )


# === What is asked ===


def _write_asked(
    data: Path,
    found: Mapping[str, tuple[Path, Place]],
    output: Path,
    plan: FlanPlan,
) -> tuple[dict[str, dict], dict[str, str]]:
    """Writes questions and exemplars; returns the tasks, and the others."""
    asked: dict[str, dict] = {}
    others: dict[str, str] = {}
    for name, (folder, place) in found.items():
        if not place.held_out:
            continue
        if place.source != "natural_instructions":
            others[name] = "not of Natural Instructions"
            continue
        examples = list(read_records(folder))
        if reason := _too_long(examples, plan):
            others[name] = reason
            continue
        path = output / "instructions" / name
        asked[name] = _write_task(examples, read_info(folder), path, plan)
        asked[name] |= {"asked": "instructions", "cluster": place.cluster}
    for name, entry in _tables().asked.items():
        if not (file := find_file(data, entry.file)):
            continue
        path = output / "options" / name
        info = _import_file(file, path / "all", name, entry, "test")
        examples = list(read_records(path / "all"))
        asked[name] = _write_task(examples, info, path, plan, many=True)
        number = max(len(e.fields["options"].split("\n")) for e in examples)
        asked[name] |= {
            "asked": "options",
            "cluster": entry.cluster,
            "guessing": 1 / number,
        }
    return asked, others


def _too_long(examples: Sequence[Example], plan: FlanPlan) -> str:
    """Returns why a task is too long to be trained or asked, or nothing."""
    fields = set(examples[0].fields)
    for what, names, most in (
        ("answers", fields & _ANSWERS, plan.answer_words),
        ("prompts", fields - _ANSWERS - _ASIDE, plan.prompt_words),
    ):
        words = np.mean(
            [sum(len(e.fields[n].split()) for n in names) for e in examples]
        )
        if words > most:
            return f"{what} of {words:.0f} words on average"
    return ""


def _write_task(
    examples: Sequence[Example],
    info: RecordInfo,
    output: Path,
    plan: FlanPlan,
    many: bool = False,
) -> dict[str, Any]:
    """Writes the questions of a task, and its other examples as exemplars."""
    number = plan.questions * (4 if many else 1)
    generator = np.random.default_rng(zlib.crc32(info.name.encode()))
    order = generator.permutation(len(examples))
    # Half at most, so that exemplars are left.
    number = min(number, max(1, len(examples) // 2))
    parts = {"test": order[:number], "train": order[number : 2 * number]}
    for split, places in parts.items():
        if len(places):
            _write_like(
                info, [examples[i] for i in places], output / split, split
            )
    return {"examples": number}


def _asked_texts(data: Path, folders: Sequence[Path]) -> Iterator[str]:
    """Yields every text of the tasks that are asked, also those left over."""
    files = [path for name in _BENCHMARKS for path in _files(name, data)]
    for folder in [*folders, *files]:
        if folder.exists():
            for _, texts in read_benchmark(folder):
                yield from texts


def _files(name: str, data: Path) -> list[Path]:
    """Returns the files of a benchmark whose questions are asked."""
    file = find_file(data, _BENCHMARKS[name])
    if file is None:
        return []
    return [file.parent] if name == "bbh" else [file]


def _benchmark(name: str, data: Path) -> bool:
    try:
        return bool(load_benchmark(name, data).tasks)
    except InputError:
        return False


# === What is trained on ===


def _write_trained(
    found: Mapping[str, tuple[Path, Place]],
    known: SharedRuns,
    output: Path,
    plan: FlanPlan,
) -> tuple[dict[str, dict], dict[str, str]]:
    """Writes the records to train on; returns the tasks, and the others."""
    trained: dict[str, dict] = {}
    others: dict[str, str] = {}
    for name, (folder, place) in found.items():
        if place.held_out:
            continue
        examples = list(read_records(folder))
        if reason := _too_long(examples, plan):
            others[name] = reason
            continue
        trained[name] = {
            "source": place.source,
            "cluster": place.cluster,
            **_clean(folder, examples, output / name, known),
        }
    return trained, others


def _clean(
    folder: Path, examples: Sequence[Example], output: Path, known: SharedRuns
) -> dict[str, int]:
    """Writes the records that share no run of words with what is asked."""
    shared = known.of(examples)
    kept = [e for e, bad in zip(examples, shared, strict=True) if not bad]
    if kept:
        _write_like(read_info(folder), kept, output, "train")
    return {"examples": len(kept), "removed": int(shared.sum())}


def _write_like(
    info: RecordInfo, examples: Iterable[Example], output: Path, split: str
) -> None:
    """Writes examples of a record set that is there, as another."""
    write_records(
        examples,
        output,
        name=info.name,
        split=split,
        source=info.source,
        license=info.license,
        templates=info.templates,
        answer_kind=info.answer_kind,
        extra=dict(info.extra),
        replace=True,
    )


def _missing(
    data: Path, here: set[str], benchmarks: Sequence[str]
) -> list[str]:
    """Returns the names of what was looked for and is not there."""
    tables = _tables()
    return [
        *(source for source in SOURCES if source not in here),
        *(
            name
            for name, entry in {**tables.trained, **tables.asked}.items()
            if not find_file(data, entry.file)
        ),
        *(name for name in _BENCHMARKS if name not in benchmarks),
    ]
