"""Commands that ask a model: generate, serve."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from keras_flan.cli.options import (
    Json,
    Model,
    Modules,
    NewTokens,
    Overwrite,
    Seed,
    Temperature,
    TopK,
    path_option,
)
from keras_flan.cli.printing import print_json
from keras_flan.errors import InputError

if TYPE_CHECKING:
    from keras_flan.generation.styles import PromptStyle

app = typer.Typer()


# Options of `generate`: how to ask, how to sample, and what to write.
_Input = Annotated[Path | None, path_option("JSONL with a `prompt` per line.")]
_Chat = Annotated[
    bool, Option("--chat", help="Answer conversations: `messages` per line.")
]
_System = Annotated[
    str | None, Option(help="Of --chat: what holds for the conversation.")
]
_ChatTemplate = Annotated[
    str | None, Option(help="Of --chat: chatml, ...; default: the model's.")
]
_Templates = Annotated[
    str | None, Option(help="Ask with these, as mgsm_de; default: generic.")
]
_Template = Annotated[
    int, Option(min=0, help="Which of them, such as a trigger.")
]
_Exemplars = Annotated[
    Path | None,
    path_option("JSONL: question, answer, and rationale for --cot."),
]
_TwoPasses = Annotated[
    bool, Option("--two-passes", help="Reasoning first, then the answer.")
]
_TopP = Annotated[float, Option(max=1, help="Keep tokens up to this share.")]
_Stop = Annotated[list[str] | None, Option(help="Ends an output; repeatable.")]
_Kind = Annotated[
    str,
    Option(
        help="Answers: text, number, option, program, ..., or one of a module."
    ),
]
_Adaptive = Annotated[
    float | None,
    Option(help="Draw no more once the leader is this sure: 0.95."),
]
_Confidence = Annotated[
    Path | None, path_option("What `fit-confidence` wrote: how sure it is.")
]
_AbstainBelow = Annotated[
    float,
    Option(min=0, max=1, help="Give no answer with less confidence: 0.6."),
]
_Output = Annotated[
    Path | None, path_option("Folder for answers.jsonl and trace.html.")
]
_Picture = Annotated[
    Path | None, path_option("A .png, .svg or .pdf of the votes.")
]


@app.command()
def generate(
    model: Model,
    prompt: Annotated[str | None, Option(help="One prompt.")] = None,
    input: _Input = None,
    chat: _Chat = False,
    system: _System = None,
    chat_template: _ChatTemplate = None,
    cot: Annotated[
        bool, Option("--cot", help="Ask for step-by-step reasoning.")
    ] = False,
    templates: _Templates = None,
    template: _Template = 0,
    exemplars: _Exemplars = None,
    two_passes: _TwoPasses = False,
    samples: Annotated[int, Option(min=1, help="Paths per prompt.")] = 1,
    temperature: Temperature = None,
    top_k: TopK = 40,
    top_p: _TopP = 1.0,
    stop: _Stop = None,
    kind: _Kind = "text",
    module: Modules = None,
    adaptive: _Adaptive = None,
    confidence: _Confidence = None,
    abstain_below: _AbstainBelow = 0.0,
    seed: Seed = 0,
    max_new_tokens: NewTokens = 128,
    output: _Output = None,
    picture: _Picture = None,
    overwrite: Overwrite = False,
    json_: Json = False,
) -> None:
    """Generate answers, with k sampled paths and a vote."""
    from keras_flan.answers import KINDS
    from keras_flan.answers.confidence import ConfidenceModel
    from keras_flan.extensions import using
    from keras_flan.generation import trace
    from keras_flan.generation.printing import Printer
    from keras_flan.generation.prompting import ask
    from keras_flan.models.loading import load
    from keras_flan.outputs import check_output

    rows = _read_prompts(prompt, input, chat)
    if (system or chat_template) and not chat:
        raise InputError("--system and --chat-template go with --chat")
    if output:
        check_output(output, trace.ANSWERS, overwrite)
    if picture:
        trace.check_picture(picture, len(rows))
    told = ConfidenceModel.load(confidence) if confidence else None
    style, way = _style(cot, exemplars, templates, template, two_passes)
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
        "abstain_below": abstain_below,
    }
    with using(*(module or [])):
        KINDS.named(kind)  # What is wrong fails before the long load.
        loaded = load(
            model, **({"chat": chat_template} if chat_template else {})
        )
        results = ask(
            loaded,
            () if chat else [row["prompt"] for row in rows],
            messages=[_messages(row, system) for row in rows] if chat else None,
            style=style,
            confidence=told,
            on_path=None if json_ else Printer(len(rows)),
            **settings,
        )
    if output:
        way = {"model": model, **way, **settings}
        trace.write_trace(output, results, way, rows, overwrite)
    if picture:
        trace.draw_votes(picture, results)
    if json_:
        pairs = zip(rows, results, strict=True)
        print_json([{**row, **result.to_dict()} for row, result in pairs])


@app.command()
def serve(
    model: Model,
    host: Annotated[str, Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, Option(min=0, max=65535, help="0 takes a free one.")
    ] = 8000,
    allow_remote: Annotated[
        bool,
        Option("--allow-remote", help="Let other machines reach the address."),
    ] = False,
    chat_template: Annotated[
        str | None,
        Option(help="As for generate, for a model that was saved without."),
    ] = None,
    module: Modules = None,
) -> None:
    """Ask a model on a local web page, or by OpenAI's interface."""
    from keras_flan.extensions import using
    from keras_flan.generation.serving import serve

    def load_model() -> Any:
        from keras_flan.models.loading import load

        chat = {"chat": chat_template} if chat_template else {}
        return load(model, **chat)

    with using(*(module or [])):
        serve(load_model, host, port, allow_remote, model)


def _style(
    cot: bool,
    exemplars: Path | None,
    templates: str | None,
    template: int,
    two_passes: bool,
) -> tuple["PromptStyle | None", dict[str, Any]]:
    """Returns how to ask, and what a trace says of it."""
    from keras_flan.generation.styles import PromptStyle, read_exemplars

    way: dict[str, Any] = {
        "cot": cot,
        "exemplars": read_exemplars(exemplars) if exemplars else [],
        "family": templates or "generic",
        "template": template,
        "two_passes": two_passes,
    }
    # Without any of them a prompt is asked as it is written.
    plain = not (cot or two_passes or templates or template or exemplars)
    return None if plain else PromptStyle(**way), way


def _messages(row: dict, system: str | None) -> list[Any]:
    """Returns a row's conversation; a prompt is a user's turn."""
    messages = row.get("messages")
    if messages is None:
        messages = [{"role": "user", "content": row["prompt"]}]
    first = [] if system is None else [{"role": "system", "content": system}]
    return [*first, *messages]


def _read_prompts(
    prompt: str | None, path: Path | None, chat: bool = False
) -> list[dict]:
    """Returns `[{"prompt": ...}, ...]` from `--prompt` or `--input`.

    With `chat`, a row may have a list of `messages` instead.
    """
    from keras_flan.files import read_jsonl

    if path is None and prompt is not None:
        return [{"prompt": prompt}]
    if path is None or prompt is not None:
        raise InputError("give either --prompt TEXT or --input FILE.jsonl")
    rows = read_jsonl(path)
    for number, row in enumerate(rows, 1):
        if chat and isinstance(row.get("messages"), list):
            continue
        if not isinstance(row.get("prompt"), str):
            hint = " or a list under 'messages'" if chat else ""
            raise InputError(
                f"{path}:{number}: expected a text under 'prompt'{hint}, found "
                f"the keys {sorted(row)}"
            )
    return rows
