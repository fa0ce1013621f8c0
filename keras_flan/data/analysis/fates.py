"""What becomes of the examples of a mixture, as a part of a page."""

from collections.abc import Iterable, Mapping

from keras_flan.pages import html as page

# Kinds of `Fate`, and what they are called.
FATES = {
    "no_exemplar": "no exemplar fits",
    "long_inputs": "input too long",
    "long_targets": "target too long",
    "unwritable": "no chat",
    "cut_inputs": "input cut",
    "cut_targets": "target cut",
}


def columns(rows: Iterable[Mapping]) -> list[str]:
    """Returns the fates that occur among rows of `Tally.rows`."""
    rows = list(rows)
    return [name for name in FATES if any(row[name] for row in rows)]


def fates_card(found: Mapping) -> str:
    """Returns what is left out and cut, of what `measure_mixture` found."""
    if found["unit"] != "tokens":
        return ""
    rows = found["fates"]
    shown = columns(rows)
    cells = [
        (
            f"{page.text(row['task'])} "
            f'<span class="id">{page.text(row["format"]).replace("_", " ")}'
            "</span>",
            f"{row['drawn']:,}",
            f"{row['left_out']:,}",
            *(f"{row[name]:,}" for name in shown),
        )
        for row in sorted(rows, key=lambda row: -row["left_out"])
        if row["left_out"] or any(row[name] for name in shown)
    ]
    title = "Left out and cut"
    if not cells:
        return page.card(title, page.note("Nothing: all examples are whole."))
    advice = "".join(
        f'<p class="wrong">{page.text(line)}</p>' for line in found["advice"]
    )
    names = [FATES[name].capitalize() for name in shown]
    table = page.table(("", "Drawn", "Left out", *names), cells)
    return page.card(title, advice + page.wide(table) + _examples(found))


def _examples(found: Mapping) -> str:
    """Returns some of the examples that are left out or cut, folded up."""
    return "\n".join(
        page.folded(
            f"{page.text(FATES[row['fate']]).capitalize()}: "
            f'<span class="task">{page.text(row["task"])}</span> '
            f'<span class="id">#{row["index"]}, '
            f"{page.text(row['format']).replace('_', ' ')}; input "
            f"{_tokens(row['input_length'])}, target "
            f"{_tokens(row['target_length'])}</span>",
            f'<div class="split"><div>{page.prompt(row["inputs"])}</div>'
            f'<div><h3>Target</h3><div class="prompt"><pre>'
            f"{page.text(row['targets'])}</pre></div></div></div>",
        )
        for row in found["shown"]
    )


def _tokens(length: int) -> str:
    return "unknown" if length < 0 else f"{length:,} tokens"
