"""Exact match and F1 of spans, worked by hand in eight languages.

Each row: the model's line, the references, exact match and F1 as the
official SQuAD 1.1 script defines them: lower case, without ASCII
punctuation, without a, an, the, single blanks; then equal, or the harmonic
mean of the shares of words that are in both; the best over the references.
"""

from fractions import Fraction

import pytest

from keras_flan.answers.spans import (
    canonical_span,
    find_span,
    normalise_span,
    span_f1,
)
from keras_flan.evaluation.scores.scoring import score

CASES = {
    "ar": [
        ("بطولتين", ["بطولتين"], 1, "1"),
        ("برصيد بطولتين", ["بطولتين"], 0, "2/3"),  # 1 of 2, 1 of 1
        ("1930 و1950", ["1930"], 0, "2/3"),
        # The Arabic comma is no ASCII mark: it stays on its word.
        ("القاهرة، مصر", ["القاهرة"], 0, "0"),
        ("القاهرة.", ["القاهرة"], 1, "1"),
        ("في القاهرة", ["القاهرة", "في القاهرة"], 1, "1"),
        ("٢٢ مايو", ["22 مايو"], 0, "1/2"),  # digits are not folded
        ("عام 1945 م", ["1945"], 0, "1/2"),  # 1 of 3, 1 of 1
    ],
    "bn": [
        ("রবীন্দ্রনাথ ঠাকুর", ["রবীন্দ্রনাথ ঠাকুর"], 1, "1"),
        ("রবীন্দ্রনাথ", ["রবীন্দ্রনাথ ঠাকুর"], 0, "2/3"),
        ("ঢাকা।", ["ঢাকা"], 0, "0"),  # the danda stays
        ("ঢাকা!", ["ঢাকা"], 1, "1"),
        ("১৯৭১ সালে", ["১৯৭১ সালের"], 0, "1/2"),
        ("১৯৭১", ["1971"], 0, "0"),
        ("ভারত ও বাংলাদেশ", ["বাংলাদেশ ও ভারত"], 0, "1"),  # order is nothing
        ("", ["ঢাকা"], 0, "0"),
    ],
    "fi": [
        ("4000 eaa", ["vuonna 4000 eaa", "4000 eaa"], 1, "1"),
        # 3 of 4, 3 of 3 against the first; 2 of 4, 2 of 2 the second.
        ("noin vuonna 4000 eaa.", ["vuonna 4000 eaa", "4000 eaa"], 0, "6/7"),
        ("Helsinki", ["helsinki"], 1, "1"),
        ("Helsingissä", ["Helsinki"], 0, "0"),  # no stemming
        ("Urho Kekkonen", ["Urho Kaleva Kekkonen"], 0, "4/5"),
        ("a-luokka", ["luokka"], 0, "0"),  # becomes "aluokka"
        ("A Tampere", ["Tampere"], 1, "1"),  # English articles everywhere
        ("10 000", ["10000"], 0, "0"),
    ],
    "id": [
        ("Jakarta", ["Jakarta"], 1, "1"),
        ("kota Jakarta", ["Jakarta"], 0, "2/3"),
        ("17 Agustus 1945", ["Agustus 1945"], 0, "4/5"),  # 2 of 3, 2 of 2
        ("Rp 5.000", ["5000"], 0, "2/3"),
        ("kura-kura", ["kurakura"], 1, "1"),
        ("“Laskar Pelangi”", ["Laskar Pelangi"], 0, "0"),  # curly quotes stay
        ('"Laskar Pelangi"', ["Laskar Pelangi"], 1, "1"),
        ("Sumatra dan Jawa", ["Jawa"], 0, "1/2"),
    ],
    "ko": [
        ("서울", ["서울"], 1, "1"),
        ("서울에서", ["서울"], 0, "0"),  # the particle is on the word
        ("대한민국 서울", ["서울"], 0, "2/3"),
        ("세종대왕(世宗大王)", ["세종대왕世宗大王"], 1, "1"),
        ("1950년 6월 25일", ["1950년 6월"], 0, "4/5"),
        ("이순신 장군", ["장군 이순신"], 0, "1"),
        ("약 100 km", ["100km"], 0, "0"),
        ("「훈민정음」", ["훈민정음"], 0, "0"),
    ],
    "ru": [
        ("Москва", ["москва"], 1, "1"),
        ("в Москве", ["Москва"], 0, "0"),
        ("Лев Николаевич Толстой", ["Лев Толстой"], 0, "4/5"),
        ("1 799 человек", ["1799"], 0, "0"),
        ("«Война и мир»", ["Война и мир"], 0, "1/3"),  # only "и" is shared
        ("Война и мир", ["Война и мир"], 1, "1"),
        ("и и и", ["и мир"], 0, "2/5"),  # a word counts as often as in both
        ("12 апреля 1961 года", ["12 апреля 1961", "1961"], 0, "6/7"),
    ],
    "sw": [
        ("Dodoma", ["Dodoma"], 1, "1"),
        ("mji wa Dodoma", ["Dodoma"], 0, "1/2"),
        ("Julius Kambarage Nyerere", ["Julius Nyerere"], 0, "4/5"),
        ("ng'ombe", ["ngombe"], 1, "1"),
        ("9 Desemba 1961", ["1961"], 0, "1/2"),
        # All of it is an article: equal, but no word is shared.
        ("A", ["a"], 1, "0"),
        ("Mlima Kilimanjaro", ["Kilimanjaro", "Mlima Kilimanjaro"], 1, "1"),
        ("Kilimanjaro.", ["Kilimanjaro"], 1, "1"),
    ],
    "te": [
        ("హైదరాబాదు", ["హైదరాబాదు"], 1, "1"),
        ("హైదరాబాదు నగరం", ["హైదరాబాదు"], 0, "2/3"),
        ("హైదరాబాద్", ["హైదరాబాదు"], 0, "0"),
        ("1,234", ["1234"], 1, "1"),
        ("12.5 కిమీ", ["125 కిమీ"], 1, "1"),  # the point is punctuation
        ("the గోదావరి", ["గోదావరి"], 1, "1"),
        ("గోదావరి మరియు కృష్ణా", ["కృష్ణా మరియు గోదావరి"], 0, "1"),
        ("శ్రీ కృష్ణ దేవరాయలు", ["కృష్ణ దేవరాయలు"], 0, "4/5"),
    ],
}


def test_the_table_is_whole():
    assert {language: len(rows) for language, rows in CASES.items()} == (
        dict.fromkeys(("ar", "bn", "fi", "id", "ko", "ru", "sw", "te"), 8)
    )


@pytest.mark.parametrize("language", CASES)
def test_hand_worked_cases(language):
    for line, references, exact, f1 in CASES[language]:
        row = {
            "task": language,
            "target": references[0],
            "references": references,
            "output": f" {line}\nQ: and more",
            "stop": ["\n"],
        }
        metrics = score("tydiqa", [row])
        assert metrics["accuracy"] == exact, line
        assert metrics["f1"] == pytest.approx(float(Fraction(f1))), line


def test_the_mean_is_over_languages():
    rows = [
        {
            "task": language,
            "target": references[0],
            "references": references,
            "output": line or "\n",
        }
        for language, cases in {**CASES, "en": CASES["sw"][:1]}.items()
        for line, references, _, _ in cases
    ]
    metrics = score("tydiqa", rows)
    exact = [e for cases in CASES.values() for _, _, e, _ in cases]
    f1 = [Fraction(f) for cases in CASES.values() for _, _, _, f in cases]
    # English is an extra: it is not in the mean.
    assert metrics["tasks"]["en"]["accuracy"] == 1
    assert metrics["accuracy"] == pytest.approx(sum(exact) / 64)
    assert metrics["f1"] == pytest.approx(float(sum(f1) / 64))
    assert metrics["unparsed"] == 1


def test_pieces():
    assert normalise_span("  The\tCat, an  Owl & a Dog! ") == "cat owl dog"
    assert normalise_span("theatre Ana a.") == "theatre ana"
    assert canonical_span("The") == "the" and canonical_span(" \n") is None
    assert find_span("\n\n Oslo \nParis") == ("oslo", 3, 7, "line")
    assert find_span(" \n ") is None
    assert span_f1("", "") == 0.0


@pytest.mark.realdata
def test_the_mock_predictions_of_xtreme(realdata):
    """XTREME's own sample: labels and predictions of nine languages."""
    import json

    folder = realdata / "tydiqa" / "xtreme_mock"
    rows = []
    for path in sorted((folder / "labels").glob("*.json")):
        predictions = json.loads(
            (folder / "predictions" / path.name).read_bytes()
        )
        [article] = json.loads(path.read_bytes())["data"]
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                references = [a["text"] for a in question["answers"]]
                rows.append(
                    {
                        "task": path.stem.removeprefix("test-"),
                        "target": references[0],
                        "references": references,
                        "output": predictions[question["id"]],
                    }
                )
    assert len(rows) == 9
    metrics = score("tydiqa", rows)
    # Indonesian alone is not exact: three of five words, all of them right.
    assert metrics["accuracy"] == 7 / 8
    assert metrics["f1"] == pytest.approx((7 + 0.75) / 8)
    for row in rows:
        exact = row["output"] in row["references"]
        single = score("tydiqa", [row])
        assert single["accuracy"] >= exact
