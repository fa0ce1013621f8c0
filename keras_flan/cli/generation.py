"""Commands that ask a model: generate, serve."""

from pathlib import Path
from typing import Annotated, Any

import typer

from keras_flan.cli.options import Json, Seed, print_json
from keras_flan.errors import InputError

app = typer.Typer()


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
    templates: Annotated[
        str | None,
        typer.Option(help="Ask with these, as mgsm_de; default: generic."),
    ] = None,
    template: Annotated[
        int, typer.Option(min=0, help="Which of them, such as a trigger.")
    ] = 0,
    exemplars: Annotated[
        Path | None,
        typer.Option(help="JSONL: question, answer, and rationale for --cot."),
    ] = None,
    two_passes: Annotated[
        bool,
        typer.Option("--two-passes", help="Reasoning first, then the answer."),
    ] = False,
    samples: Annotated[int, typer.Option(min=1, help="Paths a prompt.")] = 1,
    temperature: Annotated[
        float | None,
        typer.Option(min=0, help="Default: 0 for one path, else 0.7."),
    ] = None,
    top_k: Annotated[
        int, typer.Option(min=0, help="0 keeps the whole vocabulary.")
    ] = 40,
    top_p: Annotated[
        float, typer.Option(max=1, help="Keep tokens up to this share.")
    ] = 1.0,
    stop: Annotated[
        list[str] | None, typer.Option(help="Ends an output; repeatable.")
    ] = None,
    kind: Annotated[
        str, typer.Option(help="Answers: text, number, option, program, ...")
    ] = "text",
    adaptive: Annotated[
        float | None,
        typer.Option(help="Draw no more when the leader is so sure: 0.95."),
    ] = None,
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
    from keras_flan.generation.printing import Printer
    from keras_flan.generation.prompting import ask
    from keras_flan.generation.styles import PromptStyle, read_exemplars
    from keras_flan.models.loading import load

    rows = _read_prompts(prompt, input)
    if picture:
        trace.check_picture(picture, len(rows))
    way: dict[str, Any] = {
        "cot": cot,
        "exemplars": read_exemplars(exemplars) if exemplars else [],
        "family": templates or "generic",
        "template": template,
        "two_passes": two_passes,
    }
    # Without any of them a prompt is asked as it is written.
    style = (
        PromptStyle(**way)
        if cot or two_passes or templates or template or exemplars
        else None
    )
    settings: dict[str, Any] = {
        "samples": samples,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "stop": stop or (),
        "kind": kind,
        "seed": seed,
        "max_new_tokens": max_new_tokens,
        "adaptive": adaptive,
    }
    results = ask(
        load(model),
        [row["prompt"] for row in rows],
        style=style,
        on_path=None if json_ else Printer(len(rows)),
        **settings,
    )
    if output:
        told = {"model": model, **way, **settings}
        trace.write_trace(output, results, told, rows)
    if picture:
        trace.draw_votes(picture, results)
    if json_:
        print_json(
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
