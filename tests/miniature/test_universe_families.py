"""The whole universe: distinct tasks, right answers, no leaks."""

import calendar
import collections
import re
import string

import numpy as np
import pytest

from keras_flan.answers import extract_answer, normalise_answer
from keras_flan.data.analysis.overlap import Words
from keras_flan.errors import InputError
from keras_flan.miniature.universe import (
    HELD_OUT_FAMILIES,
    TASKS,
    Draws,
    build_records,
    ensure_records,
    generate,
)
from keras_flan.miniature.universe.words import DAYS, KIND_OF

SPECS = list(TASKS.values())
TRAINED = [spec for spec in SPECS if not spec.held_out]
HELD_OUT = [spec for spec in SPECS if spec.held_out]
MONTHS = list(calendar.month_name)[1:]


@pytest.fixture(scope="module")
def examples():
    """Fields of 60 test examples of every task."""
    return {
        spec.name: [e.fields for e in generate(spec, "test", 60)]
        for spec in SPECS
    }


def test_there_are_many_tasks_in_many_families():
    families = collections.Counter(spec.family for spec in SPECS)
    assert len(SPECS) >= 200
    assert len(families) >= 20
    assert len([spec for spec in SPECS if spec.reasoning]) >= 150


def test_whole_tasks_and_whole_families_are_held_out():
    trained = {spec.family for spec in TRAINED}
    whole = {spec.family for spec in HELD_OUT} - trained
    assert whole == HELD_OUT_FAMILIES
    assert len(whole) >= 5
    alone = [spec for spec in HELD_OUT if spec.family in trained]
    assert len(alone) >= 25
    assert not {s.name for s in TRAINED} & {s.name for s in HELD_OUT}
    assert all(spec.splits == ("test",) for spec in HELD_OUT)


def test_tasks_have_five_own_ways_of_asking():
    for spec in SPECS:
        if spec.templates:
            assert len(set(spec.templates)) == len(spec.templates) >= 5, spec


def test_no_two_tasks_ask_the_same():
    asked = collections.defaultdict(set)
    for spec in SPECS:
        for example in generate(spec, "test", 60):
            asked[example.fields["question"]].add(spec.name)
    # Small numbers and truth values are bound to meet.
    shared = [names for names in asked.values() if len(names) > 1]
    assert len(shared) < 5, shared


def test_fields_and_baselines_are_those_announced(examples):
    for spec in SPECS:
        rows = examples[spec.name]
        for fields in rows:
            assert all(fields.values()), fields
            assert ("rationale" in fields) == spec.reasoning
            assert not re.search(r"[{}]|None|\.\.", " ".join(fields.values()))
            assert not (spec.templates and fields["question"][0].islower())
        (_, top), *_ = collections.Counter(
            fields["answer"] for fields in rows
        ).most_common(1)
        assert top / len(rows) <= spec.random_baseline + 0.2, spec.name
        assert 0 <= spec.random_baseline < 0.85


def test_answers_are_extracted_from_replies(examples):
    for spec in SPECS:
        for fields in examples[spec.name][:5]:
            options = fields.get("options")
            reply = f"{fields.get('rationale', '')} The answer is "
            found = extract_answer(
                f"{reply}{fields['answer']}.",
                spec.answer_kind,
                options.split("\n") if options else None,
            )
            wanted = normalise_answer(fields["answer"], spec.answer_kind)
            assert found is not None, fields
            assert normalise_answer(found.value, spec.answer_kind) == wanted


def test_every_equation_of_a_rationale_is_true(examples):
    equations = 0
    for rows in examples.values():
        for fields in rows:
            for left, right in re.findall(
                r"(?<![\w.])(\d+(?: [+-] \d+)+) = (\d+)",
                fields.get("rationale", ""),
            ):
                signed = re.sub(r"([+-]) ", r"\1", left).split()
                assert sum(map(int, signed)) == int(right), fields
                equations += 1
    assert equations > 2000


# Solvers that see the question only, and share no code with the generators.


def numbers(question):
    return [int(n) for n in re.findall(r"\d+", question)]


def listed(question):
    return [word for word in re.findall(r"\w+", question) if word in KIND_OF]


def joined(values):
    return ", ".join(map(str, values))


def word(question):
    return listed(question)[0]


def day(question, by):
    (found,) = re.findall("|".join(DAYS), question)
    return DAYS[(DAYS.index(found) + by) % 7]


def month(question, by):
    (found,) = re.findall("|".join(MONTHS), question)
    return MONTHS[(MONTHS.index(found) + by) % 12]


def last_room(question):
    (who,) = re.findall(r"(?:is|room is) ([A-Z]\w+) (?:now|at)", question)
    return re.findall(rf"{who} goes to the (\w+)", question)[-1]


def label(question):
    """Of a rule on numbers: the threshold is the larger sentence part."""
    n, limit = numbers(question)
    one, two = re.search(r"get (\w+) and others get (\w+)", question).groups()
    above = "above" in question
    return one if (n > limit if above else n < limit) else two


def table(question, pick):
    names, one, two = zip(
        *re.findall(r"(\w+) \| (\w+) \| (\w+)", question), strict=True
    )
    thing = re.search(rf"({one[0]}|{two[0]}) in", question)[1]
    column = one if thing == one[0] else two
    rows = list(zip(map(int, column[1:]), names[1:], strict=True))
    return pick(rows)[1]


def plural_sums(question):
    a, b = numbers(question)
    return str(a + b)


def shifted(word, by):
    letters = string.ascii_lowercase
    return "".join(letters[(letters.index(c) + by) % 26] for c in word)


def lift(question):
    start, *_ = numbers(question)
    moves = re.findall(r"(up|down) (\d)", question)
    return str(start + sum(int(n) * (1 if w == "up" else -1) for w, n in moves))


SOLVERS = {
    "calculation_sum": plural_sums,
    "calculation_sum_of_three": lambda q: str(sum(numbers(q))),
    "calculation_difference": lambda q: str(numbers(q)[0] - numbers(q)[1]),
    "calculation_minus_plus": lambda q: str(
        numbers(q)[0] - numbers(q)[1] + numbers(q)[2]
    ),
    "calculation_half": lambda q: str(numbers(q)[0] // 2),
    "calculation_remainder": lambda q: str(numbers(q)[0] % numbers(q)[1]),
    "calculation_missing": lambda q: str(max(numbers(q)) - min(numbers(q))),
    "sequences_next": lambda q: str(2 * numbers(q)[3] - numbers(q)[2]),
    "sequences_next_down": lambda q: str(2 * numbers(q)[3] - numbers(q)[2]),
    "sequences_before": lambda q: str(2 * numbers(q)[0] - numbers(q)[1]),
    "number_lists_largest": lambda q: str(max(numbers(q))),
    "number_lists_second_largest": lambda q: str(sorted(numbers(q))[-2]),
    "number_lists_sum": lambda q: str(sum(numbers(q))),
    "number_lists_sorted": lambda q: joined(sorted(numbers(q))),
    "number_lists_count_even": lambda q: str(
        sum(n % 2 == 0 for n in numbers(q))
    ),
    "number_lists_range": lambda q: str(max(numbers(q)) - min(numbers(q))),
    "number_lists_odd": lambda q: (
        joined(n for n in numbers(q) if n % 2) or "none"
    ),
    "divisors_by_three": lambda q: "no" if max(numbers(q)) % 3 else "yes",
    "divisors_by_ten": lambda q: "yes" if re.search(r"\d0\b.*\b10|10.*\d0\b",
                                                    q) else "no",
    "units_weeks_to_days": lambda q: str(7 * numbers(q)[0]),
    "units_dozens": lambda q: str(12 * numbers(q)[0]),
    "shapes_perimeter": lambda q: str(2 * sum(numbers(q))),
    "spelling_length": lambda q: str(len(word(q))),
    "spelling_headless": lambda q: word(q)[1:],
    "spelling_vowels": lambda q: re.sub("[^aeiou]", "", word(q)),
    "spelling_dashed": lambda q: "-".join(word(q)),
    "reversal_word": lambda q: "".join(reversed(word(q))),
    "reversal_numbers": lambda q: joined(reversed(numbers(q))),
    "reversal_digits": lambda q: str(numbers(q)[0])[::-1],
    "word_lists_longest": lambda q: max(listed(q), key=len),
    "word_lists_third": lambda q: listed(q)[2],
    "word_lists_sorted": lambda q: joined(sorted(listed(q))),
    "word_lists_first_in_alphabet": lambda q: min(listed(q)),
    "forms_slashes": lambda q: "/".join(listed(q)),
    "forms_brackets": lambda q: " ".join(f"[{w}]" for w in listed(q)),
    "ciphers_letter_after": lambda q: shifted(
        re.search(r"(?:after|follows) (\w)\b", q)[1], 1
    ),
    "ciphers_shifted": lambda q: shifted(word(q), 1),
    "kinds_same": lambda q: (
        "yes" if len({KIND_OF[w] for w in listed(q)}) == 1 else "no"
    ),
    "calendar_tomorrow": lambda q: day(q, 1),
    "calendar_two_days_back": lambda q: day(q, -2),
    "months_previous": lambda q: month(q, -1),
    "months_number": lambda q: str(MONTHS.index(month(q, 0)) + 1),
    "months_days": lambda q: str(
        calendar.monthrange(2023, MONTHS.index(month(q, 0)) + 1)[1]
    ),
    "places_where": last_room,
    "tracking_lift": lift,
    "tables_most": lambda q: table(q, max),
    "tables_fewest": lambda q: table(q, min),
    "rules_above": label,
    "rules_below": label,
    "money_total": plural_sums,
    "composition_largest_number_doubled": lambda q: str(2 * max(numbers(q))),
    "composition_longest_initial": lambda q: max(listed(q), key=len)[0],
    "composition_last_kind": lambda q: KIND_OF[listed(q)[-1]],
    "composition_sum_parity": lambda q: (
        "odd" if sum(numbers(q)) % 2 else "even"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SOLVERS)
def test_answers_agree_with_an_independent_solver(name, examples):
    for fields in examples[name]:
        assert SOLVERS[name](fields["question"]) == fields["answer"], fields


def test_generation_is_deterministic_and_a_prefix():
    spec = TASKS["tables_most"]
    forty = generate(spec, "train", 40)
    assert forty == generate(spec, "train", 80)[:40]
    assert generate(spec, "test", 5) == generate(spec, "test")[:5]
    assert not {e.fields["question"] for e in forty} & {
        e.fields["question"] for e in generate(spec, "test")
    }


def test_fewer_templates_can_be_asked_for():
    spec = TASKS["spelling_headless"]
    for example in generate(spec, "test", 20, templates=1):
        assert re.fullmatch(
            r"\w+ asks \w+: what is \w+ without its first letter\?",
            example.fields["question"],
        )


@pytest.mark.slow
def test_one_template_makes_enough_questions():
    for spec in TRAINED:
        assert len(generate(spec, "train", 400, templates=1)) == 400


def test_records_of_chosen_tasks_and_sizes(tmp_path):
    sizes = {"train": 12, "test": 5}
    names = ["tables_most", "money_total"]
    infos = build_records(tmp_path, tasks=names, sizes=sizes)
    assert [(i["name"], i["split"], i["num_examples"]) for i in infos] == [
        ("tables_most", "train", 12),
        ("tables_most", "test", 5),
        ("money_total", "test", 5),
    ]
    place = tmp_path / "money_total" / "test" / "dataset_info.json"
    before = place.stat().st_ino
    ensure_records(tmp_path, tasks=names, sizes={"train": 20, "test": 5})
    assert place.stat().st_ino == before
    ensure_records(tmp_path, tasks=names, sizes=sizes, templates=1)
    assert place.stat().st_ino != before
    with pytest.raises(InputError, match="tables_mos: no such task"):
        build_records(tmp_path, tasks=["tables_mos"])


def grams(rows):
    """Hashes of all runs of 13 words of questions and rationales."""
    keys = ("question", "rationale", "other_rationale")
    texts = [f.get(k, "") for f in rows for k in keys]
    return np.unique(Words.of(texts).ngrams(13)[0])


def leaks(training):
    """Trained tasks that share 13 words in a row with a held-out example."""
    held_out = grams(
        [e.fields for spec in HELD_OUT for e in generate(spec, "test")]
    )
    assert len(held_out) > 10_000
    return [
        spec.name
        for spec in TRAINED
        if np.isin(grams(training(spec)), held_out).any()
    ]


def both_ways(spec, draws):
    """An example, and what may be told of it instead."""
    made = spec.make(draws)
    return [spec.example(draws), made]


def test_no_thirteen_words_of_a_held_out_example_are_trained_on():
    def some(spec):
        draws = Draws(f"{spec.name}/train")
        return [made for _ in range(40) for made in both_ways(spec, draws)]

    assert leaks(some) == []


@pytest.mark.slow
def test_nor_in_splits_of_the_largest_size():
    def all_of(spec):
        return [
            e.fields
            for ways in (False, True)
            for e in generate(spec, "train", other_ways=ways)
        ]

    assert leaks(all_of) == []
