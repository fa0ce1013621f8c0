import pytest

from keras_flan.errors import InputError
from keras_flan.training import TrainConfig


@pytest.fixture
def write(tmp_path):
    def run(text):
        path = tmp_path / "configs" / "train.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text("output: run\nvocabulary: v.model\n" + text)
        return path

    return run


def again(config, tmp_path):
    path = tmp_path / "again.yaml"
    path.write_text(config.to_yaml())
    return TrainConfig.from_yaml(path)


def test_a_mixture_by_name(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "mixture: cot_only\nrecords: ../r\nmissing: skip\n"
    config = TrainConfig.from_yaml(write(text))
    assert str(config.mixture) == "cot_only"
    assert config.records.resolve() == tmp_path / "r"
    back = again(config, tmp_path)
    assert str(back.mixture) == "cot_only"
    assert back.missing == "skip"
    assert back.records.resolve() == tmp_path / "r"
    # The default folder of records is one of the current folder.
    config = TrainConfig.from_yaml(write("mixture: cot_only\n"))
    assert again(config, tmp_path).records == tmp_path / "records"


def test_a_mixture_by_its_file(write, tmp_path):
    config = TrainConfig.from_yaml(write("mixture: ../m.yaml\n"))
    assert config.mixture.resolve() == tmp_path / "m.yaml"
    assert (config.records, config.missing) == (None, None)
    back = again(config, tmp_path)
    assert back.mixture.resolve() == tmp_path / "m.yaml"
    assert back.records is None


def test_what_lies_in_the_folder_of_a_run_moves_with_it(tmp_path):
    run = tmp_path / "run"
    config = TrainConfig(
        output=run,
        mixture=tmp_path / "m.yaml",
        vocabulary=run / "v.model",
        held_out={"mixture": run / "h.yaml"},
    )
    run.mkdir()
    (run / "config.yaml").write_text(config.to_yaml(run))
    moved = run.rename(tmp_path / "moved")
    back = TrainConfig.from_yaml(moved / "config.yaml")
    assert back.vocabulary.resolve() == moved / "v.model"
    assert back.held_out.mixture.resolve() == moved / "h.yaml"
    assert back.mixture == tmp_path / "m.yaml"


def test_a_wrong_choice_is_named(write):
    path = write("mixture: cot_only\nmissing: skipp\n")
    with pytest.raises(InputError, match=r"missing: 'skipp'.*'skip'"):
        TrainConfig.from_yaml(path)


def test_all_but_the_embedding_may_be_trained():
    from keras_flan.models import load
    from keras_flan.training.start import freeze_embedding

    model = load("flan_nano")
    freeze_embedding(model)
    fixed = model.non_trainable_variables
    embeddings = model.backbone.token_embedding.weights
    assert {id(v) for v in fixed} == {id(v) for v in embeddings}
    base = {"mixture": "m.yaml", "output": "out"}
    once = {"model": {"init": "flan_nano", "trainable": "all_but_embedding"}}
    config = TrainConfig(**base, **once)
    assert "trainable" not in config.model.settings()
    with pytest.raises(ValueError, match=r"model\.trainable: .* an adapter"):
        TrainConfig(**base, **once, adapter={"kind": "lora"})
    few = {"init": "flan_nano", "quantize": "int4"}
    with pytest.raises(ValueError, match=r"model\.quantize: .* an adapter"):
        TrainConfig(**base, model=few)
    assert (
        "quantize"
        not in TrainConfig(
            **base, model=few, adapter={"kind": "lora"}
        ).model.settings()
    )
    with pytest.raises(ValueError, match="loss_gather: found 8 beside"):
        TrainConfig(**base, optimizer={"loss_chunk": 8, "loss_gather": 8})
