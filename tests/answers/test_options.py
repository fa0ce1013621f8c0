# ruff: noqa: RUF001 (models do write these quotes, brackets and dashes)
"""Multiple choice: the option that a text names, and none favoured."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_flan.answers import extract_answer, normalise_answer
from keras_flan.answers.option_texts import listed_options, option_names
from keras_flan.evaluation.scores.scoring import score


def value(text, choices="ABCDE"):
    answer = extract_answer(text, "option", choices)
    return answer and answer.value


# {x} is a letter: each sentence must read the same for every one.
FORMS = [
    "The answer is {x} because the others are wrong.",
    "The answer is {x} since water boils.",
    "The answer is {x} - it is the only metal.",
    "The answer is {x} — it is the only metal.",
    "The answer is {x}, as the others are wrong.",
    "The answer is {x} It is the only metal.",
    "The answer is {x} (the only metal).",
    "The answer is ({x}).",
    "The answer is {x}",
    "The answer is **{x}**.",
    "The answer is $\\boxed{{\\text{{{x}}}}}$.",
    "The answer is most likely {x}.",
    "The answer is probably ({x}).",
    "The answer is option {x}.",
    "The answer is definitely the option ({x}), I believe.",
    "So the answer would be {x}.",
    "Answer: {x} because of the heat.",
    "Answer: {x}\nIt is the only metal.",
    "Answer: [{x}]",
    "Answer: Option ({x}) is the only metal.",
    "Option ({x}) is the correct answer.",
    "Option {x} is correct.",
    "Hence ({x}) is right.",
    "The correct option is {x}.",
    "The correct choice is ({x}), not another one.",
    "I would choose option {x}.",
    "{x}",
    "({x})",
    "{x}) the only metal",
    "{x}. the only metal",
    "{x} - the only metal",
    "正确答案是（{x}）",
    "答案：{x}",
    "The answer is （{x}）.",
    "The answer is 【{x}】.",
    "#### {x}",
    "It is most likely {x}",
    "It's probably ({x}).",
    "The answer is the first option, {x}.",
    "$\\boxed{{\\textbf{{{x}}}}}$",
    "The answer is ‘{x}’.",
    "答えは{x}です",
    "정답은 {x}입니다",
    "La respuesta correcta es la {x}.",
    "The answer is {x}.\n\nQ: What is blue?\nA: The answer is (Z).",
]
LOWER = [
    "The answer is ({x}).",
    "Answer: ({x})",
    "So the answer is {x}.",
    "So the answer is {x}",
    "the answer is ({x}) 64.",
    "the answer is {x}) 64.",
    "The answer is probably ({x}).",
    "The answer is option {x}.",
    "({x})",
]


@pytest.mark.parametrize("form", FORMS)
def test_every_letter_reads_alike(form):
    for letter in "ABCDEFGHI":
        assert value(form.format(x=letter), "ABCDEFGHI") == letter, letter


@pytest.mark.parametrize("form", LOWER)
def test_every_small_letter_reads_alike(form):
    for letter in "abcdefghi":
        read = value(form.format(x=letter), "ABCDEFGHI")
        assert read == letter.upper(), letter


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("The answer is not {x} but {y}.", "{y}"),
        ("The answer is not ({x}) but ({y}).", "{y}"),
        ("The answer is {y}, not {x}.", "{y}"),
        ("The answer is {y} rather than {x}.", "{y}"),
        ("The answer is not {x}.", None),
        ("The answer isn't ({x}).", None),
        ("The answer is neither {x} nor {y}.", None),
        ("The answer cannot be {x}. The answer is {y}.", "{y}"),
        ("The answer is {y}. The answer is not {x}.", "{y}"),
        ("Option {x} is wrong. Option {y} is right.", "{y}"),
        ("Option {x} is not correct. Option {y} is correct.", "{y}"),
        ("Answer: ({x}) is incorrect, so it is ({y}).", "{y}"),
        ("The answer is ({x}) or ({y}).", None),
        ("The answer is {x} or {y}.", None),
        ("The answer is {x} and {y}.", None),
        ("The answer is {x}, {y}.", None),
        ("The answer is {x}/{y}.", None),
        ("The answer is both ({x}) and ({y}).", None),
        ("The answer is either {x} or {y}.", None),
        ("({x}) and ({y}) are correct.", None),
        ("The answer is {y}, {x} is too small.", "{y}"),
        ("The answer is {y}, and {x} is wrong.", "{y}"),
        ("Not {x}. So the answer is {y}.", "{y}"),
    ],
)
def test_denied_and_several_letters(form, expected):
    for x, y in itertools.permutations("ABCDI", 2):
        read = value(form.format(x=x, y=y), "ABCDEFGHI")
        assert read == (expected and expected.format(y=y)), (x, y)


@pytest.mark.parametrize(
    "text",
    [
        "So the answer is a dog.",
        "Answer: A dog is the only mammal.",
        "Answer: I do not know.",
        "I think that a dog is the only mammal.",
        "If we look at (A), it says that it",
        "The answer is A+.",
        "Answer: one of these.\nA) 1\nB) 2\nC) 3",
        "The answer is B12.",
    ],
)
def test_words_are_no_letters(text):
    assert value(text, "ABCDEFGHI") is None


INSIDE = [
    (["1", "10", "100"], "The answer is 10.", "B"),
    (["1", "10", "100"], "The answer is 100", "C"),
    (["1", "10", "100"], "The answer is 1, of course.", "A"),
    (["1", "1.5", "15"], "The answer is 1.5.", "B"),
    (["New York", "New York City", "York"], "It is New York City.", "B"),
    (
        ["New York", "New York City", "York"],
        "The answer is New York City.",
        "B",
    ),
    (["New York", "New York City", "York"], "The answer is York.", "C"),
    (["3%", "30%", "0.3%"], "The answer is 30%", "B"),
    (["3%", "30%", "0.3%"], "The answer is 0.3%.", "C"),
    (["3", "4", "3/4"], "The answer is 3/4.", "C"),
    (["3", "4", "3/4"], "The answer is 4.", "B"),
    (["red", "blue", "red and blue"], "The answer is red and blue.", "C"),
    (["an ion", "onion", "union"], "The answer is onion.", "B"),
    (["A and B", "B", "both"], "The answer is A and B.", "A"),
    (["cat", "the dog"], "The answer is The Dog!", "B"),
    (["cat", "dog"], "The answer is not cat, it is dog.", "B"),
    (["cat", "dog"], "The answer is “ｄｏｇ”.", "B"),
    (["yes", "no", "maybe"], "The answer is cats, not dogs.", None),
    (["one line", "two\nlines"], "The answer is two\nlines.", "B"),
    (["cat", "cat"], "The answer is cat.", None),
    (["cat", "dog", "cow"], "The answer is cat or dog.", None),
    (["cat", "dog", "cow"], "The answer is cat, not dog.", "A"),
    (["C. elegans", "yeast", "E. coli"], "The answer is E. coli.", "C"),
]


@pytest.mark.parametrize(("choices", "text", "expected"), INSIDE)
def test_the_longest_text_wins(choices, text, expected):
    assert value(text, choices) == expected
    # However the options are ordered.
    for order in itertools.permutations(range(len(choices))):
        read = value(text, [choices[i] for i in order])
        if expected is not None:
            assert read == "ABC"[order.index("ABC".index(expected))]


@given(
    st.permutations(["red", "dark red", "10", "100", "a dog", "I", "none"]),
    st.sampled_from(
        [
            "The answer is {x}.",
            "The answer is ({x}) {text}.",
            "Answer: {text}",
            "{x}) {text}",
            "So the answer is {x} because {text} fits best.",
            "I chose {x}.\nThe answer is {x} - {text}.",
            "The answer is most likely {x}",
        ]
    ),
)
@settings(max_examples=40, deadline=None)
def test_no_place_is_favoured(options, form):
    rows = [
        {
            "task": name,
            "target": name,
            "output": form.format(x=name, text=text),
            "options": options,
        }
        for name, text in zip("ABCDEFG", options, strict=True)
        if text != "I" or "{x}" in form  # alone, it may be a letter
    ]
    tasks = score("records", [{**row, "answer_kind": "option"} for row in rows])
    assert {task["accuracy"] for task in tasks["tasks"].values()} == {1}


def test_more_options_than_letters():
    options = [f"item {i} x" for i in range(27)] + ["the zebra"]
    assert option_names(28)[25:] == ["Z", "AA", "AB"]
    assert value("The answer is the zebra", options) == "AB"
    assert value("The answer is B.", options) == "B"
    assert value("The answer is (AB).", options) == "AB"
    assert value("The answer is item 26 x", options) == "AA"
    assert normalise_answer("AB", "option") == "AB"
    assert len(set(option_names(800))) == 800


def test_targets_in_other_forms():
    for target in ("(b)", "B.", "B) 300", "（Ｂ）", "b"):
        assert normalise_answer(target, "option") == "B"


@pytest.mark.realdata
def test_options_of_public_questions(realdata):
    """Every option of MMLU and AQuA, as our templates train its answer."""
    from tests.answers.public_options import public_options

    for name, questions in public_options(realdata).items():
        counts = {"text": [0, 0, 0], "letter": [0, 0, 0]}
        for options in questions:
            names = option_names(len(options))
            folded = [" ".join(o.split()).rstrip(".").lower() for o in options]
            for at, option in enumerate(options):
                if not option.strip() or folded.count(folded[at]) > 1:
                    continue  # no text, or that of two options
                by_text = value(f"The answer is {option}.", options)
                by_letter = value(f"The answer is ({names[at]}).", options)
                bare_letter = option.strip().rstrip(".") in names
                for kind, read in (("text", by_text), ("letter", by_letter)):
                    count = counts[kind]
                    count[0] += 1
                    count[1] += read == names[at]
                    other = read not in (None, names[at])
                    count[2] += other and not (kind == "text" and bare_letter)
        print(name, counts)
        for asked, right, other in counts.values():
            assert right >= 0.999 * asked
            assert other == 0


@pytest.mark.parametrize(
    ("question", "options"),
    [
        (
            "Q? Answer Choices: (A) 15 kmph (B) 6 (c) (C) 7",
            ["15 kmph", "6 (c)", "7"],
        ),
        ("Q: x?\nA. one\nB. two B. C. D\nAnswer:", ["one", "two B. C. D"]),
        ("Options:\nA) a b\nB) c\n\nA: Let's think.", ["a b", "c"]),
        ("(A) old (B) older\nA: (A).\n\n(A) 1 (B) 2\nA:", ["1", "2"]),
        ("Plan (A) is good. (C) is not.", []),
        ("(A) 1 (B) 2\nIs it (A)?", ["1", "2"]),
        ("Vitamin A: 3 mg", []),
        ("", []),
    ],
)
def test_options_that_a_question_lists(question, options):
    assert listed_options(question) == options
