import pytest

from keras_flan.errors import InputError
from keras_flan.training import TrainConfig, recipe, recipes

# arXiv:2210.11416, table 22: batch, dropout, rate, steps.
TABLE = {
    "flan_t5_small": (64, 0.05, 5e-4, 98_000),
    "flan_t5_base": (64, 0.05, 5e-4, 84_000),
    "flan_t5_large": (64, 0.05, 5e-4, 64_000),
    "flan_t5_xl": (64, 0.05, 5e-4, 38_000),
    "flan_t5_xxl": (64, 0.05, 5e-4, 14_000),
    "flan_palm_8b": (32, 0.05, 3e-3, 40_000),
    "flan_palm_62b": (32, 0.05, 3e-3, 40_000),
    "flan_palm_540b": (32, 0.1, 1e-3, 21_000),
    "flan_cont_palm_62b": (32, 0.05, 3e-3, 60_000),
    "flan_u_palm_540b": (32, 0.1, 1e-3, 30_000),
}


def test_all_ten_are_those_of_the_paper():
    assert {
        name: (r.batch_size, r.dropout, r.learning_rate, r.steps)
        for name, r in recipes().items()
    } == TABLE


def test_optimizer_and_loss():
    from keras_flan.training import Adafactor, TokenCrossentropy

    xl = recipe("flan_t5_xl")
    assert isinstance(xl.optimizer(), Adafactor)
    assert abs(float(xl.optimizer().learning_rate) - 5e-4) < 1e-9
    assert isinstance(xl.loss(), TokenCrossentropy)
    assert xl.loss().z_loss == 1e-4


def test_an_unknown_name():
    with pytest.raises(InputError, match="Did you mean 'flan_t5_small'"):
        recipe("flan_t5_smal")


def test_in_a_config(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text(
        "output: run\nmixture: m.yaml\nrecipe: flan_t5_small\n"
        "data: {batch_size: 16}\n"
    )
    config = TrainConfig.from_yaml(path, ["steps=5"])
    assert config.model.init == "hf://google/t5-small-lm-adapt"
    assert config.steps == 5
    assert (config.data.batch_size, config.data.input_length) == (16, 2048)
    assert config.optimizer.learning_rate == 5e-4
    assert config.optimizer.z_loss == 1e-4
    # What is written means the same.
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    assert TrainConfig.from_yaml(tmp_path).to_yaml() == config.to_yaml()
    # From the command line; PaLM needs a vocabulary.
    with pytest.raises(InputError, match="vocabulary: this key is missing"):
        TrainConfig.from_yaml(path, recipe="flan_palm_8b")
    path.write_text(
        "output: run\nmixture: m.yaml\nvocabulary: v.model\n"
        "model: {hidden_dim: 16, num_layers: 1}\n"
    )
    config = TrainConfig.from_yaml(path, recipe="flan_t5_small")
    assert config.model.init is None
    assert (config.model.hidden_dim, config.steps) == (16, 98_000)


def test_accumulation_must_divide(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text(
        "output: run\nmixture: m.yaml\nvocabulary: v.model\n"
        "optimizer: {accumulate: 3}\n"
    )
    with pytest.raises(InputError, match="accumulate: found 3, which does not"):
        TrainConfig.from_yaml(path)
