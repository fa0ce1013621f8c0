"""The search for prompts: what is found, what it costs, what is luck."""

import json
import random

import pytest
from typer.testing import CliRunner

from keras_flan import cli
from keras_flan.errors import InputError
from keras_flan.files import write_jsonl
from keras_flan.generation.styles import PromptStyle
from keras_flan.search.candidates import (
    Candidate,
    exemplar_sets,
    library_candidates,
    most_similar,
    read_candidates,
    recombined,
)
from keras_flan.search.halving import search_prompts
from keras_flan.search.luck import luck_of_the_best
from keras_flan.search.proposing import Reflection

SOLVED = [
    {
        "question": f"How many {what} are {n} and {n}?",
        "answer": str(2 * n),
        "rationale": "Add. " * (n % 4) + f"{n} + {n} = {2 * n}.",
    }
    for n in range(12)
    for what in ("pens", "cats")
]


def questions(number=150):
    return [
        {"question": f"{n} + {n}?", "answer": str(2 * n)} for n in range(number)
    ]


class Speaker:
    """Is right as often as the prompt's last line says, and counts."""

    def __init__(self):
        self.asked = []

    def __call__(self, prompts, **settings):
        self.asked += prompts
        texts = []
        for prompt in prompts:
            share = 0.9 if "Slowly" in prompt else 0.4
            right = random.Random(prompt).random() < share
            number = int(prompt.split(" + ")[0].split()[-1])
            texts.append(f"So it is {2 * number + (not right)}.")
        return [[text] for text in texts]


CANDIDATES = [
    Candidate(f"c{n}", pattern="{question}" + " " * n) for n in range(5)
] + [Candidate("slow", pattern="{question} Slowly.")]


def test_the_better_prompt_is_found_and_scored_once():
    speaker = Speaker()
    found = search_prompts(
        speaker, questions(), CANDIDATES, kind="number", test=60, first=10
    )
    assert found["winner"]["name"] == "slow"
    assert found["default"]["name"] == "c0"
    gain = found["gain"]
    assert gain["difference"] > 0.2 and gain["interval"][0] > 0
    assert found["winner"]["test"] - found["default"]["test"] == (
        pytest.approx(gain["difference"])
    )
    assert 0 < found["luck"] < found["dev_gain"]
    rows = {row["name"]: row for row in found["trials"]}
    # The default stays to the end; others are asked less.
    assert rows["c0"]["n"] == rows["slow"]["n"] == 90
    assert rows["c0"]["dropped"] is None
    assert min(row["n"] for row in rows.values()) == 10
    assert found["tokens"] > sum(row["tokens"] for row in rows.values())
    # The test part is asked twice: once of each.
    last = speaker.asked[-120:]
    dev = {p.split("?")[0] for p in speaker.asked[:-120]}
    assert len(set(last)) == 120
    assert not dev & {p.split("?")[0] for p in last}


def test_without_anything_better_the_default_stays():
    same = [Candidate(f"c{n}", pattern="{question}") for n in range(4)]
    found = search_prompts(
        Speaker(), questions(), same, kind="number", test=30, first=10
    )
    assert found["winner"] == found["default"]
    assert found["gain"]["difference"] == found["luck"] == 0


def test_questions_that_a_prompt_shows_are_in_neither_part():
    """An exemplar among the test questions would give its answer away."""
    rows = questions(60)
    solved = [
        {**row, "question": f" {row['question']} ", "rationale": "Add."}
        for row in rows[:12]
    ]
    candidates = [
        Candidate("default", PromptStyle(cot=True)),
        Candidate("shots", PromptStyle(True, solved[:3])),
        Candidate("near", PromptStyle(True, solved[:1]), similar=solved[3:8],
                  shots=2),
        Candidate("own", pattern="Q: 11 + 11?\nA: 22\nQ: {question}\nA:"),
    ]  # fmt: skip
    asked = []

    def answer(prompts, **settings):
        asked.extend(prompts)
        return [["The answer is 3."] for _ in prompts]

    def propose(best, failures):
        return [
            Candidate(
                f"shows {row['question']}",
                pattern=row["question"] + "{question}",
            )
            for row in rows[12:]
        ]

    found = search_prompts(answer, rows, candidates, test=20, propose=propose)
    # Eight exemplars, and the one in the prompt of one's own.
    assert found["shown"] == 9
    last = asked[-20:]
    shown = {row["question"] for row in [*rows[:8], rows[11]]}
    assert not shown & {prompt.split("\n")[0] for prompt in asked}
    tested = {prompt.split("\n")[0] for prompt in last}
    tried = {row["name"] for row in found["trials"]}
    assert len(tried) > 20
    assert not tried & {f"shows {question}" for question in tested}
    rows = {row["name"]: row for row in found["trials"]}
    assert rows["near"]["prompt"].startswith("(Exemplars: of 5 the 2 most like")


def test_options_are_read_as_everywhere():
    """By their texts too; the kind is that of all answers, not of the first."""
    rows = [
        {
            "question": f"Which? {n} Options: (A) fire (B) an ice cube",
            "answer": "(B)",
        }
        for n in range(30)
    ]
    found = search_prompts(
        lambda prompts, **_: [["The answer is an ice cube."] for _ in prompts],
        rows, CANDIDATES[:2], test=10,
    )  # fmt: skip
    assert found["winner"]["test"] == 1
    mixed = [{"question": "1?", "answer": "7"}] + [
        {"question": f"Who is {n}?", "answer": "Ann"} for n in range(20)
    ]
    found = search_prompts(
        lambda prompts, **_: [["The answer is Ann."] for _ in prompts],
        mixed, CANDIDATES[:2], test=5,
    )  # fmt: skip
    assert found["winner"]["dev"] > 0.9


def test_luck_is_what_searches_gain_where_nothing_is_better():
    """Also if most candidates have been asked a few questions only."""
    gains, lucks = [], []
    for seed in range(15):
        rng = random.Random(seed)

        def answer(prompts, rng=rng, **settings):
            return [[str(int(rng.random() < 0.4))] for _ in prompts]

        found = search_prompts(
            answer,
            [{"question": f"q{n}", "answer": "1"} for n in range(100)],
            [Candidate(f"c{n}", pattern="{question}") for n in range(16)],
            test=20, first=10,
        )  # fmt: skip
        gains.append(found["dev_gain"])
        lucks.append(found["luck"])
    assert sum(lucks) / 15 == pytest.approx(sum(gains) / 15, abs=0.03)


def test_luck_of_the_best():
    rng = random.Random(0)
    default = [rng.random() < 0.5 for _ in range(100)]
    others = [[rng.random() < 0.5 for _ in range(100)] for _ in range(20)]
    few = luck_of_the_best(default, others[:1])
    many = luck_of_the_best(default, others)
    assert 0 < few < many < 0.25
    assert luck_of_the_best(default, []) == 0
    assert luck_of_the_best(default, [default]) == 0


def test_what_is_proposed_is_tried():
    told = {}

    def propose(best, failures):
        told.update(best=best, failures=failures)
        return [Candidate("new", pattern="{question} Slowly!")]

    found = search_prompts(
        Speaker(), questions(), CANDIDATES[:2], kind="number", test=30,
        propose=propose,
    )  # fmt: skip
    assert found["winner"]["name"] == "new" and found["proposing"] == 0
    assert told["failures"][0].keys() == {"question", "output", "answer"}
    assert [accuracy for _, accuracy in told["best"]] == sorted(
        [accuracy for _, accuracy in told["best"]], reverse=True
    )

    def writer(prompts, *, samples, **settings):
        assert (
            "What went wrong:" in prompts[0]
            and "Right answer: 4" in (prompts[0])
        )
        return [['"Slowly now."\nMore', "{x} Slowly", "", '"Slowly now."']]

    failures = [{"question": "2 + 2?", "output": "5", "answer": "4"}]
    reflection = Reflection(writer)
    made = reflection([(CANDIDATES[0], 0.4)], failures)
    assert reflection.tokens == 7
    assert [one.pattern for one in made] == [
        "{question}\nSlowly now.",
        "{question}\nx Slowly",
    ]


def test_exemplar_sets():
    sets = dict(exemplar_sets(SOLVED, 2))
    assert sets.keys() == {"random", "clusters", "complex"}
    assert all(len({e["question"] for e in s}) == 2 for s in sets.values())
    # One of each kind of question; those with the most steps.
    words = " ".join(one["question"] for one in sets["clusters"])
    assert "pens" in words and "cats" in words
    assert all(e["rationale"].count("Add") == 3 for e in sets["complex"])
    assert dict(exemplar_sets(SOLVED, 2)) == sets
    near = most_similar(SOLVED[0]["question"], SOLVED, 3)
    assert all("pens" in one["question"] for one in near)
    assert SOLVED[0] not in near
    with pytest.raises(InputError, match="0 of 1 solved questions"):
        dict(exemplar_sets([{"question": "a", "answer": "b"}], 1))


def test_candidates_of_the_library():
    found = library_candidates(SOLVED, shots=2)
    assert found[0].style == PromptStyle(cot=True)
    prompts = [one.render("3 + 3?") for one in found]
    assert all("3 + 3?" in prompt for prompt in prompts)
    assert len({one.name for one in found}) == len(found) >= 40
    assert found[-1].name == "generic 0, similar"
    assert "How many" in found[-1].render("How many pens are 3 and 4?")
    few = [c for c in found if c.name.startswith("generic 1, ")]
    mixed = recombined(few[:2])
    assert [one.style.exemplars for one in mixed] == [
        few[1].style.exemplars,
        few[0].style.exemplars,
    ]


def test_bad_candidates_and_questions(tmp_path):
    with pytest.raises(InputError, match=r"expected \{question\}"):
        Candidate("x", pattern="Hello")
    good = {"name": "x", "prompt": "{question}"}
    for row in ({"name": "x"}, {**good, "prompt": "Hi"}, {**good, "name": 3}):
        write_jsonl(tmp_path / "c.jsonl", [good, row])
        with pytest.raises(InputError, match=r"c\.jsonl:2: expected a text"):
            read_candidates(tmp_path / "c.jsonl")
    for rows, message in (
        ([{"question": "a"}], "question 1: expected a text under 'answer'"),
        (questions(5), "6 candidates, 0 development questions and 5 of"),
        (
            [*questions(9), {"question": "9 + 9?", "answer": "many"}],
            "questions:10: expected a right answer of the kind 'number'",
        ),
    ):
        with pytest.raises(InputError, match=message):
            search_prompts(Speaker(), rows, CANDIDATES, kind="number", test=5)
    for settings in ({"first": 0}, {"test": 0}):
        with pytest.raises(InputError, match="one in the round"):
            search_prompts(Speaker(), questions(), CANDIDATES, **settings)
    twice = [CANDIDATES[0], CANDIDATES[1], CANDIDATES[0]]
    with pytest.raises(InputError, match="several candidates are called 'c0'"):
        search_prompts(Speaker(), questions(), twice)
    with pytest.raises(InputError, match="no templates for zero_shot_cot"):
        library_candidates(families=["topic"])


def test_the_command(tmp_path, monkeypatch):
    from keras_flan.models import loading

    monkeypatch.setattr(loading, "load", lambda name: Speaker())
    write_jsonl(tmp_path / "q.jsonl", questions(60))
    write_jsonl(
        tmp_path / "c.jsonl", [{"name": "mine", "prompt": "{question} Slowly."}]
    )
    done = CliRunner().invoke(
        cli.app,
        [
            *("search-prompts", str(tmp_path / "q.jsonl"), "--model", "m"),
            *("--output", str(tmp_path / "out"), "--test", "20"),
            *("--candidates", str(tmp_path / "c.jsonl"), "--kind", "number"),
        ],
    )
    assert done.exit_code == 0, done.output
    assert "winner: " in done.output and "by luck" in done.output
    found = json.loads((tmp_path / "out" / "search.json").read_text())
    assert found["winner"]["name"] == "mine"
    page = (tmp_path / "out" / "search.html").read_text("utf-8")
    assert "What was tried" in page and "after round 1" in page


@pytest.mark.parametrize(
    ("question", "shown"),
    [("question", False), ("nn", False), ("Is Ann in?", True)],
)
def test_only_whole_questions_are_shown(question, shown):
    one = Candidate("x", pattern="Q: is ann  in?\nA: no\nQ: {question}\nAnnex")
    assert one.shows(question) is shown
