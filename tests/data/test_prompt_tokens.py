"""What is asked is never shown solved, and never cut off."""

import json

import numpy as np
import pytest

from keras_flan.data.mixtures.inspection import inspect
from keras_flan.data.mixtures.mixture import Mixture, MixtureGroup
from keras_flan.data.pipeline.pipeline import Pipeline, build_dataset
from keras_flan.data.records.example import Example
from keras_flan.data.records.writing import write_records
from keras_flan.data.templates.library import load_family
from keras_flan.data.templates.task import Task
from keras_flan.data.vocabularies.training import train_vocabulary
from keras_flan.errors import InputError

SKY = "What colour is the sky on a clear day?"


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    words = f"{SKY} The is blue. passage text question answer Paris 012345"
    path = tmp_path_factory.mktemp("v") / "v.model"
    return train_vocabulary([words, words.lower()] * 20, 299, path)


def mixture(folder, fields, format, templates="generic"):
    examples = [Example(each, "t", f"t:{i}") for i, each in enumerate(fields)]
    write_records(examples, folder, name="t", templates=templates)
    task = Task.from_directory(folder)
    group = MixtureGroup("g", [task], formats={format: 1})
    return Mixture("m", [group], shots=2)


def prompts(mixture, vocabulary, **settings):
    """Returns inputs and targets of one pass."""
    batches = build_dataset(
        mixture,
        vocabulary,
        target_length=16,
        batch_size=4,
        pack=False,
        repeat=False,
        **settings,
    )
    return [
        (vocabulary.decode(ids), vocabulary.decode(target))
        for x, y, _ in batches.as_numpy_iterator()
        for ids, target in zip(x["encoder_token_ids"], y, strict=True)
        if ids.any()
    ]


# The same row again; with other blanks and capitals; with another answer.
@pytest.mark.parametrize(
    "copies",
    [
        [(SKY, "blue")] * 3,
        [(SKY, "blue"), (f" {SKY.upper()} ", "blue")],
        [(SKY, "blue"), (SKY.replace(" ", "\n "), "grey")],
    ],
)
def test_no_exemplar_is_the_question(copies, vocabulary, tmp_path):
    sums = [(f"What is {i} plus {i}?", str(2 * i)) for i in range(4)]
    fields = [{"question": q, "answer": a} for q, a in [*copies, *sums]]
    fields = [{**each, "rationale": "."} for each in fields]
    few = mixture(tmp_path / "t", fields, "few_shot_direct")
    found = [t for t, _ in prompts(few, vocabulary, input_length=400)]
    assert len(found) == len(fields)
    shown = [x["inputs"] for x in inspect(few, n=60)]
    folder = [x["inputs"] for x in inspect(tmp_path / "t", n=20, shots=2)]
    asked = 0
    for text in (*found, *shown, *folder):
        text = " ".join(text.lower().split())
        # No question comes twice: shown, or shown and asked.
        numbers = text.count("what colour is the sky")
        assert numbers <= 1
        asked += numbers
    assert asked > 5


def test_a_task_of_one_question_has_no_exemplars(vocabulary, tmp_path):
    fields = [{"question": SKY, "answer": "blue", "rationale": "."}] * 5
    few = mixture(tmp_path / "t", fields, "few_shot_direct")
    with pytest.raises(InputError, match="leave no place for an exemplar"):
        prompts(few, vocabulary, input_length=400)
    [shown] = inspect(tmp_path / "t", n=1, shots=2)
    assert shown["shots"] == 0 and shown["inputs"].count(SKY) == 1


def passage(place, sentences=60):
    """A long passage that says the answer somewhere."""
    parts = ["The text is grey. "] * sentences
    parts[int(place * (sentences - 1))] = "The sky is blue. "
    return "".join(parts)


# All templates of the family, of which some put the question first.
@pytest.mark.parametrize("place", [0, 0.5, 1])
def test_a_long_passage_is_shortened_around_the_answer(
    place, vocabulary, tmp_path
):
    fields = {
        "context": passage(place),
        "question": SKY,
        "answer": "blue",
        "title": "Sky",
    }
    squad = mixture(tmp_path / "t", [fields] * 10, "zero_shot_direct", "squad")
    pipeline = Pipeline(
        squad,
        vocabulary,
        input_length=160,
        target_length=16,
        batch_size=4,
        pack=False,
        repeat=False,
    )
    for x, y, _ in pipeline.dataset().take(2).as_numpy_iterator():
        for ids, target in zip(x["encoder_token_ids"], y, strict=True):
            text = " ".join(vocabulary.decode(ids).split())
            assert SKY in text and "sky is blue" in text
            assert vocabulary.decode(target) == "blue"
            # No place is left over.
            assert np.count_nonzero(ids) == 160 and ids[-1] == 1
    assert pipeline.cuts()["inputs"] == 10


def test_of_a_passage_without_the_answer_both_ends_are_kept(
    vocabulary, tmp_path
):
    text = "first " + "passage text " * 80 + "last"
    fields = [{"inputs": text, "targets": "none"}] * 4
    t0 = mixture(tmp_path / "t", fields, "zero_shot_direct", "t0")
    for inputs, _ in prompts(t0, vocabulary, input_length=60):
        assert inputs.startswith("first") and inputs.endswith("last")
    short = [{"inputs": "first last", "targets": "none"}] * 4
    t0 = mixture(tmp_path / "t", short, "zero_shot_direct", "t0")
    assert prompts(t0, vocabulary, input_length=60)[0][0] == "first last"


@pytest.mark.parametrize("first", [True, False])
def test_templates_that_name_no_field_lose_of_the_longest(
    first, vocabulary, tmp_path
):
    file = tmp_path / "own.yaml"
    text = "{text}\n{why}" if first else "Q: {why}\nText: {text}\nA:"
    file.write_text(
        "family: own\nfields: [text, why, label]\n"
        f"zero_shot_direct: [{{input: {json.dumps(text)}, "
        "target: '{label}'}]\n"
    )
    fields = [{"text": "passage " * 90, "why": SKY, "label": "blue"}] * 4
    own = mixture(tmp_path / "t", fields, "zero_shot_direct", str(file))
    for inputs, _ in prompts(own, vocabulary, input_length=100):
        assert SKY in inputs and (first or inputs.endswith("A:"))


def test_what_may_be_shortened_is_a_field(tmp_path):
    file = tmp_path / "own.yaml"
    text = (
        "family: own\nfields: [text, label]\nshorten: [txt]\n"
        'zero_shot_direct: [{input: "{text} Why?", target: "{label}"}]\n'
    )
    file.write_text(text)
    with pytest.raises(InputError, match=r"shorten: 'txt'.*text"):
        load_family(file)
    file.write_text(text.replace("txt", "text"))
    assert load_family(file).shorten == ("text",)


def test_a_question_is_told_from_others_by_what_is_asked():
    expected = {
        "generic": {"question"},
        "squad": {"context", "question"},
        "nli": {"premise", "hypothesis"},
        "natural_instructions": {"inputs"},
        "multiple_choice": {"question"},
    }
    for name, fields in expected.items():
        assert load_family(name).question_fields == fields
