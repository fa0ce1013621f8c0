import re

import pytest

from keras_flan.errors import InputError
from keras_flan.evaluation.scores.predictions import as_predictions
from keras_flan.miniature.quickstart_report import write_report
from tests.pages.reading import Page

SCORES = {"direct": 0.125, "cot": 0.25, "cot_vote": 0.5}
ZERO = dict.fromkeys(SCORES, 0.0)
ROW = {
    "task": "sums",
    "id": "test/<7>",
    "prompt": "Is 1 < 2 & 2 > 1?\n<script>alert(1)</script>",
    "outputs": ["Both hold. The answer is <yes>.", "", "No answer"],
    "spans": [[25, 30], None, None],
    "rules": ["phrase", None, None],
    "votes": {"<yes>": 1},
    "answer": "<yes>",
    "target": "<yes>",
    "correct": True,
}
ARGUMENTS = {
    "title": "A <title>",
    "loss": [3.0, 2.0, 1.0],
    "table": {
        "before": {"trained": ZERO, "held_out": ZERO},
        "after": {"trained": SCORES, "held_out": ZERO},
    },
    "predictions": as_predictions(
        [ROW, {**ROW, "answer": None, "correct": False}]
    ),
    "settings": {"batch_size": 8},
    "seconds": {"train": 61.4, "after": 3.25},
}


def write(tmp_path, **changes):
    path = tmp_path / "report.html"
    write_report(path, **{**ARGUMENTS, **changes})
    return path.read_text(encoding="utf-8")


def test_the_page_holds_everything_and_loads_nothing(tmp_path):
    text = write(tmp_path)
    page = Page(text)
    for tag in ("script", "link", "img", "iframe"):
        assert tag not in page.tags
    for name, value in page.attributes:
        if name in ("src", "href", "xlink:href"):
            assert value.startswith("#")
    assert not re.search(r"url\((?!#)|@import", text)
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text

    assert page.tags.count("svg") == 1
    assert page.tags.count("article") == 2
    assert "A <title>" in page.text
    assert "<script>alert(1)</script>" in page.text
    assert "Both hold. The answer is <yes>." in page.text
    assert "<mark>&lt;yes&gt;</mark>." in text
    assert "✓ right" in page.text and "✗ wrong" in page.text
    assert "1 of 3" in page.text and "2 of 3" in page.text
    assert "12.5%" in page.text and "+50.0" in page.text
    assert "batch size" in page.text
    assert "1 min 01 s" in page.text and "3.2 s" in page.text
    # The curve takes its colours from the page, light or dark.
    svg = text[text.index("<svg") : text.index("</svg>")]
    assert "var(--accent)" in svg and "#0" not in svg.replace("url(#", "")


def test_the_same_run_gives_the_same_page(tmp_path):
    assert write(tmp_path) == write(tmp_path)


@pytest.mark.parametrize(
    "loss", [[], [2.5], [float("nan"), 1.0], [5 / (i + 1) for i in range(500)]]
)
def test_any_number_of_steps(tmp_path, loss):
    page = Page(write(tmp_path, loss=loss, predictions=[]))
    assert ("svg" in page.tags) == bool(loss)


def test_a_missing_score_is_named(tmp_path):
    table = {"before": {"trained": ZERO}, "after": ARGUMENTS["table"]["after"]}
    with pytest.raises(InputError, match=r"\['held_out'\].* lacks 'held_out'"):
        write(tmp_path, table=table)
    table = {"before": {"trained": {**ZERO, "cot": 12.5}}}
    with pytest.raises(InputError, match=r"12\.5; expected a fraction"):
        write(tmp_path, table=table)
    assert list(tmp_path.iterdir()) == []
