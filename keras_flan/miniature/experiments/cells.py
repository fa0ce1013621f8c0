"""Runs cells: one finetuning run and its evaluation each.

The model of a base is made once and gets its old weights back before each
cell, so that training step and decoding are compiled once for all cells.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import yaml

from keras_flan.data.templates.cutting import few_templates
from keras_flan.files import atomic_write, read_json, write_json
from keras_flan.miniature.experiments.plan import (
    GROUPS,
    Cell,
    Evaluation,
    PretrainedBase,
    View,
    content_hash,
)
from keras_flan.miniature.experiments.scores import (
    accuracy_by_paths,
    calibration,
)
from keras_flan.miniature.pretraining.pretrain import pretrain
from keras_flan.miniature.universe import (
    ALL,
    DEBUGGING,
    HELD_OUT_FAMILIES,
    TASKS,
    Draws,
    ensure_records,
)
from keras_flan.miniature.universe.specs import TaskSpec

if TYPE_CHECKING:
    from keras_flan.models.t5.model import T5

# Scores by view, see `Bench.run`.
CellScores: TypeAlias = dict[str, dict]
# Raise it when a cell would give other numbers for the same settings.
CELL_VERSION = 2
_NEW_TOKENS = {"direct": 24, "cot": 64}
# Where programs are written.
_PROGRAM_TOKENS = {"direct": 48, "cot": 112}
# Examples that exemplars come from, beside those that are asked.
_EXEMPLARS = 20


class Bench:
    """Runs cells in one folder, which keeps records and bases.

    Args:
        output: The folder.
        bases: The pretrained models, by name.
        evaluation: How much is asked.
        quiet: Whether to print nothing.
        prepared: Whether another process called `prepare` for it.
    """

    def __init__(
        self,
        output: Path,
        bases: Mapping[str, PretrainedBase],
        evaluation: Evaluation,
        quiet: bool = False,
        prepared: bool = False,
    ) -> None:
        self._output = output
        self._bases = bases
        self._evaluation = evaluation
        self._quiet = quiet
        self._prepared = prepared
        self._models: dict[tuple[str, str], _Start] = {}
        self._made: set[tuple[str, str]] = set()
        self.asked = asked_tasks(evaluation)

    def key(self, cell: Cell, view: View) -> str:
        """Returns the hash of all that decides a cell's scores in a view."""
        from keras_flan.miniature.universe import GENERATOR_VERSION
        from keras_flan.models.presets import digest, shipped

        base = self._bases[cell.base]
        settings = cell.model_dump(mode="json")
        if cell.debugging == "none":
            del settings["debugging"]  # As before there were such tasks.
        return content_hash(
            CELL_VERSION,
            GENERATOR_VERSION,
            settings,
            view,
            digest(base.preset) if base.preset in shipped() else base,
            self._evaluation,
        )

    def scores(self, cell: Cell, views: Mapping[str, View]) -> CellScores:
        """Returns a cell's scores by view: the kept ones, or new ones."""
        files = {
            name: self._output / "cells" / f"{self.key(cell, view)}.json"
            for name, view in views.items()
        }
        missing = {n: v for n, v in views.items() if not files[n].is_file()}
        if missing:
            for name, scores in self.run(cell, missing).items():
                row = {
                    "cell": cell.model_dump(mode="json"),
                    "view": views[name].model_dump(mode="json"),
                    "scores": scores,
                }
                write_json(files[name], row)
        return {
            name: read_json(path, allow_nan=True)["scores"]
            for name, path in files.items()
        }

    def run(self, cell: Cell, views: Mapping[str, View]) -> CellScores:
        """Trains and evaluates.

        Returns:
            Scores by view: `tasks` (accuracy by task), `n` (examples of
            each), and after a vote `by_paths` and `calibration`.
        """
        model = self.trained(cell)
        programs = cell.debugging != "none"
        return {
            name: self._ask(model, view, programs)
            for name, view in views.items()
        }

    def trained(self, cell: Cell) -> "T5":
        """Returns the model of a cell; the next cell changes its weights."""
        model = self._start(cell.base, cell.method).again()
        if cell.steps:
            self._train(model, cell)
        return model

    def prepare(self, cells: Sequence[Cell]) -> None:
        """Makes what several cells use: pretrained bases and records."""
        for base in dict.fromkeys(cell.base for cell in cells):
            self._load(base)
        for own, number in dict.fromkeys(
            (c.templates, c.train_examples) for c in cells
        ):
            self._train_records(drawn_tasks(None, 0), number, own)
        for mode in ("direct", "cot"):
            self._asked_records(mode)

    def compute(self, base: str) -> dict[str, float]:
        """Returns what pretraining a base took: steps and tokens."""
        config = self._bases[base].config()
        steps = config.steps + config.practice
        return {"steps": steps, "tokens": config.tokens}

    def _start(self, base: str, method: str) -> "_Start":
        if (base, method) not in self._models:
            self._models[base, method] = _Start(self._load(base), method)
        return self._models[base, method]

    def _load(self, name: str) -> "T5":
        from keras_flan.models.presets import read_preset, shipped
        from keras_flan.models.t5.model import T5

        base = self._bases[name]
        if base.preset in shipped():
            return T5.from_preset(base.preset)
        folder = self._output / "bases" / f"{name}-{content_hash(base)}"
        if self._prepared:
            # To look whether it is done it would be locked; others look too.
            return read_preset(folder / "preset")
        return read_preset(pretrain(folder, base.config(), quiet=self._quiet))

    def _train(self, model: "T5", cell: Cell) -> None:
        from keras_flan.data.mixtures.mixture import Mixture
        from keras_flan.data.pipeline.pipeline import build_dataset

        folder = self._output / "mixtures"
        path = folder / f"{content_hash(cell)}.yaml"
        with atomic_write(path) as f:
            yaml.safe_dump(self._mixture(cell), f, sort_keys=False)
        dataset = build_dataset(
            Mixture.from_yaml(path),
            model.vocabulary,
            input_length=cell.input_length,
            target_length=cell.target_length,
            batch_size=cell.batch_size,
            seed=cell.seed,
            chunk=1024,
        )
        model.optimizer.learning_rate = cell.learning_rate
        model.fit(dataset, steps_per_epoch=cell.steps, shuffle=False, verbose=0)

    def _mixture(self, cell: Cell) -> dict:
        own = cell.templates
        names = drawn_tasks(cell.tasks, cell.seed)
        before = list(names)
        if cell.debugging in ("joint", "last"):
            names += [s.name for s in DEBUGGING.values() if not s.held_out]
        records = self._train_records(names, cell.train_examples, own)
        family = None if own is None else self._few_templates(own)

        def groups(names: Sequence[str], formats: dict) -> dict:
            return _groups(names, formats, cell.balance, family)

        formats = {f.value: weight for f, weight in cell.formats.items()}
        mixture = {
            "name": "miniature",
            "records": str(records.absolute()),
            "split": "train",
            "shots": 2,
            "flan_rounds": True,
        }
        first = {
            "joint": None,
            "fewer_first": (names[: max(1, len(names) // 4)], formats),
            "direct_first": (names, _direct(formats)),
        }[cell.stages]
        if cell.debugging == "last":
            first = first or (before, formats)
        if first is None:
            return {**mixture, "groups": groups(names, formats)}
        stages = [
            {"steps": max(1, cell.steps // 2), "groups": groups(*first)},
            {"groups": groups(names, formats)},
        ]
        return {**mixture, "stages": stages}

    def _train_records(
        self, names: Sequence[str], number: int, templates: int | None
    ) -> Path:
        return self._records(
            f"train-{number}-{templates or 'all'}",
            names,
            {"train": number},
            templates,
        )

    def _asked_records(
        self, mode: str, programs: bool = False
    ) -> tuple[Path, list[str]]:
        """Returns the folder, and the names of the tasks for a mode."""
        names = [
            name
            for group in self.asked.values()
            for name in group
            if mode == "direct" or TASKS[name].reasoning
        ]
        if programs:
            names += held_out_bugs()
        number = self._evaluation.examples
        sizes = {"train": _EXEMPLARS, "test": number}
        return self._records(f"asked-{number}", names, sizes), names

    def _records(
        self,
        name: str,
        tasks: Sequence[str],
        sizes: Mapping[str, int],
        templates: int | None = None,
    ) -> Path:
        """Makes records once in a process; returns their folder."""
        folder = self._output / "records" / name
        new = [task for task in tasks if (name, task) not in self._made]
        ensure_records(
            folder, tasks=new, sizes=sizes, templates=templates, splits=sizes
        )
        self._made.update((name, task) for task in new)
        return folder

    def _few_templates(self, number: int) -> str:
        """Writes the generic templates, cut to the first few of each list."""
        cut = few_templates("generic", number)
        path = self._output / "mixtures" / f"generic-{number}.yaml"
        with atomic_write(path) as f:
            yaml.safe_dump(cut, f, sort_keys=False)
        return str(path.absolute())

    def _ask(self, model: "T5", view: View, programs: bool) -> dict:
        from keras_flan.evaluation.runs.evaluate import evaluate
        from keras_flan.evaluation.scores.predictions import read_predictions

        number = self._evaluation.examples
        records, names = self._asked_records(view.mode, programs)
        longest = _PROGRAM_TOKENS if programs else _NEW_TOKENS
        with tempfile.TemporaryDirectory() as folder:
            metrics = evaluate(
                model,
                "records",
                records,
                output=folder,
                mode=view.mode,
                shots=view.shots,
                samples=view.samples,
                tasks=names,
                limit=number,
                max_new_tokens=longest[view.mode],
            )
            rows = read_predictions(folder)
        result = {
            "n": number,
            "tasks": {
                name: round(metrics["tasks"][name]["accuracy"], 6)
                for name in names
            },
        }
        if view.samples > 1:
            result["by_paths"] = accuracy_by_paths(rows, view.samples)
            result["calibration"] = calibration(rows)
        return result


# The settings of each kind of adapter.
_ADAPTERS = {"lora": {"rank": 8}, "houlsby": {"width": 16}}


class _Start:
    """A model that can be brought back to where it began."""

    def __init__(self, model: "T5", method: str) -> None:
        from keras_flan.models.adapters.saving import KINDS
        from keras_flan.models.kept_values import KeptValues
        from keras_flan.training.adafactor import Adafactor
        from keras_flan.training.losses import TokenCrossentropy

        if method in KINDS:
            KINDS[method].add(model, **_ADAPTERS[method])
        optimizer = Adafactor(1e-3)
        optimizer.build(model.trainable_variables)
        model.compile(optimizer=optimizer, loss=TokenCrossentropy())
        self._model = model
        self._values = KeptValues([*model.variables, *optimizer.variables])

    def again(self) -> "T5":
        """Returns the model as it was, its optimizer too."""
        self._values.restore()
        return self._model


# === Tasks ===


def drawn_tasks(number: int | None, seed: int) -> list[str]:
    """Returns names of trained tasks in an order that the seed decides.

    The order takes a task of each family in turn, so that few tasks are of
    many families; fewer tasks are the beginning of more.

    Args:
        number: How many; None is all.
        seed: Seed of the order.
    """
    draws = Draws(f"miniature/{seed}")
    trained = [spec for spec in TASKS.values() if not spec.held_out]
    return _in_turn(draws.shuffled(trained))[:number]


def asked_tasks(evaluation: Evaluation) -> dict[str, list[str]]:
    """Returns the tasks of the evaluation by group: of many families each.

    Example:
        >>> asked_tasks(Evaluation(held_out_families=2))["held_out_families"]
        ['money_change', 'ordering']
    """
    members: dict[str, list[TaskSpec]] = {group: [] for group in GROUPS}
    for spec in Draws("miniature/asked").shuffled(list(TASKS.values())):
        if not spec.held_out:
            members["trained"].append(spec)
        elif spec.family in HELD_OUT_FAMILIES:
            members["held_out_families"].append(spec)
        else:
            members["held_out_tasks"].append(spec)
    return {
        group: _in_turn(specs)[: getattr(evaluation, group)]
        for group, specs in members.items()
    }


def held_out_bugs() -> list[str]:
    """Returns the tasks of kinds of bugs that no training shows."""
    return [spec.name for spec in DEBUGGING.values() if spec.held_out]


def _in_turn(specs: Sequence[TaskSpec]) -> list[str]:
    """Orders tasks so that families take turns."""
    seen: dict[str, int] = {}
    rounds = []
    for place, spec in enumerate(specs):
        seen[spec.family] = seen.get(spec.family, 0) + 1
        rounds.append((seen[spec.family], place, spec.name))
    return [name for _, _, name in sorted(rounds)]


def _direct(formats: dict[str, float]) -> dict[str, float]:
    """Returns the formats without rationales."""
    found = {k: v for k, v in formats.items() if not k.endswith("cot")}
    return found or {"zero_shot_direct": 1.0}


def _groups(
    names: Sequence[str],
    formats: dict[str, float],
    balance: bool,
    templates: str | None,
) -> dict:
    """Returns the groups of a mixture: one per family, or one of all.

    A task without rationales is asked for its answer at once in any format.
    """
    groups: dict[str, dict] = {}
    for name in names:
        spec = ALL[name]
        own = formats if spec.reasoning else _plain(formats)
        key = spec.family if balance else "all"
        if not spec.reasoning:
            key += "_direct"
        group = groups.setdefault(key, {"formats": own, "tasks": []})
        entry = {"name": name}
        if templates:
            entry["templates"] = templates
        group["tasks"].append(entry)
    if balance:
        for key, group in groups.items():
            # The two groups of one family share its part.
            family = key.removesuffix("_direct")
            total = sum(
                len(g["tasks"])
                for k, g in groups.items()
                if k.removesuffix("_direct") == family
            )
            group["proportion"] = len(group["tasks"]) / total
    return groups


def _plain(formats: dict[str, float]) -> dict[str, float]:
    """Returns formats that need no rationale, with the same shots."""
    found: dict[str, float] = {}
    for name, weight in formats.items():
        shots = "few" if name.startswith("few") else "zero"
        key = f"{shots}_shot_direct"
        found[key] = found.get(key, 0.0) + weight
    return found
