"""Examples a second: keras_flan's input pipeline beside seqio's.

    python benchmarks/data_pipeline.py [--data DIR] [--check]
        [--seqio-python /path/to/venv/bin/python]

Both read the same record files with TensorFlow, draw tasks at the same rates,
fill the same templates, tokenise with the same SentencePiece model, and pack
to the same lengths into batches of the same size; each in its own, idiomatic
way. (seqio has no template engine; its side fills templates as FLAN's seqio
code does, a round of consecutive examples at a time.) Each run is a process
of its own on two cores, one after the other, in turns. Time and CPU time
count from `--warm-up` examples on.

A text that fills the targets of a row by itself (or was trimmed to) blocks
the rest of its inputs for any packer; the fill is also given without those.

`--data` names a folder with `flan_cot/` (FLAN's chain-of-thought files) and
`niv2/tasks/` (Natural Instructions); without it, the shipped records are
used. `--check` compares the examples of the two, token by token.

`--optional` compares keras_flan with itself: the same texts from templates with
all fields in optional parts.

seqio is the extra `[bench]`. If it does not suit your environment, give it a
virtual environment of its own and name that one's Python.
"""

import argparse
import dataclasses
import functools
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BATCH_SIZE = 8
CORES = 2
SIDES = ("keras_flan", "seqio")
SEGMENTS = ("input_segments", "target_segments")


# === keras_flan ===


def keras_flan_batches(plan: dict, one_pass: bool):
    """Yields batches of keras_flan as NumPy arrays."""
    from keras_flan.data.mixtures.mixture import Mixture
    from keras_flan.data.pipeline.pipeline import build_dataset
    from keras_flan.data.vocabularies.sentencepiece import Vocabulary

    dataset = build_dataset(
        Mixture.from_yaml(plan["mixture"]),
        Vocabulary(plan["vocabulary"]),
        input_length=plan["input_length"],
        target_length=plan["target_length"],
        batch_size=BATCH_SIZE,
        pack=not one_pass,
        repeat=not one_pass,
    )
    for x, y, _ in dataset.as_numpy_iterator():
        yield {
            "inputs": x["encoder_token_ids"],
            "input_segments": x["encoder_segment_ids"],
            "targets": y,
            "target_segments": x["decoder_segment_ids"],
        }


# === seqio ===


def seqio_batches(plan: dict, one_pass: bool):
    """Yields batches of seqio as NumPy arrays."""
    import seqio
    import tensorflow as tf

    vocabulary = seqio.SentencePieceVocabulary(plan["vocabulary"], extra_ids=0)
    names = []
    for task in plan["tasks"]:
        names.append((f"task{len(names)}", task["rate"]))
        field = tf.io.FixedLenFeature([], tf.string, "")
        seqio.TaskRegistry.add(
            names[-1][0],
            source=seqio.TFExampleDataSource(
                split_to_filepattern={"train": task["shards"]},
                feature_description=dict.fromkeys(task["fields"], field),
            ),
            preprocessors=[
                functools.partial(fill_templates, templates=task["templates"]),
                seqio.preprocessors.tokenize,
                seqio.preprocessors.append_eos_after_trim,
            ],
            output_features={
                "inputs": seqio.Feature(vocabulary),
                "targets": seqio.Feature(vocabulary),
            },
        )
    seqio.MixtureRegistry.add("all", names)
    for name in [name for name, _ in names] if one_pass else ["all"]:
        dataset = seqio.get_dataset(
            name,
            {"inputs": plan["input_length"], "targets": plan["target_length"]},
            feature_converter=seqio.EncDecFeatureConverter(pack=not one_pass),
            shuffle=not one_pass,
            num_epochs=1 if one_pass else None,
            seed=0,
            verbose=False,
        )
        dataset = dataset.batch(BATCH_SIZE, drop_remainder=not one_pass)
        for batch in dataset.prefetch(2).as_numpy_iterator():
            yield {
                "inputs": batch["encoder_input_tokens"],
                "input_segments": batch.get("encoder_segment_ids"),
                "targets": batch["decoder_target_tokens"],
                "target_segments": batch.get("decoder_segment_ids"),
            }


def fill_templates(dataset, templates: list):
    """Gives example k the template k mod T, T examples at a time."""
    import tensorflow as tf

    def render(parts, batch, i):
        return tf.strings.join(
            [batch[p["field"]][i] if "field" in p else p["text"] for p in parts]
        )

    def each(batch):
        inputs = [render(pair[0], batch, i) for i, pair in enumerate(templates)]
        return {
            "inputs": tf.strings.regex_replace(tf.stack(inputs), r" +\z", ""),
            "targets": tf.stack(
                [render(pair[1], batch, i) for i, pair in enumerate(templates)]
            ),
        }

    dataset = dataset.batch(len(templates), drop_remainder=True)
    return dataset.map(each, tf.data.AUTOTUNE).unbatch()


# === One run of one side ===


def measure(batches, plan: dict) -> dict:
    """Counts examples, tokens, seconds and memory of a stream of batches."""
    import numpy as np

    begin, examples = time.perf_counter(), 0
    used, places, blocked = [0, 0], [0, 0], [0, 0]
    first = start = None
    for batch in batches:
        first = first or time.perf_counter() - begin
        examples += int(batch["target_segments"].max(axis=1).sum())
        if start is None:
            if examples >= plan["warm_up"]:
                start, examples = (time.perf_counter(), time.process_time()), 0
            continue
        for i, name in enumerate(SEGMENTS):
            used[i] += np.count_nonzero(batch[name])
            places[i] += batch[name].size
            other = batch[SEGMENTS[1 - i]]
            alone = (other == 1).all(axis=1)
            blocked[i] += np.count_nonzero(batch[name][alone] == 0)
        if examples >= plan["examples"]:
            break
    seconds = time.perf_counter() - start[0]
    cpu = time.process_time() - start[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "examples per second": examples / seconds,
        "examples per CPU second": examples / cpu,
        "tokens per second": sum(used) / seconds,
        "fill of inputs, %": 100 * used[0] / places[0],
        "fill of targets, %": 100 * used[1] / places[1],
        "fill of inputs that are not blocked, %": 100
        * used[0]
        / (places[0] - blocked[0]),
        "peak memory, MiB": peak,
        "first batch after, s": first,
    }


def digests(batches) -> list[str]:
    """Returns a digest of each example of unpacked batches, sorted."""
    found = set()
    for batch in batches:
        for row in zip(batch["inputs"], batch["targets"], strict=True):
            # Of inputs that are too long the sides keep different parts.
            if row[0].all():
                continue
            text = b"|".join(ids[ids > 0].tobytes() for ids in row)
            found.add(hashlib.sha256(text).hexdigest()[:16])
    found.discard(hashlib.sha256(b"|").hexdigest()[:16])  # a row of padding
    return sorted(found)


def run_side(side: str, plan: dict) -> None:
    """Runs one side in this process and prints what it found as JSON."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    make = {"keras_flan": keras_flan_batches, "seqio": seqio_batches}[side]
    batches = make(plan, plan["check"])
    found = digests(batches) if plan["check"] else measure(batches, plan)
    print(json.dumps(found))


# === Both sides ===


def make_plan(mixture_file: Path, vocabulary: Path, args) -> dict:
    """Returns all that both sides need, ready for JSON."""
    from keras_flan.data.mixtures.mixture import Mixture

    return {
        "mixture": str(mixture_file),
        "vocabulary": str(vocabulary),
        "tasks": list(describe(Mixture.from_yaml(mixture_file))),
        "input_length": args.input_length,
        "target_length": args.target_length,
        "examples": args.examples,
        "warm_up": args.warm_up,
        "check": False,
    }


def describe(mixture):
    """Yields the task and rate of each form of a mixture's tasks."""
    from keras_flan.data.records.info import read_info
    from keras_flan.data.templates.families import record_fields

    for part in mixture.tasks:
        directory = part.task.directory
        for format, share in part.formats.items():
            templates = part.task.family.templates(format)
            fields = set().union(*(t.fields for t in templates))
            if format.few_shot or fields != set(record_fields(fields)):
                sys.exit(
                    f"{part.task.name}: only zero-shot formats without answer "
                    "options can be compared"
                )
            yield {
                "rate": part.rate * share,
                "fields": sorted(fields),
                "shards": [
                    str((directory / shard.file).resolve())
                    for shard in read_info(directory).shards
                ],
                "templates": [
                    [parts(t.query), parts(t.target)]
                    for t in templates[: part.task.num_examples]
                ],
            }


def parts(template) -> list[dict]:
    """Returns the parts of a template, ready for JSON."""
    from keras_flan.data.templates.template import Literal

    return [
        {"text": part.text}
        if isinstance(part, Literal)
        else {"field": part.name}
        for part in template.parts
    ]


def mixtures(data: Path | None, folder: Path) -> list[Path]:
    """Writes the mixtures to compare, and their records if need be."""
    from keras_flan.data.importers import import_source

    direct, cot = {"zero_shot_direct": 1}, {"zero_shot_cot": 1}
    if data is None:
        records = Path(__file__).parents[1] / "tf_records" / "quickstart"
        groups = {
            "universe": {"universe": {"tasks": "*", "formats": direct | cot}}
        }
    else:
        records = folder / "records"
        for path in sorted((data / "flan_cot").iterdir()):
            name = path.name.split("_")[0]
            import_source("flan-cot", path, records / name)
        names = sorted(path.name for path in records.iterdir())
        import_source("natural-instructions", data / "niv2" / "tasks", records)
        group = {"tasks": names, "formats": direct | cot}
        niv2 = {"tasks": "*", "formats": direct}
        groups = {
            "cot": {"cot": group},
            "cot_niv2": {
                "cot": group | {"proportion": 1.8},
                "niv2": niv2 | {"proportion": 24.2},
            },
        }
    paths = []
    for name, value in groups.items():
        paths.append(folder / f"{name}.yaml")
        # JSON is YAML.
        # seqio's side takes whole rounds of templates.
        facts = {"name": name, "records": str(records), "flan_rounds": True}
        paths[-1].write_text(json.dumps({**facts, "groups": value}))
    return paths


def own_templates(mixture_file: Path, folder: Path, optional: bool) -> Path:
    """Writes a mixture with the same texts, its fields in optional parts."""
    from keras_flan.data.mixtures.mixture import Mixture

    def written(template) -> str:
        if not optional:
            return str(template)
        wrapped = dataclasses.replace(
            template,
            parts=tuple(
                dataclasses.replace(part, when=getattr(part, "name", None))
                for part in template.parts
            ),
        )
        return str(wrapped)

    groups: dict = {}
    for part in Mixture.from_yaml(mixture_file).tasks:
        family = {"family": part.task.name, "fields": list(part.task.fields)}
        for format in part.formats:
            family[format.value] = [
                {"input": written(t.input), "target": written(t.target)}
                for t in part.task.family.templates(format)
            ]
        kind = "optional" if optional else "plain"
        file = folder / f"{part.task.name}_{kind}.yaml"
        file.write_text(json.dumps(family))
        group = {f.value: share for f, share in part.formats.items()}
        key = f"{part.group} {part.task.name}"
        groups[key] = {
            "proportion": part.rate,
            "formats": group,
            "tasks": [
                {
                    "name": part.task.name,
                    "records": str(part.task.directory.resolve()),
                    "templates": str(file),
                }
            ],
        }
    path = folder / f"{mixture_file.stem}_{kind}.yaml"
    facts = {"name": path.stem, "flan_rounds": True, "groups": groups}
    path.write_text(json.dumps(facts))
    return path


def compare_optional(plan: dict, folder: Path, rounds: int = 25) -> None:
    """Prints what optional parts cost: all of a chunk's work, by turns.

    In one process, without anything made ahead, so that other work on the
    machine meets both alike.
    """
    from keras_flan.data.mixtures.mixture import Mixture
    from keras_flan.data.pipeline.settings import PipelineSettings
    from keras_flan.data.pipeline.stage import Stage
    from keras_flan.data.vocabularies.sentencepiece import Vocabulary

    settings = PipelineSettings(
        input_length=plan["input_length"],
        target_length=plan["target_length"],
        batch_size=BATCH_SIZE,
    )
    file, sides = Path(plan["mixture"]), []
    for optional in (False, True):
        mixture = Mixture.from_yaml(own_templates(file, folder, optional))
        stage = Stage(mixture, Vocabulary(plan["vocabulary"]), settings)
        chunk = next(iter(stage.draws.chunks()))
        stage.rows(*chunk)
        sides.append((stage, chunk))
    times: list[list[tuple[float, float]]] = [[], []]
    for _ in range(rounds):
        for (stage, chunk), found in zip(sides, times, strict=True):
            begin = time.process_time(), time.perf_counter()
            stage.rows(*chunk)
            end = time.process_time(), time.perf_counter()
            found.append((end[0] - begin[0], end[1] - begin[1]))
    for i, what in enumerate(("CPU second", "second")):
        plain, optional = (
            settings.chunk / statistics.median(t[i] for t in found)
            for found in times
        )
        print(
            f"examples per {what}: {plain:,.0f}, with all fields in optional "
            f"parts {optional:,.0f} ({optional / plain - 1:+.1%})"
        )


def run(side: str, plan: dict, python: str):
    """Runs one side in a process of its own."""
    made = subprocess.run(
        [python, __file__, "--side", side],
        input=json.dumps(plan),
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    if made.returncode:
        sys.exit(f"{made.stderr}\n{side} failed")
    return json.loads(made.stdout.splitlines()[-1])


def compare(plan: dict, pythons: dict[str, str]) -> None:
    """Checks that both sides make the same examples."""
    ours, theirs = (
        set(run(side, plan | {"check": True}, pythons[side])) for side in SIDES
    )
    # keras_flan asks an example of two formats in one of them a pass.
    assert ours and ours <= theirs, f"{len(ours - theirs)} examples differ"
    print(f"same examples: all {len(ours):,} of keras_flan are seqio's too")


def show(name: str, runs: dict[str, list[dict]]) -> None:
    """Prints medians, ranges and ratios."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=name, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("median of runs (least to most)")
    for column in (*SIDES, "ratio"):
        table.add_column(column, justify="right")
    for what in runs[SIDES[0]][0]:
        cells, medians = [], []
        for side in SIDES:
            values = [run[what] for run in runs[side]]
            medians.append(statistics.median(values))
            cells.append(
                f"{medians[-1]:,.1f} ({min(values):,.1f} to {max(values):,.1f})"
            )
        table.add_row(what, *cells, f"{medians[0] / medians[1]:.2f}")
    Console().print(table)


def main() -> None:
    """Runs the sides in turns and prints a table for each mixture."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--vocabulary", type=Path, help="default: trained")
    parser.add_argument("--vocabulary-size", type=int)
    parser.add_argument("--input-length", type=int, default=1024)
    parser.add_argument("--target-length", type=int, default=256)
    parser.add_argument("--examples", type=int, default=60_000)
    parser.add_argument("--warm-up", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seqio-python", default=sys.executable)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--optional", action="store_true")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        run_side(args.side, json.load(sys.stdin))
        return

    from keras_flan.data.vocabularies.training import train_vocabulary_from

    pythons = {"keras_flan": sys.executable, "seqio": args.seqio_python}
    with tempfile.TemporaryDirectory() as folder:
        files = mixtures(args.data, Path(folder))
        vocabulary = args.vocabulary
        if vocabulary is None:
            vocabulary = Path(folder, "vocabulary.model")
            size = args.vocabulary_size or (8000 if args.data else 600)
            train_vocabulary_from(files, size, vocabulary)
        for file in files:
            plan = make_plan(file, vocabulary, args)
            if args.check:
                compare(plan, pythons)
            if args.optional:
                compare_optional(plan, Path(folder))
                continue
            runs = {side: [] for side in SIDES}
            for _ in range(args.runs):
                for side in SIDES:
                    runs[side].append(run(side, plan, pythons[side]))
            show(file.stem, runs)


if __name__ == "__main__":
    main()
