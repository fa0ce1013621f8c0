# ruff: noqa: RUF001 (models do write these signs, dashes and digits)
"""Numbers: which one is the answer, and how it is written."""

import pytest

from keras_flan.answers import extract_answer, normalise_answer


def value(text, kind="number", language=None):
    answer = extract_answer(text, kind, language=language)
    return answer and answer.value


CALCULATIONS = [
    ("The answer is 10 + 5 = 15.", "15"),
    ("The answer is $200,000 - $130,000 = $70,000.", "70000"),
    ("So the answer is 3 x 4 = 12 apples.", "12"),
    ("#### 2^5 = 32", "32"),
    ("The answer is 5155 - 45 = 5155 - 45 = 5110 .", "5110"),
    ("The answer is 20 apples - 5 apples = 15 apples.", "15"),
    ("The answer is x = 10 × 2 = 20.", "20"),
    ("The answer is (10 + 5) / 3 = 5", "5"),
    ("The answer is \\(3 \\times 4 = 12\\).", "12"),
    # A calculation without a result names no number.
    ("The answer is 10 + 5.", None),
    ("The answer is 10 + 5 = 3 + 12", None),
    # A second form is no result.
    ("The answer is 25% = 1/4.", "25"),
    ("The answer is 1/4, or 25%.", "0.25"),
    ("The answer is 25%, or 0.25.", "25"),
    ("The answer is 60 minutes = 1 hour.", "60"),
    ("The answer is 15 = 10 + 5.", "15"),
]
CONCLUSIONS = [
    (
        "Shelves needed = 45 ÷ 5\n\nAnswer: She needs 9 shelves for the 45 "
        "books.",
        "9",
    ),
    (
        "Cost of the 3 pens = 3 x $1.50\n\nAnswer: He must pay $4.50 for the 3 "
        "pens.",
        "4.5",
    ),
    ("Boxes = 18 / 3\nAnswer: He fills 6 boxes with the 18 eggs.", "6"),
    ("Goal = $200\nLeft = $26\nAnswer: He needs $26 to have $200.", "26"),
    ("5 * 6 = 30\nAnswer: In 6 days, 5 hens lay 30 eggs.", "30"),
    ("Answer: Ann has 75. Bob has 90. So Bob has 15 more.", "15"),
    ("Answer: There are 108 fruits (52 apples and 56 pears).", "108"),
    ("Answer: 3 cats and 9 dogs, for a total of 12 pets.", "12"),
    ("Answer: It is T4, which is 8 degrees less.", "8"),
    ("3 + 4 = 7\n\nAnswer:", "7"),
    ("Therefore, Ryan has 25 flowers after 15 days.", "25"),
    ("First 2, then 3. So it is 5", "5"),
]
LANGUAGES = [
    ("Die Antwort ist 1.500.", None, "1500"),
    ("Die Antwort lautet 1.500 Euro.", None, "1500"),
    ("La respuesta es 1.500.", None, "1500"),
    ("La réponse est 1 500.", None, "1500"),
    ("Ответ — 1 500.", None, "1500"),
    ("Ответ: 12 500 рублей.", None, "12500"),
    ("Respuesta: 1.500.000", None, "1500000"),
    ("#### 1.500", "de", "1500"),
    ("#### 2 500,5", "fr", "2500.5"),
    ("#### 1.500", None, "1.5"),
    ("#### 1,500", "de", "1500"),
    ("#### 1,5", "de", "1.5"),
    ("Die Antwort ist 1.5.", None, "1.5"),
    ("The answer is 1.500.", None, "1.5"),
    ("The answer is 12 500.", None, "12"),
]
LATEX = [
    ("\\boxed{$9{,}500}", "9500"),
    ("The answer is $9{,}500.", "9500"),
    ("\\boxed{1\\,250}", "1250"),
    ("\\boxed{1{,}250{,}000}", "1250000"),
    ("\\boxed{12,\\!500.5}", "12500.5"),
    ("\\boxed{\\frac34}", "0.75"),
    ("\\boxed{2\\frac{1}{2}}", "2.5"),
    ("\\boxed{\\frac{-3}{4}}", "-0.75"),
    ("\\boxed{-\\frac{3}{4}}", "-0.75"),
    ("\\boxed{\\frac{3}{4}}", "0.75"),
    ("\\boxed{\\dfrac 1 2}", "0.5"),
    ("\\boxed{\\text{18 apples}}", "18"),
    ("\\boxed{50\\%}", "50"),
    ("The answer is $\\$18$.", "18"),
    ("\\fbox{3} so \\boxed{3.0 \\times 10^2}", "300"),
]
SIGNS = [f"The answer is {dash}5." for dash in "-−‐‑‒–—﹣－"]
WORDS = [
    ("The answer is eleven.", "11"),
    ("The answer is twenty-one apples.", "21"),
    ("The answer is one hundred and fifty-one dollars.", "151"),
    ("The answer is two thousand three hundred.", "2300"),
    ("The answer is two and a half.", "2.5"),
    ("The answer is three quarters.", "0.75"),
    ("The answer is minus seven.", "-7"),
    ("The answer is negative 7.", "-7"),
    ("The answer is 2 and a half hours.", "2.5"),
    ("The answer is 1'250'000.", "1250000"),
    ("The answer is 1.5 million.", "1500000"),
    ("The answer is 3 thousand dollars.", "3000"),
    ("The answer is $2 billion.", "2000000000"),
    ("The answer is $5M.", "5000000"),
    ("The answer is 70k.", "70000"),
    ("The answer is one of the 5 boys.", "5"),
    ("Thus she has eleven hens.", "11"),
    ("No one knows.", None),
    ("The answer is 5 m.", "5"),
]
NONE = [
    "The answer is 10:30.",
    "The answer is 2:30 pm.",
    "The answer is 06/20/2019.",
    "The answer is 2019-06-20.",
    "The answer is June 20, 2019.",
    "The answer is the 20th of June.",
    "The answer is 2, 3, 5.",
    "The answer is 2, 3 and 5.",
    "The answer is 3 and 4.",
    "The answer is 2;4;8",
    "The answer is 3:4.",
    "The answer is not 12.",
    "10:30",
]
RUN_ON = [
    "The answer is 18. Q: Tom has 3 cats. A: He has 3. The answer is 3.",
    "The answer is 18.\n\nInput: Tom has 3 cats.\nOutput: The answer is 3.",
    "The answer is 18. Input: Tom has 3 cats. Output: The answer is 3.",
    "The answer is 18.\n\n[Question]\nTom has 3.\n[Answer]\nThe answer is 3.",
    "The answer is 18. [Question] Tom has 3. [Answer] The answer is 3.",
    "The answer is 18. Problem: Tom has 3 cats. The answer is 3.",
    "#### 18\n\nQuestion: Tom has 3 cats.\nAnswer: #### 3",
    "#### 18 Question 2: Tom has 3 cats. Answer: #### 3",
    "18 Q: Tom has 3 cats. A: The answer is 3.",
    "18\n\n### Instruction: Count the 3 cats.\nThe answer is 3.",
    # Never before the first answer.
    "[Question] How many? [Answer] The answer is 18. [Question] And 3?",
    "Question: 20 - 2 are how many?\nThe answer is 18.\n\nQuestion: And 3?",
    "We read the question. Problem: count 3 cats. The answer is 18.",
]


@pytest.mark.parametrize(("text", "expected"), CALCULATIONS)
def test_a_calculation_ends_in_its_result(text, expected):
    assert value(text) == expected


@pytest.mark.parametrize(("text", "expected"), CONCLUSIONS)
def test_a_closing_statement_concludes(text, expected):
    assert value(text) == expected


@pytest.mark.parametrize(("text", "language", "expected"), LANGUAGES)
def test_languages_group_digits(text, language, expected):
    assert value(text, language=language) == expected


@pytest.mark.parametrize(("text", "expected"), LATEX + WORDS)
def test_how_numbers_are_written(text, expected):
    assert value(text) == expected


@pytest.mark.parametrize("text", SIGNS)
def test_every_dash_is_a_sign(text):
    assert value(text) == "-5"
    assert value(text.replace("5.", " $5").replace("  ", " ")) is not None


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_number(text):
    assert value(text) is None


@pytest.mark.parametrize("text", RUN_ON)
def test_an_answer_ends_at_the_next_question(text):
    assert value(text) == "18"


def test_denied_numbers():
    assert value("The answer is not 12 but 13.") == "13"
    assert value("The answer is 13, not 12.") == "13"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The answer is 06/20/2019.", "2019-06-20"),
        ("So the answer is 6/20/2019", "2019-06-20"),
        ("The answer is June 20, 2019.", "2019-06-20"),
        ("Answer: the 20th of June, 2019", "2019-06-20"),
        ("2019-06-20", "2019-06-20"),
        ("答案是2019年6月20日", "2019-06-20"),
        ("Today is 06/19/2019, so tomorrow is 06/20/2019.", "2019-06-20"),
        ("Die Antwort ist 20.06.2019", "2019-06-20"),
        ("20/06/2019", "2019-06-20"),
        ("The answer is 02/30/2019.", None),
        ("The answer is unknown.", None),
    ],
)
def test_dates(text, expected):
    assert value(text, "date") == expected


def test_dates_that_begin_with_the_day():
    assert value("06/07/2019", "date") == "2019-06-07"
    assert value("06/07/2019", "date", "en-GB") == "2019-07-06"
    assert normalise_answer("06/07/2019", "date", language="fr") == (
        "2019-07-06"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The answer is 3:30 pm.", "15:30"),
        ("The answer is 15:30", "15:30"),
        ("Answer: 3.30 p.m.", "15:30"),
        ("The answer is noon.", "12:00"),
        ("12 am", "00:00"),
        ("The answer is 5.", None),
        ("The answer is 25:00.", None),
    ],
)
def test_times(text, expected):
    assert value(text, "time") == expected
