import ast
import collections
import datetime
import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest

from keras_flan.answers import extract_answer, normalise_answer
from keras_flan.data.records.shards import read_records
from keras_flan.miniature.universe import (
    CORE,
    SAMPLE_SIZES,
    Draws,
    TaskSpec,
    build_records,
    comparison,
    ensure_records,
    generate,
    lists,
    logic,
    meaning,
    state,
)
from keras_flan.miniature.universe import arithmetic as arithmetic_tasks
from keras_flan.miniature.universe.meaning import MOODS, OPPOSITES
from keras_flan.miniature.universe.words import DAYS, KIND_OF

SHIPPED = Path(__file__).parents[2] / "tf_records" / "quickstart"
SPECS = list(CORE.values())
SIZES = {"train": 600, "test": 200}
each_task = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)


# Solvers that see the question only, and share no code with the generators.


def numbers(question):
    return [int(n) for n in re.findall(r"\d+", question)]


def listed(question):
    return [word for word in re.findall(r"\w+", question) if word in KIND_OF]


def arithmetic(question):
    """Sums the numbers; each has the sign of the last verb before it."""
    minus = {"gives", "gave", "takes", "took", "lost", "used", "use"}
    plus = {"has", "had", "buys", "buy", "bought", "finds", "found", "puts",
            "gets", "adds", "brings", "are", "were", "holds"}  # fmt: skip
    # What a shop sold is counted, unless we are told what it had.
    (minus if " had " in question else plus).add("sold")
    total, sign = 0, 1
    for word in re.findall(r"\w+", question.split(" How many")[0]):
        sign = -1 if word in minus else 1 if word in plus else sign
        total += sign * int(word) if word.isdigit() else 0
    return str(total)


def compare_numbers(question):
    return str((max if "larger" in question else min)(numbers(question)))


def ordering(question):
    above = set()
    for x, relation, y in re.findall(r"(\w+) is (\w+) than (\w+)", question):
        low_first = relation in ("shorter", "younger", "slower")
        above.add((y, x) if low_first else (x, y))
    wins, losses = ({pair[i] for pair in above} for i in (0, 1))
    (top,), (bottom,) = wins - losses, losses - wins
    most = re.search("tallest|oldest|fastest", question)
    return top if most else bottom


def nth_word(question):
    items = listed(question)
    (position,) = re.findall("first|second|last", question)
    return items[{"first": 0, "second": 1, "last": -1}[position]]


def count_kind(question):
    (kind,) = re.findall("animal|fruit|colour|tool|garment", question)
    return str(sum(KIND_OF[item] == kind for item in listed(question)))


def parity(question):
    return "even" if numbers(question)[0] / 2 in range(99) else "odd"


def letter(question):
    return listed(question)[0][-1 if " last" in question else 0]


def word_kind(question):
    (kind,) = (KIND_OF[word] for word in listed(question))
    assert kind in question
    return kind


def coin_flip(question):
    tails = question.count("flips it") % 2
    return "no" if tails else "yes"


def swaps(question):
    start, *events, ask = re.findall(r"[^.?]+", question)
    held = dict(re.findall(r"([A-Z]\w+)(?: has)? the (\w+)", start))
    for event in events:
        x, y = re.findall(r"[A-Z]\w+", event)
        held[x], held[y] = held[y], held[x]
    (who,) = [name for name in held if name in ask]
    return held[who]


def calendar(question):
    (day,) = re.findall("|".join(DAYS), question)
    # 2024 began on a Monday.
    date = datetime.date(2024, 1, 1 + DAYS.index(day))
    return f"{date + datetime.timedelta(numbers(question)[0]):%A}"


def clock(question):
    length, hour = (
        int(re.search(pattern, question)[1])
        for pattern in (r"(\d+) hour", r"(\d+)(?! hour)\b")
    )
    time = datetime.datetime(2024, 1, 1, hour % 12)
    time += datetime.timedelta(hours=length)
    return str(int(f"{time:%I}"))


def syllogism(question):
    premises, ask = question.rsplit(". ", 1)
    every = dict(re.findall(r"Every (\w+) is a (\w+)", premises))
    no = set(re.findall(r"No (\w+) is a (\w+)", premises))
    (first,) = re.findall(r"[A-Z]\w+ is a (\w+)", re.sub(
        r"(Every|No) \w+ is a \w+", "", premises))  # fmt: skip
    classes = [first, *([every[first]] if first in every else [])]
    asked = re.search(r"(\w+?)s?\?", ask)[1]
    if asked in classes:
        return "yes"
    assert any((kind, asked) in no for kind in classes)
    return "no"


def boolean(question):
    ask = question.replace("True or False:", "").replace("it True or", "")
    tokens = r"(?:(?:\b(?:True|False|not|and|or)\b|\(|\)) ?)+"
    expression = max(re.findall(tokens, ask), key=len).strip()

    def value(node):
        if isinstance(node, ast.BoolOp):
            values = [value(part) for part in node.values]
            return (all if isinstance(node.op, ast.And) else any)(values)
        if isinstance(node, ast.UnaryOp):
            return not value(node.operand)
        return node.value

    return str(value(ast.parse(expression, mode="eval").body))


def category(question):
    (kind,) = re.findall("animal|fruit|colour|tool|garment", question)
    choices = re.findall(r"(\([A-C]\)) (\w+)", question)
    (letter,) = [mark for mark, word in choices if KIND_OF[word] == kind]
    return letter


def odd_one_out(question):
    kinds = collections.Counter(map(KIND_OF.get, listed(question)))
    assert sorted(kinds.values()) == [1, 2]
    return min(listed(question), key=lambda word: kinds[KIND_OF[word]])


def opposites(question):
    both = dict(OPPOSITES) | {y: x for x, y in OPPOSITES}
    # The carrier sentences hold no other word that has an opposite.
    (word,) = [w for w in re.findall(r"\w+", question) if w in both]
    return both[word]


def sentiment(question):
    words = set(re.findall(r"\w+", question.rsplit(". ", 1)[0]))
    (mood,) = [m for m in MOODS if words & set(MOODS[m])]
    return mood


SOLVERS = {
    "one_step_arithmetic": arithmetic,
    "two_step_arithmetic": arithmetic,
    "three_step_arithmetic": arithmetic,
    "money_change": lambda q: str(max(numbers(q)) - min(numbers(q))),
    "compare_numbers": compare_numbers,
    "ordering": ordering,
    "nth_word": nth_word,
    "count_kind": count_kind,
    "last_letters": lambda q: " ".join(w[-1] for w in listed(q)),
    "reverse_list": lambda q: " ".join(reversed(listed(q))),
    "parity": parity,
    "letter": letter,
    "word_kind": word_kind,
    "coin_flip": coin_flip,
    "swaps": swaps,
    "calendar": calendar,
    "clock": clock,
    "syllogism": syllogism,
    "boolean": boolean,
    "category": category,
    "odd_one_out": odd_one_out,
    "opposites": opposites,
    "sentiment": sentiment,
}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    output = tmp_path_factory.mktemp("universe")
    return output, build_records(output, sizes=SIZES)


@pytest.fixture(scope="module")
def examples(built):
    """The fields of all examples, by task and split."""
    output, infos = built
    return {
        (info["name"], info["split"]): [
            example.fields
            for example in read_records(output / info["name"] / info["split"])
        ]
        for info in infos
    }


def of(examples, spec):
    return [
        fields for split in spec.splits for fields in examples[spec.name, split]
    ]


def digests(directory):
    return {
        str(path.relative_to(directory)): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in directory.rglob("*")
        if path.is_file()
    }


@each_task
def test_answers_agree_with_an_independent_solver(spec, examples):
    for fields in of(examples, spec):
        assert SOLVERS[spec.name](fields["question"]) == fields["answer"], (
            fields
        )


@each_task
def test_questions_occur_once_in_all_splits(spec, examples):
    questions = [fields["question"] for fields in of(examples, spec)]
    assert (
        len(questions)
        == len(set(questions))
        == sum(SIZES[split] for split in spec.splits)
    )


@each_task
def test_texts_are_short(spec, examples):
    for fields in of(examples, spec):
        assert len(fields["question"].split()) <= 27
        assert len(fields.get("rationale", "").split()) <= 25
        assert max([0, *numbers(fields["question"])]) < 50
        assert max([0, *numbers(fields.get("rationale", ""))]) < 50


@each_task
def test_fields_are_those_that_the_spec_announces(spec, examples):
    for fields in of(examples, spec):
        assert all(fields.values())
        assert ("rationale" in fields) == spec.reasoning
        assert ("options" in fields) == (spec.answer_kind == "option")


@pytest.mark.parametrize(
    "phrasings",
    [
        len(arithmetic_tasks.ONE_STEP),
        len(arithmetic_tasks.TWO_STEPS),
        len(arithmetic_tasks.THREE_STEPS),
        len(arithmetic_tasks.CHANGE),
        len(comparison.NUMBERS),
        len(lists.NTH),
        len(lists.COUNT),
        len(lists.LAST_LETTERS),
        len(lists.REVERSE),
        len(lists.LETTER),
        len(comparison.PARITY),
        len(meaning.WORD_KIND),
        len(state.COIN_START) * len(state.COIN_ASK),
        len(state.SWAP_TELL) * len(state.SWAP_ASK),
        len(state.CALENDAR),
        len(state.CLOCK),
        len(logic.SYLLOGISM_ASK),
        len(logic.BOOLEAN),
        len(meaning.CATEGORY),
        len(meaning.ODD_ONE_OUT),
        len(meaning.OPPOSITE),
        len(meaning.REVIEW),
    ],
)
def test_every_task_is_phrased_in_five_ways(phrasings):
    assert phrasings >= 5


@each_task
def test_no_fixed_answer_beats_the_baseline_by_much(spec, examples):
    rows = of(examples, spec)
    answers = collections.Counter(fields["answer"] for fields in rows)
    assert max(answers.values()) / len(rows) < spec.random_baseline + 0.04
    assert len(answers) > 1


@each_task
def test_the_answer_is_extracted_from_a_full_reply(spec, examples):
    for fields in of(examples, spec)[:200]:
        options = fields.get("options")
        reply = f"{fields.get('rationale', '')} The answer is "
        answer = extract_answer(
            f"{reply}{fields['answer']}.",
            spec.answer_kind,
            options.split("\n") if options else None,
        )
        wanted = normalise_answer(fields["answer"], spec.answer_kind)
        assert answer is not None
        assert normalise_answer(answer.value, spec.answer_kind) == wanted


def test_arithmetic_rationales_are_right_step_by_step(examples):
    for name, steps in (
        ("one_step_arithmetic", 1),
        ("two_step_arithmetic", 2),
        ("three_step_arithmetic", 3),
        ("money_change", 1),
    ):
        for fields in examples[name, "test"]:
            found = re.findall(
                r"(\d+) ([+-]) (\d+) = (\d+)\.", fields["rationale"]
            )
            assert len(found) == steps
            total = found[0][0]
            for left, sign, right, result in found:
                assert left == total
                change = int(right) if sign == "+" else -int(right)
                assert int(left) + change == int(result) > 0
                total = result
            assert total == fields["answer"]


# Where one rationale is as good as another.
SEVERAL_WAYS = (
    "compare_numbers", "count_kind", "calendar", "syllogism", "category",
    "odd_one_out",
)  # fmt: skip


@each_task
def test_other_ways_of_reasoning_are_told_of_the_same_questions(spec):
    plain, mixed = (
        [e.fields for e in generate(spec, "test", 100, other_ways=ways)]
        for ways in (False, True)
    )
    others = [
        (one, other)
        for one, other in zip(plain, mixed, strict=True)
        if one != other
    ]
    if spec.name in SEVERAL_WAYS:
        assert 30 < len(others) < 70
    else:
        assert not others
    for one, other in others:
        told = other["rationale"]
        assert told != one["rationale"]
        assert {**one, "rationale": told} == other
        assert len(told.split()) <= 25
        if spec.name == "calendar":
            assert told.endswith(f"{told.count(',') + 1} {one['answer']}.")


def test_other_ways_say_what_is_so():
    def told(name, question):
        for e in generate(CORE[name], "test", 200, other_ways=True):
            if e.fields["question"] == question:
                return e.fields["rationale"]
        raise LookupError(question)

    assert (
        told(
            "count_kind",
            "How many of these words are fruits: white, fig, papaya, ladder?",
        )
        == "white no, fig yes, papaya yes, ladder no."
    )
    assert (
        told(
            "odd_one_out",
            "One of these is of another kind: pear, goat, fig. Which one?",
        )
        == "pear is a fruit, goat is an animal, fig is a fruit."
    )


def test_sets_with_other_ways_are_other_sets(tmp_path):
    def made(**more):
        folder = ensure_records(
            tmp_path, tasks=["calendar"], sizes={"test": 20}, splits=["test"],
            **more,
        )  # fmt: skip
        return digests(folder)

    plain = made()
    assert made() == plain
    mixed = made(other_ways=True)
    assert mixed != plain
    assert made(other_ways=True) == mixed
    assert made() == plain


def test_the_cafeteria_is_there(examples):
    asked = [f["question"] for f in examples["two_step_arithmetic", "train"]]
    for form in (
        r"The cafeteria had (\d+) apples\. They used (\d+) for lunch and "
        r"bought (\d+) more\. How many apples do they have\?",
        r"The cafeteria had (\d+) apples\. If they used (\d+) for lunch and "
        r"bought (\d+) more, how many apples do they have\?",
    ):
        assert any(re.fullmatch(form, question) for question in asked)


def test_the_numbers_of_the_papers_example_are_left_out(monkeypatch):
    draws = Draws("reserved")
    make = arithmetic_tasks.two_steps
    reserved = list(map(str, arithmetic_tasks.RESERVED))

    def times():
        told = (make(draws)["question"] for _ in range(40_000))
        return sum(re.findall(r"\d+", text) == reserved for text in told)

    assert times() == 0
    monkeypatch.setattr(arithmetic_tasks, "RESERVED", [])
    assert times() > 0


def test_enough_families_are_trained_held_out_and_reasoned_about():
    def families(**wanted):
        return {
            spec.family
            for spec in SPECS
            if all(getattr(spec, key) == value for key, value in wanted.items())
        }

    assert len(families(held_out=False)) >= 12
    assert len(families(held_out=False, reasoning=True)) >= 9
    assert len(families(held_out=True)) >= 4
    assert len(families(held_out=True, reasoning=True)) >= 3
    assert not families(held_out=True) & families(held_out=False)


def test_the_info_describes_the_set(built):
    _, infos = built
    info = next(i for i in infos if i["name"] == "coin_flip")
    assert info["split"] == "train"
    assert info["family"] == "coins"
    assert info["license"] == "Apache-2.0"
    assert info["source"] == "keras_flan.data.universe"
    assert info["templates"] == "generic"
    assert info["answer_kind"] == "yes_no"
    assert info["random_baseline"] == 0.5
    assert info["reasoning"] is True
    assert info["held_out"] is False


def test_shipped_records_are_rebuilt_byte_for_byte(tmp_path):
    build_records(tmp_path, sizes=SAMPLE_SIZES)
    assert digests(tmp_path) == digests(SHIPPED)


def test_ensure_mends_what_is_broken_and_leaves_the_rest(built, tmp_path):
    source, _ = built
    shutil.copytree(source, tmp_path / "sets")
    sets = tmp_path / "sets"
    shutil.rmtree(sets / "clock")
    (sets / "swaps/test/dataset_info.json").unlink()
    (shard,) = (sets / "boolean/test").glob("*.tfrecord")
    data = bytearray(shard.read_bytes())
    data[1000] ^= 1
    shard.write_bytes(data)
    info_file = sets / "ordering/test/dataset_info.json"
    info = json.loads(info_file.read_text())
    info_file.write_text(json.dumps(info | {"generator_version": 0}))
    kept = sets / "swaps/train/dataset_info.json"
    before = kept.stat().st_ino

    assert ensure_records(sets, sizes=SIZES) == sets
    assert digests(sets) == digests(source)
    # A rewritten file would be another one under the same name.
    assert kept.stat().st_ino == before


def test_a_task_without_further_questions_is_refused():
    spec = TaskSpec(
        name="tiny",
        family="tiny",
        make=lambda draws: {"question": str(draws.below(50)), "answer": "1"},
        summary="fifty questions",
        answer_kind="number",
        chance=1.0,
        reasoning=False,
    )
    with pytest.raises(ValueError, match="tiny: found no question beyond"):
        generate(spec, "test")


def test_draws_are_pinned():
    """Another sequence would change every shipped byte."""
    draws = Draws("seed")
    assert [draws.below(100) for _ in range(5)] == [13, 23, 86, 28, 4]
    assert sorted(draws.shuffled(range(9))) == list(range(9))
    assert {draws.between(2, 4) for _ in range(99)} == {2, 3, 4}
    assert len(set(draws.sample(range(5), 3))) == 3
    assert 300 < sum(draws.chance(0.4) for _ in range(1000)) < 500
