import collections

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_flan.data.templates.draws import choose, choose_tf
from keras_flan.data.templates.options import (
    DERIVED_FIELDS,
    LETTERED,
    PLAIN,
    draw_style,
    option_styles,
    option_symbols,
    option_values,
    right_option,
)
from keras_flan.data.templates.options_graph import OptionFields

NAMES = list(DERIVED_FIELDS)
# Any Unicode, and often what options and their letters are made of.
LINES = st.one_of(
    st.text(max_size=8).map(lambda t: t.replace("\n", " ")),
    st.text(alphabet="ABCab().{}\\ é😀", max_size=4),
)


@st.composite
def records(draw):
    lines = draw(st.lists(LINES, max_size=4))
    lines *= draw(st.sampled_from([1, 1, 1, 8]))
    answers = [LINES, st.sampled_from(["A", "(B)", "C.", "Z", "(A", "A\n"])]
    if lines:
        answers.append(st.sampled_from(lines))
    return {
        "options": "\n".join(lines),
        "answer": draw(st.one_of(answers)),
        "index": draw(st.integers(0, 2**40)),
        "letters": draw(st.booleans()),
    }


@settings(max_examples=15, deadline=None)
@given(st.lists(records(), min_size=1, max_size=6), st.integers())
def test_graph_agrees_with_python(rows, seed):
    columns = OptionFields(NAMES, seed).render(
        *([row[key] for row in rows] for key in ("options", "answer")),
        *([row[key] for row in rows] for key in ("index", "letters")),
    )
    found = dict(zip(NAMES, columns, strict=True))
    for i, row in enumerate(rows):
        style = draw_style(seed, row["index"])
        expected = option_values(row, style, row["letters"])
        assert expected == {
            name: texts.numpy()[i].decode("utf-8")
            for name, texts in found.items()
        }


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 2**31 - 1),
    st.integers(),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5),
)
def test_numbers_agree_between_graph_and_python(count, seed, parts):
    expected = [choose(count, seed, part) for part in parts]
    assert choose_tf(count, seed, parts).numpy().tolist() == expected


def test_draws_are_even():
    counts = collections.Counter(choose(7, 3, i) for i in range(7000))
    assert max(counts.values()) - min(counts.values()) < 200
    assert len({choose(10**9, seed, 0) for seed in range(100)}) == 100


def test_every_style_is_drawn_with_the_marker_it_shows():
    styles = option_styles()
    assert len(set(styles)) == len(styles)
    assert len({style.header for style in styles}) == 16
    texts = ["red", "green", "blue"]
    for style in styles:
        block = style.render(texts)
        lines = block.split("\n")
        if style.separator == "\n":
            assert len(lines) == 3 + bool(style.header)
        else:
            assert len(lines) == 1
        for number, text in enumerate(texts):
            marker = style.marker(number)
            assert marker in block[: block.index(text)]
            assert bool(marker) == bool(style.symbols)
        assert len({style.marker(i) for i in range(26)}) in (1, 26)


def test_the_readme_of_the_module():
    values = option_values({"options": "red\nblue", "answer": "blue"})
    assert values["options_"] == "OPTIONS:\n- red\n- blue"
    assert values["lettered_options_"] == "(A) red\n(B) blue"
    assert (values["choice_"], values["letter_"]) == ("blue", "B")
    (style,) = (
        style
        for style in option_styles()
        if (style.header, style.before, style.symbols)
        == ("Pick one:", "[", "small_roman")
        and (style.terminator, style.separator) == (";", " ")
    )
    values = option_values({"options": "red\nblue", "answer": "B"}, style)
    assert values["styled_options_"] == "Pick one: [i] red; [ii] blue;"
    assert values["styled_choice_"] == "[ii]"


def test_bullets_answer_with_the_text():
    bullets = next(style for style in option_styles() if not style.symbols)
    values = option_values({"options": "red\nblue", "answer": "(B)"}, bullets)
    assert values["styled_choice_"] == "blue"


def test_without_options_the_answer_stays():
    values = option_values({"answer": "(B)"})
    assert [values[name] for name in NAMES] == [""] * 3 + ["(B)"] * 3


@pytest.mark.parametrize(
    ("answer", "letters", "right"),
    [
        ("b", False, 1),
        ("(C)", True, 2),
        ("C.", False, 2),
        ("A", False, 3),  # the text of the last option
        ("A", True, 0),
        ("D", True, 3),
        ("E", True, None),
        ("", False, None),
        ("none", True, None),
    ],
)
def test_right_option(answer, letters, right):
    assert right_option(["a", "b", "c", "A"], answer, letters) == right


def test_symbols_go_on_as_numbers():
    for name, symbols in option_symbols().items():
        assert len(symbols) == len(set(symbols)) == 26, name
    assert LETTERED.symbol(25) == "Z"
    assert LETTERED.symbol(26) == "27"
    assert PLAIN.symbol(3) == ""
