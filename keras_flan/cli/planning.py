"""The command that plans jobs on TPUs."""

from typing import Annotated

import typer

from keras_flan.cli.options import Json
from keras_flan.cli.printing import print_json
from keras_flan.errors import InputError

app = typer.Typer()


@app.command()
def plan(
    preset: Annotated[
        str, typer.Option(help="A model of the paper, such as flan_t5_xl.")
    ],
    topology: Annotated[
        str, typer.Option(help="The slice of a TPU, such as v4:8x8x8.")
    ] = "v4:2x2x1",
    mesh: Annotated[
        str | None,
        typer.Option(help="Such as batch=32,model=32; default: the fastest."),
    ] = None,
    side: Annotated[str, typer.Option(help="train or decode.")] = "train",
    layout: Annotated[
        str, typer.Option(help="data, fsdp, model or fsdp+model.")
    ] = "fsdp+model",
    batch: Annotated[
        int | None, typer.Option(min=1, help="Rows a step; the paper's.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps; the paper's.")
    ] = None,
    input_length: Annotated[int, typer.Option(min=1)] = 2048,
    target_length: Annotated[int, typer.Option(min=1)] = 512,
    paths: Annotated[
        int, typer.Option(min=1, help="Answers a prompt, decoding.")
    ] = 8,
    remat: Annotated[
        bool, typer.Option(help="Compute activations again.")
    ] = True,
    sequence: Annotated[
        bool, typer.Option(help="Split activations by length over model.")
    ] = True,
    loss_chunk: Annotated[
        int, typer.Option(min=0, help="Positions with logits at a time.")
    ] = 256,
    attention_chunk: Annotated[
        int, typer.Option(min=0, help="Queries with scores at a time.")
    ] = 256,
    compile: Annotated[
        bool,
        typer.Option("--compile", help="Ask the TPU's own compiler; minutes."),
    ] = False,
    suggest: Annotated[
        bool,
        typer.Option("--suggest", help="The smallest and the fastest slice."),
    ] = False,
    max_chips: Annotated[
        int, typer.Option(min=1, help="The largest slice to suggest.")
    ] = 512,
    json_: Json = False,
) -> None:
    """Plan a job on a TPU: memory, operations, hours, and what to change."""
    from keras_flan.planning.planner import plan as make
    from keras_flan.planning.planner import suggest_plans
    from keras_flan.planning.report import plan_text

    settings = {
        "side": side,
        "layout": layout,
        "input_length": input_length,
        "target_length": target_length,
        "paths": paths,
        "remat": remat,
        "sequence": sequence,
        "loss_chunk": loss_chunk,
        "attention_chunk": attention_chunk,
    }
    if batch is not None:
        settings["batch"] = batch
    if not suggest:
        made = make(
            preset, topology, mesh, compile=compile, steps=steps, **settings
        )
        print_json(made.as_dict()) if json_ else print(plan_text(made))
        return
    if mesh is not None:
        raise InputError("--suggest: it looks for the mesh; leave out --mesh")
    found = suggest_plans(
        preset,
        topology.partition(":")[0],
        max_chips=max_chips,
        compile=compile,
        steps=steps,
        **settings,
    )
    if json_:
        print_json(
            {name: made and made.as_dict() for name, made in found.items()}
        )
        return
    for name, made in found.items():
        print(f"{name} slice that fits:")
        if made is None:
            print(f"none, up to {max_chips} chips")
        else:
            print(plan_text(made))
