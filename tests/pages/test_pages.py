"""Pages, tables and plots."""

import re

from keras_flan.pages import html as page
from keras_flan.pages.plots import ACCENT, inline_svg, whiskers
from keras_flan.pages.tables import Table, markdown
from tests.pages.reading import Page


def test_a_page_is_whole_and_what_is_plain_text_is_escaped(tmp_path):
    path = tmp_path / "page.html"
    parts = [
        page.heading("A <title>", "Its <b>lead</b>."),
        "",
        page.pair(page.card("One", page.pairs({"a_b": "<x>"})), page.note("n")),
        page.example("e", "<prompt>", page.facts({"Answer": 4}), ["p", "q"]),
    ]
    page.write(path, "A <title>", parts)
    read = Page(path.read_text("utf-8"))
    for text in ("A <title>", "Its lead.", "a b", "<x>", "<prompt>", "p\nq"):
        assert text in read.text
    # It may load and run nothing.
    policy = next(v for k, v in read.attributes if v and "-src" in v)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules.pop("default-src") == "'none'"
    assert rules == {
        "style-src": "'unsafe-inline'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert read.tags.count("section") == read.tags.count("article") == 1


def test_a_plot_follows_the_page():
    svg = inline_svg(
        lambda axes: axes.plot([1], color=ACCENT), (2, 2), "a<b", "n"
    )
    assert 'aria-label="a&lt;b"' in svg and svg.endswith('<p class="key">n</p>')
    assert "var(--accent)" in svg and not re.search("#0[1-7]", svg)
    assert whiskers([2.0], [(1.5, 3.0)]) == [[0.5], [1.0]]


def test_a_table_in_three_forms():
    table = Table(
        "T", ("a", "b_%"), [("x|y", "1"), ("<z>", "")], frozenset([0])
    )
    assert markdown(("a", "b"), [("x|y", "1")]) == (
        "| a | b |\n| --- | --- |\n| x/y | 1 |\n"
    )
    assert table.markdown() == (
        "### T\n\n| a | b_% |\n| --- | ---: |\n| **x/y** | **1** |\n| <z> |  |"
    )
    assert "<b>x|y</b>" in table.html() and "&lt;z&gt;" in table.html()
    assert r"a & b\_\% \\" in table.latex() and r"\textbf{1}" in table.latex()
    noted = Table("T", ("a",), [("1",)], note="N.")
    assert noted.markdown().endswith("| 1 |\n\nN.")
