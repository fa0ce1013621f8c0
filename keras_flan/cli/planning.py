"""The command that plans jobs on TPUs."""

from typing import Annotated, Any

import typer

from keras_flan.cli.options import Json
from keras_flan.cli.printing import print_json
from keras_flan.errors import InputError

app = typer.Typer()

Preset = Annotated[
    str, typer.Option(help="A model of the paper, such as flan_t5_xl.")
]
Slice = Annotated[
    str, typer.Option(help="The slice of a TPU, such as v4:8x8x8.")
]
Mesh = Annotated[
    str | None,
    typer.Option(help="Such as batch=32,model=32; default: the fastest."),
]
Side = Annotated[str, typer.Option(help="train or decode.")]
Layout = Annotated[str, typer.Option(help="data, fsdp, model or fsdp+model.")]
Batch = Annotated[
    int | None, typer.Option(min=1, help="Rows per step; the paper's.")
]
Steps = Annotated[int | None, typer.Option(min=1, help="Steps; the paper's.")]
Length = Annotated[int, typer.Option(min=1)]
Paths = Annotated[
    int, typer.Option(min=1, help="Answers per prompt, decoding.")
]
Remat = Annotated[bool, typer.Option(help="Compute activations again.")]
Sequence = Annotated[
    bool, typer.Option(help="Split activations by length over model.")
]
LossChunk = Annotated[
    int, typer.Option(min=0, help="Positions with logits at a time.")
]
QueryChunk = Annotated[
    int, typer.Option(min=0, help="Queries with scores at a time, in a T5.")
]
Compile = Annotated[
    bool, typer.Option("--compile", help="Ask the TPU's own compiler; minutes.")
]
Suggest = Annotated[
    bool, typer.Option("--suggest", help="The smallest and the fastest slice.")
]
MaxChips = Annotated[
    int, typer.Option(min=1, help="The largest slice to suggest.")
]


@app.command()
def plan(
    preset: Preset,
    topology: Slice = "v4:2x2x1",
    mesh: Mesh = None,
    side: Side = "train",
    layout: Layout = "fsdp+model",
    batch: Batch = None,
    steps: Steps = None,
    input_length: Length = 2048,
    target_length: Length = 512,
    paths: Paths = 8,
    remat: Remat = True,
    sequence: Sequence = True,
    loss_chunk: LossChunk = 256,
    attention_chunk: QueryChunk = 256,
    compile: Compile = False,
    suggest: Suggest = False,
    max_chips: MaxChips = 512,
    json_: Json = False,
) -> None:
    """Plan a job on a TPU: memory, operations, hours, and what to change."""
    from keras_flan.planning.planner import plan as make
    from keras_flan.planning.planner import suggest_plans
    from keras_flan.planning.report import plan_text

    data = {"input_length": input_length, "target_length": target_length}
    if batch is not None:
        data["batch_size"] = batch
    settings: dict[str, Any] = {
        "side": side,
        "paths": paths,
        "model": {"remat": remat, "query_chunk": attention_chunk or None},
        "data": data,
        "optimizer": {"loss_chunk": loss_chunk or None},
        "distribution": {"preset": layout, "sequence": sequence},
        "compile": compile,
        "steps": steps,
    }
    if not suggest:
        made = make(preset, topology, mesh, **settings)
        print_json(made.as_dict()) if json_ else print(plan_text(made))
        return
    if mesh is not None:
        raise InputError("--suggest: it looks for the mesh; leave out --mesh")
    chip = topology.partition(":")[0]
    found = suggest_plans(preset, chip, max_chips=max_chips, **settings)
    if json_:
        print_json({name: p and p.as_dict() for name, p in found.items()})
        return
    for name, planned in found.items():
        print(f"{name} slice that fits:")
        print(
            plan_text(planned) if planned else f"none, up to {max_chips} chips"
        )
