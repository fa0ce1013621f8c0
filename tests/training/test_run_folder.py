"""A run that was stopped is gone on with, if it is the same."""

from types import SimpleNamespace

import pytest
import yaml

from keras_flan.errors import InputError
from keras_flan.training import TrainConfig
from keras_flan.training.run_folder import CHECKPOINTS, open_run


def test_settings_that_came_later_do_not_stop_a_stopped_run(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(
        f"output: {tmp_path / 'run'}\nmixture: cot_only\n"
        "model: {init: flan_nano}\n"
    )
    config, mixture = TrainConfig.from_yaml(path), SimpleNamespace(stages=[])
    assert not open_run(config, mixture)
    (config.output / CHECKPOINTS / "4").mkdir(parents=True)
    written = config.output / "config.yaml"
    values = yaml.safe_load(written.read_text())
    del values["model"]["remat"], values["model"]["scan"]
    written.write_text(yaml.safe_dump(values))
    assert open_run(config, mixture)
    other = TrainConfig.from_yaml(path, ["model.remat=true"])
    with pytest.raises(InputError, match=r"a stopped run had model: .*None"):
        open_run(other, mixture)


def shipped(folder):
    """A config file of a run without tasks, its mixture, and what it says."""
    path = folder / "x.yaml"
    path.write_text(
        f"output: {folder / 'run'}\nmixture: cot_only\n"
        "model: {init: flan_nano}\n"
    )
    return path, SimpleNamespace(stages=[]), TrainConfig.from_yaml(path)


def test_a_run_that_kept_nothing_begins_anew(tmp_path):
    path, mixture, config = shipped(tmp_path)
    assert not open_run(config, mixture)
    # Orbax makes the folder before there is a checkpoint.
    (config.output / CHECKPOINTS).mkdir()
    assert not open_run(TrainConfig.from_yaml(path, ["seed=1"]), mixture)


def test_a_stopped_run_goes_on_on_another_mesh(tmp_path):
    path, mixture, config = shipped(tmp_path)
    open_run(config, mixture)
    (config.output / CHECKPOINTS / "4").mkdir(parents=True)
    mesh = ["distribution.mesh='batch=2,model=2'"]
    assert open_run(TrainConfig.from_yaml(path, mesh), mixture)
