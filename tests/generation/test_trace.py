"""Answers as they come, on the terminal, as a page and as a picture."""

import json
import sys

import pytest

from keras_flan import cli
from keras_flan.answers.voting import vote
from keras_flan.errors import InputError
from keras_flan.generation.printing import Printer, tally
from keras_flan.generation.prompting import Asking, ask, stream_answers
from keras_flan.generation.sampling_settings import Sampling
from keras_flan.generation.trace import draw_votes, write_trace
from tests.generation.fakes import (
    CHAINS,
    QUESTION,
    Streamed,
    cafeteria,
    last_first,
)
from tests.pages.reading import Page


@pytest.fixture(scope="module")
def results():
    return ask(cafeteria, [QUESTION], cot=True, samples=10, kind="number")


def test_votes_arrive_one_by_one():
    events = list(
        stream_answers(
            Streamed(last_first),
            [QUESTION, "b"],
            Asking(kind="number", sampling=Sampling.for_votes(10)),
        )
    )
    assert [row for row, _ in events] == [0] * 10 + [1] * 10
    assert [len(a.paths) for _, a in events[:10]] == list(range(1, 11))
    assert [a.done for _, a in events[:10]] == [False] * 9 + [True]
    assert events[0][1].vote == vote(["9"])
    # Paths are in the order of their numbers, whichever was done first.
    assert [path.text for path in events[9][1].paths] == CHAINS


def test_each_result_is_reported_when_it_is_done():
    seen = []
    results = ask(cafeteria, ["a", "b"], samples=2, on_done=seen.append)
    assert seen == results
    assert [r.prompt for r in seen] == ["a", "b"]


def test_paths_are_printed_as_they_finish(capsys):
    lines = []

    def printed(answered):
        printer(answered)
        lines.append(capsys.readouterr().out)

    printer = Printer()
    ask(
        Streamed(last_first),
        [QUESTION],
        samples=3,
        kind="number",
        on_path=printed,
    )
    # The last path is done first; each is printed once, and the vote last.
    assert lines[0].startswith(f"{QUESTION}\n  3  They used 20")
    assert lines[1].startswith("  2  23 - 20") and lines[1].count("\n") == 1
    assert lines[2].startswith("  1  They had") and "answer: 9" in lines[2]


def test_several_questions_are_printed_one_after_the_other(capsys):
    ask(cafeteria, ["a", "b"], samples=2, on_path=Printer(2))
    lines = capsys.readouterr().out.split("\n")
    assert [i for i, line in enumerate(lines) if line in "ab" and line] == [
        0,
        lines.index("b"),
    ]
    assert sum(line.startswith("answer: ") for line in lines) == 2


def test_an_unknown_kind_is_named_before_anything_is_generated():
    def never(prompts, **settings):
        raise AssertionError

    with pytest.raises(InputError, match="Did you mean 'number'"):
        ask(never, ["a"], kind="numbers")


def test_the_cafeteria_as_text(results, capsys):
    [result] = results
    assert result.vote.winner == "9"
    assert result.vote.counts == {"9": 6, "3": 2, "29": 1}
    assert tally(result.vote) == [("9", 6), ("3", 2), ("29", 1), (None, 1)]
    Printer()(result)
    out = capsys.readouterr().out
    assert QUESTION in out
    assert f"{'9':>12} {'█' * 18} 6\n{'3':>12} {'█' * 6} 2\n" in out
    assert f"{'no answer':>12} {'█' * 3} 1\n" in out
    assert out.endswith("answer: 9 (60% of 10 paths)\n\n")


def test_the_trace_holds_everything_and_loads_nothing(results, tmp_path):
    rows = [{"id": "apples"}]
    write_trace(tmp_path, results, {"model": "a<b"}, rows)
    [row] = map(json.loads, (tmp_path / "answers.jsonl").open())
    assert (row["id"], row["answer"], row["confidence"]) == ("apples", "9", 0.6)
    assert row["votes"] == {"9": 6, "3": 2, "29": 1}
    for path, chain in zip(row["paths"], CHAINS, strict=True):
        assert path["text"] == chain
        if path["span"]:
            start, end = path["span"]
            assert path["answer"] in chain[start:end]
    page = Page((tmp_path / "trace.html").read_text())
    for text in [QUESTION, *CHAINS, "60% of 10 paths", "6 of 10", "a<b"]:
        assert text in page.text
    assert page.tags.count("mark") == 9
    assert "script" not in page.tags and "b" not in page.tags
    assert not {"src", "href"} & {name for name, _ in page.attributes}


def test_a_trace_is_not_written_over_a_file(results, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="found a file"):
        write_trace(tmp_path / "file", results, {})


@pytest.mark.parametrize(
    ("kind", "magic"),
    [("png", b"\x89PNG"), ("svg", b"<?xml"), ("PDF", b"%PDF")],
)
def test_the_cafeteria_as_a_picture(results, tmp_path, kind, magic):
    path = tmp_path / f"votes.{kind}"
    draw_votes(path, results)
    first = path.read_bytes()
    assert first.startswith(magic)
    draw_votes(path, results)
    assert path.read_bytes() == first
    if kind == "svg":
        assert list(tmp_path.iterdir()) == [path]


def test_any_votes_can_be_drawn(tmp_path):
    texts = [f"The answer is ${i % 40}^x_{i}$ \\frac{{" for i in range(60)]

    def strange(prompts, *, samples, **settings):
        return [["\n\n"] * samples, texts[:samples]]

    results = ask(strange, ["$a_", "long \n" * 900], samples=60)
    assert results[0].vote.winner is None
    draw_votes(tmp_path / "votes.png", results)
    write_trace(tmp_path / "page", results, {})


def test_bad_pictures_are_named(results, tmp_path):
    with pytest.raises(InputError, match=r"\.png"):
        draw_votes(tmp_path / "votes.txt", results)
    with pytest.raises(InputError, match="up to 20 prompts, found 21"):
        draw_votes(tmp_path / "votes.png", results * 21)
    assert list(tmp_path.iterdir()) == []


def generate(monkeypatch, *arguments):
    """Runs `keras-flan generate` with the cafeteria's model."""
    monkeypatch.setattr("keras_flan.models.loading.load", lambda _: cafeteria)
    arguments = ["generate", "--model", "m", *map(str, arguments)]
    monkeypatch.setattr(sys, "argv", ["keras-flan", *arguments])
    try:
        cli.main()
    except SystemExit as stop:
        return stop.code or 0
    return 0


def test_generate_writes_text_page_and_picture(monkeypatch, capsys, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps({"prompt": QUESTION, "id": 1}) + "\n")
    arguments = ["--input", prompts, "--cot", "--samples", 10]
    arguments += ["--kind", "number", "--output", tmp_path / "run"]
    arguments += ["--picture", tmp_path / "votes.png"]
    assert generate(monkeypatch, *arguments) == 0
    assert "answer: 9 (60% of 10 paths)" in capsys.readouterr().out
    [row] = map(json.loads, (tmp_path / "run/answers.jsonl").open())
    assert (row["id"], row["answer"]) == (1, "9")
    assert "number" in (tmp_path / "run/trace.html").read_text()
    assert (tmp_path / "votes.png").stat().st_size > 1000
    assert generate(monkeypatch, *arguments, "--json") == 0
    [shown] = json.loads(capsys.readouterr().out)
    assert shown == row


def test_generate_names_a_bad_picture_first(monkeypatch, capsys):
    bad = ["--prompt", "a", "--picture", "votes.txt"]
    assert generate(monkeypatch, *bad) == 2
    assert ".png" in capsys.readouterr().err
