"""The model card of a run, from the run's own files."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_flan.errors import InputError
from keras_flan.files import atomic_write, read_json_object
from keras_flan.models.hub import PREFIX
from keras_flan.pages.cards import CARD_FILE, LOADS, model_card
from keras_flan.pages.tables import markdown
from keras_flan.storage import as_path
from keras_flan.training.config import TrainConfig
from keras_flan.training.finished import TrainedRun, load_trained

_LIMITS = """The model can be wrong, and sound sure. It has been measured on
what stands under Scores, and on nothing else; what it says may repeat what is
harmful or untrue in its data or in the data of its base. Do not let it decide
about people."""
# Hugging Face's word for what is not said.
_UNKNOWN = "unknown"


def write_card(
    run: str | os.PathLike,
    scores: Iterable[str | os.PathLike] = (),
    *,
    license: str | None = None,
    languages: Sequence[str] = (),
) -> Path:
    """Writes the model card of a finished training.

    It has the base, the data with their licences and digests, the settings,
    losses and scores, and says what nobody has said: a licence that is not
    given is `unknown`. `train` writes one without scores.

    Args:
        run: The output of `train`.
        scores: Outputs of `evaluate`.
        license: Hugging Face's name of the model's licence, such as
            `apache-2.0`. That of the base and those of the data may ask for
            one.
        languages: Codes of the languages, such as `en`.

    Returns:
        The card, `model/README.md` in the run's folder (without a model of
        its own, `README.md`).

    Raises:
        InputError: If the run is not finished, or an output has no scores.

    Example:
        >>> write_card("runs/mine", ["runs/gsm8k"], license="apache-2.0")
        PosixPath('runs/mine/model/README.md')

    Source: Mitchell et al., arXiv:1810.03993.
    """
    folder = as_path(run)
    [its] = load_trained([folder])
    text = run_card(its, _scores(scores), license, languages)
    place = folder / "model" if (folder / "model").is_dir() else folder
    with atomic_write(place / CARD_FILE) as f:
        f.write(text)
    return place / CARD_FILE


def write_own_card(
    config: TrainConfig,
    model: str | os.PathLike,
    metrics: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> None:
    """Writes the card of a run that has just ended.

    Args:
        config: Its settings.
        model: The folder of its model; that of an adapter has none.
        metrics: What its `metrics.json` holds.
        facts: See `run_facts`.
    """
    folder = as_path(model)
    if folder.is_dir():
        name, values = config.output.name, config.model_dump(mode="json")
        with atomic_write(folder / CARD_FILE) as f:
            f.write(run_card(TrainedRun(name, values, metrics, facts)))


def run_card(
    run: TrainedRun,
    scores: Sequence[Mapping[str, Any]] = (),
    license: str | None = None,
    languages: Sequence[str] = (),
) -> str:
    """Returns the card of a run; see `write_card`.

    Args:
        run: The run.
        scores: What `metrics.json` of evaluations holds.
        license: See `write_card`.
        languages: See `write_card`.
    """
    base = str(run.config.get("model", {}).get("init") or "")
    metadata = {
        "license": license or _UNKNOWN,
        "language": list(languages),
        "library_name": "keras-hub",
        "base_model": base.removeprefix(PREFIX)
        if base.startswith(PREFIX)
        else "",
        "tags": ["keras_flan", "instruction-tuning"],
        "model-index": _index(run.name, scores),
    }
    command = "improve" if "rounds" in run.metrics else "train"
    sections = {
        "Use": LOADS,
        "Base": base or "None: its weights were drawn.",
        "Data": _data(run),
        "Training": _training(run),
        "Scores": _score_table(scores) or "None yet.",
        "Licences": _licences(run, license),
        "Limits": _LIMITS,
        "Made again": f"`keras-flan {command} config.yaml`, with the "
        "`config.yaml` of the run's folder and the records above.",
    }
    return model_card(run.name, metadata, sections)


def _scores(folders: Iterable[str | os.PathLike]) -> list[dict[str, Any]]:
    found = []
    for folder in map(as_path, folders):
        metrics = read_json_object(folder / "metrics.json", allow_nan=True)
        if not {"benchmark", "accuracy", "interval", "n", "run"} <= set(
            metrics
        ):
            raise InputError(
                f"{folder / 'metrics.json'}: expected the scores of an "
                "evaluation; give outputs of `keras-flan evaluate`"
            )
        found.append(metrics)
    return found


def _data(run: TrainedRun) -> str:
    """Returns a table of the tasks, with what identifies their records."""
    digests = run.facts.get("data", {})
    known = run.facts.get("tasks", {})
    rows = [
        (
            name,
            f"{known[name]['examples']:,}" if name in known else "",
            known.get(name, {}).get("license") or _UNKNOWN,
            known.get(name, {}).get("source") or _UNKNOWN,
            f"`{digest[:16]}`",
        )
        for name, digest in sorted(digests.items())
    ]
    header = ("task", "examples", "licence", "source", "SHA-256 of records")
    mixture = run.config.get("mixture")
    return f"Mixture: {mixture}.\n\n{markdown(header, rows).rstrip()}"


def _training(run: TrainedRun) -> str:
    metrics, config = run.metrics, run.settings
    losses, rounds = metrics.get("loss"), metrics.get("rounds")
    facts = {
        "parameters": f"{metrics['parameters']:,}"
        if "parameters" in metrics
        else "",
        "steps": f"{metrics['steps']:,}",
        "loss per target token": f"{losses[0]:.3f} to {losses[-1]:.3f}"
        if losses
        else "",
        "on its own answers": f"{config['method']}, {len(rounds)} rounds"
        if rounds
        else "",
        "held out": _held_out(run),
        "rows per step": config.get("data.batch_size", ""),
        "tokens of inputs and targets": f"{config.get('data.input_length')}, "
        f"{config.get('data.target_length')}",
        "optimizer": f"{config.get('optimizer.name')}, rate "
        f"{config.get('optimizer.learning_rate')}",
        "adapter": config.get("adapter.kind", ""),
        "precision": config.get("precision", ""),
        "seed": str(run.facts.get("seed", "")),
        "seconds": f"{metrics['seconds']['total']:,.0f}",
        "versions": ", ".join(
            f"{name} {version}"
            for name, version in run.facts.get("versions", {}).items()
            if version
        ),
    }
    return markdown(("", ""), [row for row in facts.items() if row[1]]).rstrip()


def _held_out(run: TrainedRun) -> str:
    its = run.held_out
    if not its.get("loss"):
        return ""
    return (
        f"loss {its['loss'][0]:.3f} to {its['loss'][-1]:.3f}, best at step "
        f"{its['best']}"
    )


def _score_table(scores: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            its["benchmark"],
            f"{its['run'].get('mode')}, {its['run'].get('shots')} exemplars, "
            f"{its['run'].get('samples')} paths",
            f"{its['n']:,}",
            f"{100 * its['accuracy']:.1f}% "
            f"({100 * its['interval'][0]:.1f} to "
            f"{100 * its['interval'][1]:.1f})",
        )
        for its in scores
    ]
    if not rows:
        return ""
    header = ("benchmark", "asked", "questions", "accuracy (95% interval)")
    return markdown(header, rows).rstrip()


def _licences(run: TrainedRun, license: str | None) -> str:
    tasks = run.facts.get("tasks", {}).values()
    names = sorted({task["license"] or _UNKNOWN for task in tasks})
    said = f"Of the data: {', '.join(names)}." if names else ""
    own = license or "not given by who made it"
    return f"Of this model: {own}. {said} That of the base holds too.".strip()


def _index(
    name: str, scores: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Returns the scores as Hugging Face's index of results has them."""
    if not scores:
        return []
    results = [
        {
            "task": {"type": "text-generation"},
            "dataset": {"name": its["benchmark"], "type": its["benchmark"]},
            "metrics": [
                {
                    "type": "accuracy",
                    "value": round(100 * its["accuracy"], 2),
                    "name": f"accuracy, {its['run'].get('mode')}, "
                    f"{its['n']} questions",
                }
            ],
        }
        for its in scores
    ]
    return [{"name": name, "results": results}]
