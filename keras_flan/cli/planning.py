"""The command that plans jobs on TPUs and GPUs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from keras_flan.cli.options import Json, path_argument, path_option
from keras_flan.cli.printing import print_json
from keras_flan.errors import InputError

app = typer.Typer()

Config = Annotated[
    Path | None,
    path_argument("A training config YAML, or the folder of a run."),
]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="key=value, as for train.")
]
Recipe = Annotated[str | None, typer.Option(help="As for train.")]
Preset = Annotated[
    str | None,
    typer.Option(help="Instead of a config: a model of the paper, flan_t5_xl."),
]
Slice = Annotated[
    str, typer.Option(help="Such as v4:2x2x4, v4-32, v5litepod-8 or a100-80:8.")
]
Mesh = Annotated[
    str | None,
    typer.Option(help="Such as batch=8,model=4; default: the run's or best."),
]
Side = Annotated[str, typer.Option(help="train or decode.")]
Layout = Annotated[
    str | None, typer.Option(help="data, fsdp, model, fsdp+model or experts.")
]
Batch = Annotated[int | None, typer.Option(min=1, help="Rows per step.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Steps of the run.")]
Length = Annotated[int | None, typer.Option(min=1)]
Paths = Annotated[
    int, typer.Option(min=1, help="Answers per prompt, decoding.")
]
Remat = Annotated[bool | None, typer.Option(help="Compute activations again.")]
Sequence = Annotated[
    bool | None, typer.Option(help="Split activations by length over model.")
]
LossChunk = Annotated[
    int | None, typer.Option(min=0, help="Positions with logits at a time.")
]
QueryChunk = Annotated[
    int | None,
    typer.Option(min=0, help="Queries with scores at a time, in a T5."),
]
Accumulate = Annotated[
    int | None, typer.Option(min=1, help="Parts that a batch is computed in.")
]
Precision = Annotated[
    str | None, typer.Option(help="float32, bfloat16 or mixed_bfloat16.")
]
Dropout = Annotated[float | None, typer.Option(min=0, help="The rate.")]
Compile = Annotated[
    bool, typer.Option("--compile", help="Ask the TPU's own compiler; minutes.")
]
Suggest = Annotated[
    bool, typer.Option("--suggest", help="A table of slices, best first.")
]
Write = Annotated[
    Path | None, path_option("Write the YAML of what fits to a new file.")
]
MaxChips = Annotated[
    int, typer.Option(min=1, help="The largest slice to suggest.")
]


@app.command(context_settings={"allow_interspersed_args": True})
def plan(
    config: Config = None,
    overrides: Overrides = None,
    recipe: Recipe = None,
    preset: Preset = None,
    topology: Slice = "v4:2x2x1",
    mesh: Mesh = None,
    side: Side = "train",
    layout: Layout = None,
    batch: Batch = None,
    steps: Steps = None,
    input_length: Length = None,
    target_length: Length = None,
    paths: Paths = 8,
    remat: Remat = None,
    sequence: Sequence = None,
    loss_chunk: LossChunk = None,
    attention_chunk: QueryChunk = None,
    accumulate: Accumulate = None,
    precision: Precision = None,
    dropout: Dropout = None,
    compile: Compile = False,
    suggest: Suggest = False,
    write: Write = None,
    max_chips: MaxChips = 512,
    json_: Json = False,
) -> None:
    """Plan a job on a TPU: does it fit, how long, and what to change.

    Plans the training run of a YAML as it stands, or a model of the paper.
    """
    given = {
        "model": {
            "remat": remat,
            "query_chunk": attention_chunk,
            "dropout": dropout,
        },
        "data": {
            "input_length": input_length,
            "target_length": target_length,
            "batch_size": batch,
        },
        "optimizer": {"loss_chunk": loss_chunk, "accumulate": accumulate},
        "distribution": {"preset": layout, "sequence": sequence},
        "precision": precision,
    }
    settings: dict[str, Any] = {**_given(given), "side": side, "paths": paths}
    job = _source(config, overrides or [], recipe, preset)
    run = " ".join(map(str, [config or "", *(overrides or [])])).strip()
    if suggest:
        if mesh is not None or compile or write is not None:
            raise InputError(
                "--suggest: it looks for the mesh and prints a table; leave "
                "out --mesh, --compile and --write"
            )
        _suggest(job, topology, max_chips, json_, steps=steps, **settings)
        return
    _plan(job, run, topology, mesh, write, json_, compile, steps, settings)


def _source(
    config: Path | None,
    overrides: list[str],
    recipe: str | None,
    preset: str | None,
) -> Any:
    """Returns a `TrainConfig`, or the name of a preset."""
    if (config is None) == (preset is None):
        raise InputError(
            "plan: expected either a training config, as in `keras-flan plan "
            "train.yaml`, or --preset, as in `--preset flan_t5_xl`"
        )
    if config is None:
        if recipe is not None:
            raise InputError("--recipe: it goes with a config, not --preset")
        return preset
    from keras_flan.training.config import TrainConfig

    return TrainConfig.from_yaml(config, overrides, recipe)


def _plan(
    job: Any,
    run: str,
    topology: str,
    mesh: str | None,
    write: Path | None,
    json_: bool,
    compile: bool,
    steps: int | None,
    settings: dict[str, Any],
) -> None:
    from keras_flan.planning.planner import plan as make
    from keras_flan.planning.report import plan_text
    from keras_flan.planning.writing import write_fitting

    made = make(job, topology, mesh, compile=compile, steps=steps, **settings)
    changed = write_fitting(made, write) if write is not None else []
    if json_:
        print_json(made.as_dict())
        return
    print(plan_text(made, run))
    if write is not None:
        print(f"\nwritten: {write}, for {made.fitting.slice}, with")
        print("  " + (" ".join(changed) or "nothing changed"))


def _suggest(
    job: Any, topology: str, max_chips: int, json_: bool, **settings: Any
) -> None:
    from keras_flan.distribution.chips import chips
    from keras_flan.planning.planner import suggest_plans
    from keras_flan.planning.report import suggestions_text
    from keras_flan.planning.topology import Topology

    chip = topology if topology in chips() else Topology(topology).name
    found = suggest_plans(job, chip, max_chips=max_chips, **settings)
    if json_:
        print_json([planned.as_dict() for planned in found])
    else:
        print(suggestions_text(found, max_chips))


def _given(values: dict[str, Any]) -> dict[str, Any]:
    """Returns what was given; a chunk of 0 is none."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            value = _given(value)
            if not value:
                continue
        elif value is None:
            continue
        elif key.endswith("_chunk"):
            value = value or None
        found[key] = value
    return found
