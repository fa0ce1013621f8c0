"""The test kit passes what keeps its promises, and names what does not."""

import pytest
import yaml

from keras_flan.data.importers import Importer, Row, Source
from keras_flan.models import DecoderOnly
from keras_flan.testing import (
    check_importer,
    check_model,
    check_protocol,
    check_templates,
)
from tests.conftest import LetterVocabulary
from tests.models.decoders import make_hub

ROWS = [{"question": "1 + 1?", "rationale": "So 2.", "answer": "2"}]
LINE = '{"question": "1 + 1?", "answer": "So 2.\\n#### 2"}\n'


@pytest.fixture
def gsm8k(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text(LINE + '{"question": "no answer"}\n')
    return path


def test_a_shipped_importer_keeps_its_promises(gsm8k):
    check_importer("gsm8k", gsm8k, rows=ROWS, rejects=["answer"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rows": [{**ROWS[0], "answer": "3"}]}, "rows: found"),
        ({"rejects": []}, "rejects: found"),
        ({"rejects": ["too long"]}, "expected 'too long' in it"),
    ],
)
def test_another_reading_is_named(gsm8k, changed, message):
    with pytest.raises(AssertionError, match=message):
        check_importer(
            "gsm8k", gsm8k, **{"rows": ROWS, "rejects": ["answer"], **changed}
        )


def test_an_importer_that_is_not_deterministic(tmp_path):
    runs = []

    def read(path, options):
        runs.append(path)
        row = Row(path, 1, {"question": "q", "answer": "a"}, str(len(runs)))
        return Source([row], "own", "generic", "text")

    path = tmp_path / "own.txt"
    path.write_text("x")
    with pytest.raises(AssertionError, match="other bytes"):
        check_importer(
            Importer("own", "a test", read),
            path,
            rows=[{"question": "q", "answer": "a"}],
        )


EXAMPLES = [
    {"question": "1 + 1?", "rationale": "So 2.", "answer": "2"},
    {"question": "2 + 2?", "rationale": "So 4.", "answer": "4"},
    {"question": "3 + 3?", "rationale": "So 6.", "answer": "6"},
]


@pytest.mark.parametrize("name", ["generic", "gsm8k"])
def test_shipped_templates_keep_their_promises(name):
    check_templates(name, EXAMPLES)


def test_templates_of_a_file_and_their_golden_prompts(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "family": "own",
                "fields": ["question", "answer"],
                "zero_shot_direct": [
                    {"input": "Q: {question}", "target": "{answer}"}
                ],
            }
        )
    )
    golden = {"zero_shot_direct": ("Q: 1 + 1?", "2")}
    check_templates(path, EXAMPLES, prompts=golden)
    with pytest.raises(AssertionError, match="expected"):
        check_templates(
            path, EXAMPLES, prompts={"zero_shot_direct": ("Q: 1 + 1?", "3")}
        )
    with pytest.raises(AssertionError, match="no format few_shot_cot"):
        check_templates(path, EXAMPLES, prompts={"few_shot_cot": ("", "")})


def test_an_empty_target_is_named():
    with pytest.raises(AssertionError, match="an empty text"):
        check_templates("generic", [{**e, "answer": ""} for e in EXAMPLES])


def test_templates_without_a_format():
    with pytest.raises(AssertionError, match="no format suits"):
        check_templates("generic", [{"text": "a"}, {"text": "b"}])


PROTOCOL = {
    "name": "quiz",
    "version": 1,
    "source": "a test",
    "reader": "gsm8k",
    "files": ["train.jsonl"],
    "extractor": "number",
    "formats": {
        "zero_shot_direct": {"query": "Q: {question}\nA:", "stop": ["\nQ:"]},
        "zero_shot_cot": {"query": "{question} Think."},
    },
}
GOLDEN = {("direct", 0): ["Q: 1 + 1?\nA:"], ("cot", 0): ["1 + 1? Think."]}


@pytest.fixture
def quiz(tmp_path):
    (tmp_path / "train.jsonl").write_text(LINE)
    path = tmp_path / "quiz.yaml"
    path.write_text(yaml.safe_dump(PROTOCOL))
    return path


def test_a_protocol_of_a_file_keeps_its_promises(quiz):
    outputs = {"That makes 3.": "3", "No idea": None, "2\nQ: 7?": "2"}
    check_protocol(quiz, quiz.parent, prompts=GOLDEN, outputs=outputs)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"prompts": {("direct", 0): ["Q: 1 + 1?"]}}, "expected"),
        ({"outputs": {"That makes 3.": "4"}}, "read '3' from"),
    ],
)
def test_another_protocol_is_named(quiz, changed, message):
    with pytest.raises(AssertionError, match=message):
        check_protocol(quiz, quiz.parent, **changed)


def test_a_protocol_that_cannot_read_its_answers_is_named(quiz):
    quiz.write_text(yaml.safe_dump({**PROTOCOL, "extractor": "yes_no"}))
    with pytest.raises(AssertionError, match="of the kind 'yes_no'"):
        check_protocol(quiz, quiz.parent)


def test_a_shipped_protocol_keeps_its_promises(tmp_path):
    (tmp_path / "test.jsonl").write_text(LINE)
    check_protocol("gsm8k", tmp_path)


@pytest.mark.slow
def test_a_decoder_only_model_keeps_its_promises():
    check_model(DecoderOnly(make_hub("llama"), vocabulary=LetterVocabulary()))


def test_a_model_that_sees_its_neighbours_is_named(monkeypatch):
    model = DecoderOnly(make_hub("llama"), vocabulary=LetterVocabulary())
    hidden = model.hidden

    def leaking(inputs, training=False):
        ones = inputs["token_ids"] * 0 + 1
        return hidden({**inputs, "segment_ids": ones}, training=training)

    monkeypatch.setattr(model, "hidden", leaking)
    with pytest.raises(AssertionError, match="than they have alone"):
        check_model(model)
