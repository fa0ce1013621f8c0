"""Commands about prompts and reasoning: which is best, does it count?"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from keras_flan.cli.options import (
    Json,
    Model,
    Modules,
    NewTokens,
    Overwrite,
    Seed,
    path_argument,
    path_option,
)
from keras_flan.cli.printing import names_and_numbers, print_json
from keras_flan.errors import InputError

app = typer.Typer()


@app.command()
def faithfulness(
    outputs: Annotated[
        Path, path_argument("A run's folder, or JSONL: prompt, target, output.")
    ],
    model: Model,
    output: Annotated[Path, path_option("The folder to write.")],
    limit: Annotated[int, Option(min=1, help="Chains.")] = 100,
    kind: Annotated[
        str | None, Option(help="Kind of the answers. [default: the row's]")
    ] = None,
    gradients: Annotated[
        bool, Option(help="Ask gradients too: a model's own view of steps.")
    ] = True,
    module: Modules = None,
    overwrite: Overwrite = False,
    json_: Json = False,
) -> None:
    """Change the reasoning of outputs, and look what the answers do."""
    from keras_flan.answers import infer_kind
    from keras_flan.answers.cues import cut_at_stop
    from keras_flan.evaluation.faithfulness.chains import Chain, chain_of
    from keras_flan.evaluation.faithfulness.measures import measure
    from keras_flan.evaluation.faithfulness.page import (
        FAITHFULNESS,
        measure_lines,
        write_faithfulness,
    )
    from keras_flan.evaluation.scores.predictions import read_predictions
    from keras_flan.extensions import using
    from keras_flan.models.loading import load
    from keras_flan.outputs import check_output

    check_output(output, FAITHFULNESS, overwrite)
    with using(*(module or [])):
        rows = read_predictions(outputs)
        chains: list[Chain] = []
        for row in rows:
            rationale: Any = row.extra.get("rationale")
            found = chain_of(
                row.prompt or "",
                cut_at_stop(row.outputs[0], row.stop),
                kind or row.answer_kind or infer_kind(row.target),
                options=row.options,
                rationale=rationale if isinstance(rationale, str) else None,
                language=row.language,
            )
            if found is not None and row.prompt:
                chains.append(found)
        if not chains:
            raise InputError(
                f"{outputs}: none of the {len(rows)} outputs has steps before "
                "its answer; ask with --mode cot"
            )
        left_out = len(rows) - len(chains)
        results = measure(load(model), chains[:limit], gradients=gradients)
    told = write_faithfulness(
        output,
        results,
        {
            "model": model,
            "outputs": outputs,
            "chains": len(results),
            "without steps, an answer or another candidate": left_out,
        },
        overwrite,
    )
    if left_out:
        print(
            f"{left_out} of {len(rows)} outputs have no steps, no answer, or "
            "no other candidate to compare it with, and are left out",
            file=sys.stderr,
        )
    if json_:
        print_json(told)
        return
    from rich.console import Console

    table = names_and_numbers(
        "share of", ("mean", "95%", "chains"), f"{len(results)} chains"
    )
    for line in measure_lines(told):
        table.add_row(*line)
    Console(highlight=False).print(table)


_Candidates = Annotated[
    Path | None, path_option("JSONL: name, and prompt with {question}.")
]
_Solved = Annotated[
    Path | None, path_option("JSONL of exemplars: question, answer, rationale.")
]


@app.command("search-prompts")
def search_prompts(
    questions: Annotated[Path, path_argument("JSONL: question, answer.")],
    model: Model,
    output: Annotated[Path, path_option("The folder to write.")],
    test: Annotated[
        int, Option(min=2, help="Questions kept for the end.")
    ] = 100,
    first: Annotated[
        int, Option(min=1, help="Questions of the first round.")
    ] = 16,
    cot: Annotated[
        bool, Option("--cot/--direct", help="Ask for the reasoning.")
    ] = True,
    templates: Annotated[
        list[str] | None, Option(help="Families. [default: generic]")
    ] = None,
    exemplars: _Solved = None,
    shots: Annotated[int, Option(min=1, help="Exemplars.")] = 3,
    candidates: _Candidates = None,
    propose: Annotated[
        int, Option(min=0, help="Instructions that a model proposes.")
    ] = 0,
    proposer: Annotated[
        str | None, Option(help="That model. [default: the same]")
    ] = None,
    kind: Annotated[
        str | None, Option(help="Kind of the answers. [default: as they look]")
    ] = None,
    max_new_tokens: NewTokens = 128,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    json_: Json = False,
) -> None:
    """Search for the way to ask that a model answers best."""
    from keras_flan.files import read_jsonl
    from keras_flan.generation.styles import read_exemplars
    from keras_flan.models.loading import load
    from keras_flan.outputs import check_output
    from keras_flan.search.candidates import library_candidates, read_candidates
    from keras_flan.search.halving import search_prompts
    from keras_flan.search.proposing import Reflection
    from keras_flan.search.report import SEARCH, lines, write_search

    check_output(output, SEARCH, overwrite)
    rows = read_jsonl(questions)
    tried = library_candidates(
        read_exemplars(exemplars) if exemplars else (),
        families=templates or ("generic",),
        cot=cot,
        shots=shots,
        seed=seed,
    )
    tried += read_candidates(candidates) if candidates else []
    loaded = load(model)
    larger = load(proposer) if proposer else loaded
    found = search_prompts(
        loaded,
        rows,
        tried,
        kind=kind,
        test=test,
        first=first,
        propose=Reflection(larger, propose, seed=seed) if propose else None,
        max_new_tokens=max_new_tokens,
        seed=seed,
    )
    told = {"model": model, "questions": questions, "seed": seed, "cot": cot}
    write_search(output, found, {k: str(v) for k, v in told.items()}, overwrite)
    if json_:
        print_json(found)
        return
    for name, value in lines(found):
        print(f"{name}: {value}")
