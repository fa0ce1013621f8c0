"""The look that all HTML pages share: one file, no network, no fonts.

The pages follow the reader's light or dark setting and fold to one column
on a phone.
"""

import html
import os
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from string import Template

from keras_flan.files import atomic_write

# A page loads nothing and runs nothing, whatever got into it.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'"
)


def write(path: str | os.PathLike, title: str, parts: Iterable[str]) -> None:
    """Writes a page, atomically.

    Args:
        path: The `.html` file.
        title: Plain text.
        parts: HTML made of the pieces below; empty parts are left out.
    """
    body = "\n".join(part for part in parts if part)
    with atomic_write(path) as f:
        f.write(render(title, body))


def render(title: str, body: str, policy: str = POLICY) -> str:
    """Returns a page.

    Args:
        title: Plain text.
        body: HTML made of the pieces below.
        policy: What a browser lets the page do: a content security policy.
    """
    page = resources.files(__package__).joinpath("page.html")
    return Template(page.read_text(encoding="utf-8")).substitute(
        title=text(title), body=body, policy=policy
    )


def text(value: object) -> str:
    """Returns any value as text that is safe in HTML."""
    return html.escape(str(value))


def percent(fraction: float, digits: int = 1) -> str:
    """Returns a share in percent."""
    return f"{100 * fraction:.{digits}f}%"


def duration(seconds: float) -> str:
    """Returns a time in words.

    Example:
        >>> duration(3725)
        '1 h 2 min 05 s'
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours} h " if hours else "") + f"{minutes} min {rest:02d} s"


def heading(title: str, lead: str) -> str:
    """Returns the top of a page: plain text, and HTML below it."""
    return f'<h1>{text(title)}</h1>\n<p class="lead">{lead}</p>'


def note(content: str) -> str:
    """Returns what the reader has to know, in small print, from HTML."""
    return f'<p class="key">{content}</p>'


def pair(*cards: str) -> str:
    """Returns cards that stand two in a row."""
    return "\n".join(['<div class="pair">', *cards, "</div>"])


def card(title: str, content: str) -> str:
    """Returns a framed section; both arguments are HTML."""
    return f'<section class="card"><h2>{title}</h2>\n{content}\n</section>'


def tiles(values: Iterable[tuple[str, str, str]]) -> str:
    """Returns headline numbers: label, number and note of each, as HTML."""
    cells = "\n".join(
        f'<div class="card tile"><span class="label">{label}</span>'
        f'<b>{value}</b><span class="note">{note}</span></div>'
        for label, value, note in values
    )
    return f'<div class="tiles">\n{cells}\n</div>'


def wide(content: str) -> str:
    """Returns HTML that scrolls sideways where the screen is narrow."""
    return f'<div class="wide">{content}</div>'


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table of HTML cells; all but the first column are numbers."""
    first, *others = header
    head = f'<th scope="col">{first}</th>' + "".join(
        f'<th scope="col" class="number">{name}</th>' for name in others
    )
    body = "\n".join(
        f'<tr><th scope="row">{row[0]}</th>'
        + "".join(f'<td class="number">{cell}</td>' for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return (
        f"<table><thead><tr>{head}</tr></thead>"
        f"<tbody>\n{body}\n</tbody></table>"
    )


def folded(summary: str, content: str, is_open: bool = False) -> str:
    """Returns a part that opens at a click; both arguments are HTML."""
    state = " open" if is_open else ""
    return (
        f"<details{state}><summary>{summary}</summary>\n{content}\n</details>"
    )


def bar(fraction: float, style: str = "") -> str:
    """Returns a bar; the styles are `before` and `quiet`."""
    return (
        f'<span class="bar {style}" aria-hidden="true">'
        f'<i style="width:{percent(fraction)}"></i></span>'
    )


def pairs(values: Mapping[str, object]) -> str:
    """Returns a table of names and values."""
    return cells({name: text(value) for name, value in values.items()})


def cells(values: Mapping[str, str]) -> str:
    """Returns a table of names and of HTML beside each."""
    rows = "\n".join(
        f'<tr><th scope="row">{text(name).replace("_", " ")}</th>'
        f"<td>{value}</td></tr>"
        for name, value in values.items()
    )
    return f"<table><tbody>\n{rows}\n</tbody></table>"


def facts(values: Mapping[str, object]) -> str:
    """Returns a short list of names and values."""
    lines = "".join(
        f"<dt>{text(name)}</dt><dd>{text(value)}</dd>"
        for name, value in values.items()
    )
    return f'<dl class="facts">{lines}</dl>'


def prompt(value: str) -> str:
    """Returns a prompt, verbatim."""
    return f'<h3>Prompt</h3><div class="prompt"><pre>{text(value)}</pre></div>'


def votes(counts: Mapping[str, int], winner: str | None, total: int) -> str:
    """Returns bars of the votes; paths without an answer come last.

    Args:
        counts: Number of paths for each answer.
        winner: The answer to stand out.
        total: Number of paths, abstentions included.
    """
    lines = [
        (answer, count, "" if answer == winner else "quiet")
        for answer, count in sorted(counts.items(), key=lambda item: -item[1])
    ]
    silent = total - sum(counts.values())
    if silent:
        lines.append(("no answer found", silent, "quiet"))
    return "<h3>Votes</h3>" + "\n".join(
        f'<div class="vote"><div class="line"><span>{text(answer)}</span>'
        f"<span>{count} of {total}</span></div>{bar(count / total, style)}"
        "</div>"
        for answer, count, style in lines
    )


def example(header: str, asked: str, found: str, paths: Iterable[str]) -> str:
    """Returns a question and what was written for it, side by side.

    Args:
        header: HTML of the line above.
        asked: The prompt, as plain text.
        found: HTML beside the prompt.
        paths: What `path` returned.
    """
    shown = "\n".join(paths)
    return (
        f'<article class="card example"><header>{header}</header>\n'
        f'<div class="split"><div>{prompt(asked)}</div>\n'
        f"<div>{found}</div></div>\n"
        f'<div class="paths">\n{shown}\n</div></article>'
    )


def path(
    number: int, output: str, span: Sequence[int] | None, rule: str | None
) -> str:
    """Returns a sampled path with the extracted answer marked.

    Args:
        number: Of the path, from 1.
        output: What the model wrote.
        span: Where the answer is in it, if there is one.
        rule: The rule that found it.
    """
    if span is None:
        marked = text(output) or "<i>empty</i>"
    else:
        start, end = span
        marked = (
            f"{text(output[:start])}<mark>{text(output[start:end])}</mark>"
            f"{text(output[end:])}"
        )
    found = (rule or "no answer found").replace("_", " ")
    return (
        f'<div class="path"><div class="line"><span>Path {number}</span>'
        f"<span>{text(found)}</span></div><pre>{marked}</pre></div>"
    )
