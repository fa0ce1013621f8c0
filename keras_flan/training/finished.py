"""Finished training runs, read back from their folders."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_flan.errors import InputError
from keras_flan.files import read_json_object
from keras_flan.outputs import head_of, settle
from keras_flan.schema import read_yaml
from keras_flan.storage import as_path

RUN_FILE = "run.json"
CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.json"
_NEEDED = {"steps", "loss", "loss_steps", "speed", "seconds"}
# Steps and the values there.
Curve = tuple[Sequence[int], Sequence[float]]


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A finished run of `keras-flan train`.

    Args:
        name: What it is called among others.
        config: The settings, as the YAML has them.
        metrics: What `train` returned.
        facts: Versions, seed and checksums of the data.
    """

    name: str
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    facts: Mapping[str, Any]

    @property
    def loss(self) -> Curve:
        """Steps and the mean losses up to them."""
        return self.metrics["loss_steps"], self.metrics["loss"]

    @property
    def held_out(self) -> Mapping[str, Any]:
        """What was evaluated during the training; empty if nothing was."""
        return self.metrics.get("held_out") or {}

    def curve(self, name: str) -> Curve:
        """Returns steps and values of `learning_rate` or `gradient_norm`.

        Runs of earlier versions may lack them.
        """
        return self.metrics["loss_steps"], self.metrics.get(name) or []

    def held_out_curve(self, name: str) -> Curve:
        """Returns steps and values of the held-out `loss` or `score`."""
        return self.held_out.get("steps", []), self.held_out.get(name) or []

    @property
    def settings(self) -> dict[str, str]:
        """The settings by their dotted names, as texts."""
        return _flat(self.config)


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{key}.")
        else:
            found[f"{before}{key}"] = str(value)
    return found


def find_trained(folder: Path) -> list[Path]:
    """Returns which of a folder and those in it are finished runs."""
    inner = (place for place in folder.glob("*/") if place.name[0] != ".")
    places = [folder, *sorted(inner)]
    for place in places:
        settle(place)
    return [
        place
        for place in places
        if (place / RUN_FILE).is_file()
        and (place / CONFIG_FILE).is_file()
        and head_of(place / METRICS_FILE).keys() >= _NEEDED
    ]


def load_trained(folders: Iterable[str | os.PathLike]) -> list[TrainedRun]:
    """Reads runs; a folder of runs stands for all that are finished.

    Args:
        folders: Folders that `train` wrote, or folders of such folders.

    Raises:
        InputError: If there is no finished run in one of them, or a file is
            broken.
    """
    places: dict[Path, Path] = {}
    for folder in map(as_path, folders):
        if not (found := find_trained(folder)):
            raise InputError(
                f"{folder}: expected a finished training in it or in a folder "
                f"of it ({RUN_FILE}, {METRICS_FILE}), found none; give the "
                "output of `keras-flan train`"
            )
        places |= {place.resolve(): place for place in found}
    names = [place.name for place in places.values()]
    return [
        _read(place, place.name if names.count(place.name) == 1 else str(place))
        for place in places.values()
    ]


def _read(folder: Path, name: str) -> TrainedRun:
    config = read_yaml(folder / CONFIG_FILE)
    if not isinstance(config, dict):
        raise InputError(
            f"{folder / CONFIG_FILE}: expected the settings of a training, "
            f"found a {type(config).__name__}"
        )
    metrics = read_json_object(folder / METRICS_FILE, allow_nan=True)
    facts = read_json_object(folder / RUN_FILE)
    return TrainedRun(name, config, metrics, facts)
