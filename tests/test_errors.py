import pytest

import keras_flan
from keras_flan.data import PipelineSettings
from keras_flan.errors import InputError, deprecated, did_you_mean


def test_the_choices_are_said():
    names = [f"name{number:02d}" for number in range(22)]
    assert did_you_mean("nane05", names) == " Did you mean 'name05'?"
    assert did_you_mean("?", names[:2]) == " Choose from: name00, name01."
    assert did_you_mean("?", names).endswith(", name19 and 2 more.")
    assert did_you_mean("?", []) == ""


@pytest.mark.parametrize(
    "version, gone, refused",
    [
        ("0.1.0", "0.3.0", False),
        ("0.2.9", "0.3.0", False),
        ("0.3.0", "0.3.0", True),
        ("0.10.0", "0.3.0", True),
        ("1.0.0", "0.3.0", True),
    ],
)
def test_what_goes_warns_and_is_refused_later(
    monkeypatch, version, gone, refused
):
    monkeypatch.setattr(keras_flan, "__version__", version)
    if refused:
        with pytest.raises(
            InputError, match=r"^x is y; it .* 0\.3\.0: give y$"
        ):
            deprecated("x is y", "give y", gone=gone)
        return
    with pytest.warns(FutureWarning, match=r"^x is y; give y \(.* 0\.3\.0 on"):
        deprecated("x is y", "give y", gone=gone)


def test_a_warning_names_the_line_of_the_user():
    with pytest.warns(FutureWarning) as seen:
        PipelineSettings.of(
            None,
            {
                "input_length": 8,
                "target_length": 8,
                "batch_size": 1,
                "shuffle_buffer": 50,
            },
        )
    assert [one.filename for one in seen] == [__file__]


@pytest.mark.parametrize(
    "sizes",
    [
        {"train_examples": 0},
        {"train_examples": {"asked": 8}},
        {"test_examples": {"trained": 0, "held_out": 2}},
        {"test_examples": {"trained": "2", "held_out": 2}},
    ],
)
def test_a_quickstart_checks_its_numbers_of_examples(tmp_path, sizes):
    from keras_flan.miniature.quickstart import quickstart

    [name] = sizes
    with pytest.raises(InputError, match=f"{name}: found .* above 0 for each"):
        quickstart(tmp_path / "run", **sizes, quiet=True)
    assert not (tmp_path / "run").exists()
