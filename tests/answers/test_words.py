# ruff: noqa: RUF001 (models do write these quotes and forms)
"""Words: statements, lists, and texts in other forms of the same letters."""

import pytest

from keras_flan.answers import extract_answer, normalise_answer


def value(text, kind):
    answer = extract_answer(text, kind)
    return answer and answer.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Answer: Yes, pigs can fly.", "yes"),
        ("Answer: Pigs cannot fly.", "no"),
        ("Answer: A pig would be able to swim.", "yes"),
        ("Pigs have no wings. Therefore, pigs can't fly.", "no"),
        ("Wings help. Thus, a bird could fly over it.", "yes"),
        ("Answer: It depends on the pig.", None),
        ("Answer: It is not possible to know.", None),
        ("Answer: Pink pigs.", None),
        ("Pigs are pink. They eat.", None),
        ("Answer: Pigs eat. Birds are fed.", None),
    ],
)
def test_statements(text, expected):
    assert value(text, "yes_no") == expected


LISTS = [
    "The answer is ant, bee, cat.",
    "The answer is ant bee cat",
    "The answer is ant, bee and cat.",
    "The answer is ant, bee, and cat.",
    "The answer is ['ant', 'bee', 'cat'].",
    "Answer:\n- ant\n- bee\n- cat",
    "Answer:\n1. Ant\n2. Bee\n3. Cat",
    "The answer is “Ant”; ｂｅｅ; cat",
]


@pytest.mark.parametrize("text", LISTS)
def test_lists_agree(text):
    assert value(text, "list") == "ant bee cat"


def test_and_may_be_an_item():
    assert value("The answer is and, bee, cat.", "list") == "and bee cat"
    assert normalise_answer("and bee cat", "list") == "and bee cat"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("café", "cafe\u0301"),
        ("New York", "Ｎｅｗ　Ｙｏｒｋ"),
        ("New York", "new\u00a0york."),
        ("Jean-Luc", "Jean–Luc"),
        ("don't", "don’t"),
        ("office", "oﬃce"),
        ("straße", "STRASSE"),
        ("x", "\ufeffx"),
    ],
)
def test_forms_of_a_text_are_one(one, other):
    assert normalise_answer(one, "text") == normalise_answer(other, "text")
    assert value(f"The answer is {other}", "text") == (
        normalise_answer(one, "text")
    )
