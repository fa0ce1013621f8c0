"""From a folder of public data to a page: `keras-flan flan`."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_flan.errors import InputError
from keras_flan.files import read_json_object, write_json
from keras_flan.outputs import Kind, head_of, output_folder, replace_files
from keras_flan.progress import Stages
from keras_flan.real_flan.plan import BASE, FlanPlan, load_plan
from keras_flan.storage import local_path

if TYPE_CHECKING:
    from keras_flan.models.language_model import LanguageModel
    from keras_flan.training.config import TrainConfig

RESULTS_FILE = "results.json"
PAGE_FILE = "report.html"
_STATE_FILE = "state.json"
# Seconds for starting, the results and the page.
_RESERVE = 45.0
# What is kept of the metrics of a training.
_KEPT = ("steps", "loss", "loss_steps", "speed", "parameters", "data")


def run_flan(
    data: str | os.PathLike,
    output: str | os.PathLike = "runs/flan",
    *,
    minutes: float = 30,
    steps: int | None = None,
    plan: str | os.PathLike | None = None,
    quiet: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Finetunes a base model on public data, and asks it what it never saw.

    Whole clusters of tasks are held out, and training rows that share 13
    words in a row with any text that is asked are left out. The model is
    asked before and after. Below 120 minutes one arm is trained; from there
    on, all arms of the plan at equal tokens. After a kill the same call goes
    on.

    Args:
        data: The folder of public data; what is missing is left out, by name.
        output: The folder to write: `report.html`, `results.json`, and what
            led to them.
        minutes: For the whole command: import, asking, training, page. How
            many steps that makes is measured on this machine.
        steps: Optimizer steps of each arm, instead of what the time allows,
            and every seed; with the `steps` of `results.json` a run is
            repeated exactly.
        plan: A plan of your own, see `FlanPlan`.
        quiet: Whether to print nothing.
        overwrite: Whether to write among files of other kinds.

    Returns:
        The content of `results.json`, see `collect_results`.

    Raises:
        InputError: If there is nothing to train on or to ask, the time is too
            short, or the output holds something else or another run.

    Example:
        >>> found = run_flan("data", "runs/flan", minutes=30)
        >>> view = found["arms"]["all"]["views"]["instructions"]
        >>> view["exact_match"]["difference"] > 10
        True

    Source: arXiv:2210.11416; arXiv:2301.13688.
    """
    from keras_flan.runtime.products import products_in

    data, output = Path(data), local_path(output)
    if not data.is_dir():
        raise InputError(f"{data}: no such folder of public data")
    chosen = load_plan(minutes, plan)
    products = products_in(chosen.train.get("products", "float32"))
    with products, output_folder(output, FLAN, overwrite):
        run = _Run(data, output, chosen, minutes, steps, quiet)
        results = run.results()
    return results


def _is_flan(folder: Path) -> bool:
    return "flan" in head_of(folder / _STATE_FILE)


# What takes up the folder of a run.
FLAN = Kind("flan", _is_flan)


class _Run:
    """A run, which may have begun before; see `run_flan`."""

    def __init__(
        self,
        data: Path,
        output: Path,
        plan: FlanPlan,
        minutes: float,
        steps: int | None,
        quiet: bool,
    ) -> None:
        self.data, self.output, self.plan = data, output, plan
        self.minutes, self.quiet = minutes, quiet
        asked = {
            "plan": plan.model_dump(mode="json"),
            "data": str(data.resolve()),
        }
        before = self._before(asked)
        self.clock = Stages(quiet, before.get("seconds"))
        self.state: dict[str, Any] = {
            "flan": 1,
            **before,
            **asked,
            "minutes": minutes,
        }
        if steps is not None:
            if self.state.get("steps", steps) != steps:
                raise InputError(
                    f"{output}: its arms are trained for "
                    f"{self.state['steps']} steps; give these, or another "
                    "output"
                )
            self.state["steps"] = steps
        self._save()

    def _before(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        file = self.output / _STATE_FILE
        if not file.is_file():
            return {}
        before = read_json_object(file)
        for name, value in asked.items():
            if before.get(name) != json.loads(json.dumps(value)):
                raise InputError(
                    f"{self.output}: holds a run of another {name}; give it "
                    "again as it was, or another output"
                )
        return before

    def _save(self) -> None:
        self.state["seconds"] = self.clock.seconds
        write_json(self.output / _STATE_FILE, self.state)

    def results(self) -> dict[str, Any]:
        """Does what is left to do; returns the results."""
        from keras_flan.real_flan.page import write_page
        from keras_flan.real_flan.preparing import prepare
        from keras_flan.real_flan.results import collect_results

        with self.clock.stage("data"):
            self.prepared = prepare(self.data, self.output, self.plan)
        self._save()
        trained = list(self._cells())
        with self.clock.stage("results"):
            results = collect_results(
                self.plan, self.prepared, trained, self.output, self.state
            )
        results["seconds"] = dict(self.clock.seconds)
        with replace_files(self.output, RESULTS_FILE) as made:
            write_page(made / PAGE_FILE, results)
            write_json(made / RESULTS_FILE, results)
        self._save()
        return results

    def _cells(self) -> Iterator[tuple[str, int]]:
        """Yields the cells that are done; further seeds as time allows."""
        cells = self.plan.cells()
        missing = [c for c in cells if not self._is_done(*c)]
        if missing:
            self._start(missing[0])
        for arm, seed in cells:
            if (arm, seed) in missing:
                spare = seed != self.plan.arms[arm].seeds[0]
                if spare and self._left() < self.state.get("cell_seconds", 0):
                    continue
                self._run_cell(arm, seed)
            yield arm, seed

    def _is_done(self, arm: str, seed: int) -> bool:
        return f"{arm}-{seed}" in self.state.get("done", {})

    def _left(self) -> float:
        return self.minutes * 60 - self.clock.total - _RESERVE

    def _start(self, cell: tuple[str, int]) -> None:
        """Loads the model, asks it, and finds out how long to train."""
        from keras_flan.models.kept_values import KeptValues
        from keras_flan.real_flan.arms import cell_folder
        from keras_flan.training.start import start_model

        config = self._config(*cell, self.state.get("steps", 1))
        with self.clock.stage("model"):
            self.model = start_model(config)
        several = len(self.plan.cells()) > 1
        self._values = KeptValues(self.model.variables if several else [])
        with self.clock.stage("asking before"):
            self.state["asking_seconds"] = self._ask(
                self.model, self.output / BASE
            )
        self._save()
        if "steps" not in self.state:
            probe = cell_folder(self.output, "probe", 0)
            with self.clock.stage("measuring a step"):
                self._find_steps(config, probe)
            self._save()

    def _find_steps(self, config: "TrainConfig", probe: Path) -> None:
        from keras_flan.real_flan.arms import affordable_steps, measure_steps

        begin = time.monotonic()
        first, each = measure_steps(self.model, config, probe, self.quiet)
        asking = self.state["asking_seconds"]
        left = self._left() - (time.monotonic() - begin)
        cells = len(self.plan.arms)
        steps = affordable_steps(left, cells, asking, first, each)
        self.state |= {"steps": steps, "step_seconds": each}
        self.state["cell_seconds"] = first + asking + each * self.state["steps"]

    def _config(self, arm: str, seed: int, steps: int) -> "TrainConfig":
        from keras_flan.real_flan.arms import write_config

        trained = self.prepared["trained"]
        return write_config(self.plan, arm, seed, steps, self.output, trained)

    def _run_cell(self, arm: str, seed: int) -> None:
        """Trains and asks; what was done before is not done again."""
        from keras_flan.real_flan.arms import cell_folder
        from keras_flan.training.run import train
        from keras_flan.training.start import start_model

        self._values.restore()
        folder = cell_folder(self.output, arm, seed)
        config = self._config(arm, seed, self.state["steps"])
        name = f"{arm}-{seed}"
        trained, model = self.state.setdefault("trained", {}), self.model
        if name in trained:  # A kill came while it was asked.
            model = start_model(_from_folder(config, folder / "run"))
        else:
            with self.clock.stage("training"):
                found = train(config, model=model, quiet=self.quiet)
            trained[name] = {key: found[key] for key in _KEPT}
        self._save()
        with self.clock.stage("asking after"):
            self._ask(model, folder / "asked")
        self.state.setdefault("done", {})[name] = True
        self._save()

    def _ask(self, model: "LanguageModel", output: Path) -> float:
        """Asks in every way; returns the seconds that all of it takes."""
        from keras_flan.real_flan.asking import ask_views

        return ask_views(
            model,
            self.plan.views,
            self.prepared,
            self.data,
            self.output,
            output,
            self.quiet,
        )


def _from_folder(config: "TrainConfig", run: Path) -> "TrainConfig":
    """Returns settings that start from what a finished training wrote."""
    model = config.model.model_copy(update={"init": str(run / "model")})
    return config.model_copy(update={"model": model})
