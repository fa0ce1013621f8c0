"""Questions of a mixture: their order, and what is held out."""

import json
from collections import Counter

import pytest

from keras_flan.data import Example, Mixture, write_records
from keras_flan.data.mixtures.questions import Questions
from keras_flan.data.templates.families import Format
from keras_flan.errors import InputError


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("questions")
    for name, number in (("sums", 12), ("words", 6)):
        write_records(
            [
                Example({"question": f"{name} {i}?", "answer": str(i)}, name)
                for i in range(number)
            ],
            folder / "records" / name,
            name=name,
            templates="generic",
        )
    group = {"tasks": ["sums", "words"], "formats": {"zero_shot_direct": 1}}
    path = folder / "m.yaml"
    text = {"name": "m", "records": "records", "groups": {"all": group}}
    path.write_text(json.dumps({**text, "shots": 2}))
    return Mixture.from_yaml(path)


def test_rounds_are_parts_of_one_order(mixture):
    questions = Questions(mixture, total=60, seed=3, held_out=4)
    whole = questions.draw(0, 60)
    again = Questions(mixture, total=60, seed=3, held_out=4)
    assert again.draw(20, 15) == whole[20:35]
    assert Questions(mixture, 60, seed=4, held_out=4).draw(0, 60) != whole
    # Passes: no question of a task comes again before all others came.
    sums = [q.name for q in whole if q.name.startswith("sums")]
    assert set(Counter(sums[:10]).values()) == {1}
    kept = {q.name for q in questions.held_out}
    assert len(kept) == 3  # a quarter of a task at most
    assert kept.isdisjoint(q.name for q in whole)


def test_a_question_is_asked_in_other_formats(mixture):
    # The records have no rationales, and are asked to reason all the same.
    formats = {Format.few_shot_direct: 1.0, Format.zero_shot_cot: 1.0}
    questions = Questions(mixture, 40, seed=0, formats=formats)
    found = questions.draw(0, 40)
    assert {q.format for q in found} == {*map(str, formats)}
    for question in found:
        text = question.name.replace("/", " ") + "?"
        assert text.split()[0] in question.prompt
        assert question.kind == "number"
    again = questions.again(found[0], Format.zero_shot_direct, "77")
    assert "77" in again.targets and "77" not in again.inputs


def test_what_has_no_answers_is_refused(tmp_path):
    rows = [Example({"inputs": "a", "targets": "b"}, "t") for _ in range(3)]
    write_records(rows, tmp_path / "t", name="t", templates="t0")
    path = tmp_path / "m.yaml"
    group = {"tasks": ["t"]}
    text = {"name": "m", "records": ".", "groups": {"all": group}}
    path.write_text(json.dumps(text))
    with pytest.raises(InputError, match="'answer'"):
        Questions(Mixture.from_yaml(path), 1, 0)
