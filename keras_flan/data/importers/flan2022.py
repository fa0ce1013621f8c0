"""A folder of downloads: what it has of the Flan 2022 paper's training data.

The files are found by the names under which they are published, at any depth
(`paper_tasks/public_files.yaml`; for Natural Instructions and T0, the names of
tasks). Only tasks of the registry are taken, each once, and no held-out ones.
A data set of which only the development split is there is taken from that.
"""

import dataclasses
import functools
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePath

from keras_flan.data.importers import (
    base,
    esnli,
    flan_cot,
    folders,
    gsm8k,
    natural_instructions,
    qed,
    t0,
    tables,
)
from keras_flan.data.importers.writing import name_answer
from keras_flan.data.mixtures.task_registry import (
    REGISTRY,
    RegistryTask,
    plain_name,
    registry_tasks,
)
from keras_flan.errors import InputError
from keras_flan.schema import Strict, read_yaml, validate

_FORMATS = {
    importer.format: importer
    for importer in (
        esnli.IMPORTER,
        flan_cot.IMPORTER,
        gsm8k.IMPORTER,
        qed.IMPORTER,
        tables.CSV,
        tables.JSONL,
        tables.LABELLED_LINES,
    )
}
_NATURAL_INSTRUCTIONS = re.compile(r"task\d+_")
_T0 = re.compile(r"t0.*\.jsonl(\.gz)?")
_NOT_LISTED = "not a task of the paper's mixture"


class PublicFile(Strict):
    """A public file of a data set; see `paper_tasks/public_files.yaml`."""

    file: str
    format: str
    columns: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    split: str = "train"


@functools.cache
def public_files() -> dict[str, list[PublicFile]]:
    """Returns the files that a data set is published in, by its task."""
    path = REGISTRY / "public_files.yaml"
    return {
        name: [
            validate(PublicFile, entry, f"{path}: {name}") for entry in entries
        ]
        for name, entries in read_yaml(path).items()
    }


def _parts(path: Path, options: base.Options) -> list[base.Part]:
    if not path.is_dir():
        raise InputError(
            f"{path}: expected the folder that holds the downloaded files"
        )
    files = sorted(file for file in path.rglob("*") if file.is_file())
    found = (
        _known(files),
        _t0(files),
        _natural_instructions(files, options.keep_mmlu),
    )
    return list(_once(itertools.chain(*found)))


def _once(parts: Iterable[base.Part]) -> Iterator[base.Part]:
    """Leaves out what would be written a second time."""
    first: dict[str, Path] = {}
    for part in parts:
        if not part.left_out:
            before = first.setdefault(plain_name(part.name), part.path)
            if before != part.path:
                why = f"{part.name} is taken from {before}"
                part = dataclasses.replace(part, left_out=why)
        yield part


def _known(files: list[Path]) -> Iterator[base.Part]:
    """Finds the files of the table; of each task, the best one."""
    registered = (*registry_tasks("cot"), *registry_tasks("muffin"))
    tasks = {task.name: task for task in registered}
    for name, entries in public_files().items():
        for entry, file in itertools.product(entries, files):
            plain = PurePath(file.parent, file.name.removesuffix(".gz"))
            if plain.match(entry.file):
                read = functools.partial(_read_known, file, tasks[name], entry)
                yield base.Part(file, name, read)


def _read_known(
    file: Path, task: RegistryTask, entry: PublicFile
) -> base.Source:
    importer = _FORMATS[entry.format]
    source = importer.read(file, base.Options(task.name, entry.columns))
    rows = source.rows
    if entry.labels:
        rows = (name_answer(row, entry.labels) for row in rows)
    return dataclasses.replace(
        source,
        rows=rows,
        name=task.name,
        templates=task.templates or source.templates,
        license=importer.license or task.license or "",
        origin=importer.origin,
        # The split under which training looks for it, and what it really is.
        split="train",
        extra={**source.extra, "source_split": entry.split},
    )


def _t0(files: list[Path]) -> Iterator[base.Part]:
    """Finds files `t0*.jsonl`, and such of any name in folders `t0*`."""
    tasks = _plain_names("t0_sf")
    for file in files:
        if not (
            _T0.fullmatch(file.name)
            or (file.parent.name.startswith("t0") and ".jsonl" in file.suffixes)
        ):
            continue
        for part in folders.parts_of_files([file], t0.parts_of_file):
            known = plain_name(part.name) in tasks
            yield dataclasses.replace(
                part,
                open=functools.partial(_for_training, part.open, t0.IMPORTER),
                left_out="" if known else _NOT_LISTED,
            )


def _natural_instructions(
    files: list[Path], keep_mmlu: bool
) -> Iterator[base.Part]:
    """Finds `task..._*.json`, and `train.json` in folders of such names."""
    tasks = _plain_names("niv2")
    for file in files:
        if not file.name.endswith((".json", ".json.gz")):
            continue
        named = file if base.file_stem(file) not in base.SPLITS else file.parent
        if not _NATURAL_INSTRUCTIONS.match(named.name):
            continue
        part = natural_instructions.part_of_file(file, keep_mmlu)
        left_out = part.left_out
        if plain_name(part.name) not in tasks:
            left_out = left_out or _NOT_LISTED
        if part.split not in (None, "train"):
            left_out = left_out or f"the split {part.split!r}"
        read = functools.partial(
            _for_training, part.open, natural_instructions.IMPORTER
        )
        yield dataclasses.replace(
            part, open=read, split=None, left_out=left_out
        )


def _for_training(
    read: Callable[[], base.Source], importer: base.Importer
) -> base.Source:
    source = base.open_with_origin(read, importer)
    return dataclasses.replace(source, split="train")


def _plain_names(mixture: str) -> set[str]:
    return {plain_name(task.name) for task in registry_tasks(mixture)}


def _read(path: Path, options: base.Options) -> base.Source:
    raise InputError(
        f"{path}: a folder holds many tasks; import it with `import_source`"
    )


IMPORTER = base.Importer(
    format="flan2022",
    summary="A folder of downloads: all it has of the Flan 2022 mixture",
    read=_read,
    parts=_parts,
    mixture="flan2022_paper_b",
)
