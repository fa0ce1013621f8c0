"""Guides: scripts and notebooks of `examples/` as pages of text and code.

The docstring of a script in `examples/guides/` has its title, and lines such as
`Time: a minute`. What stands in it as a string by itself is text in Markdown;
all else is code.
"""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "examples"
# What every guide says at its beginning.
FACTS = ("Purpose", "Time", "Accelerator")


def guides() -> list[Path]:
    """Returns the scripts, and the notebooks."""
    scripts = sorted((FOLDER / "guides").glob("*.py"))
    return [*scripts, *sorted(FOLDER.glob("*.ipynb"))]


def facts(path: Path) -> dict[str, str]:
    """Returns the title of a script, and what it says at its beginning.

    Raises:
        ValueError: If something is missing.
    """
    said = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    title, *lines = [line for line in said.splitlines() if line]
    found = dict(line.split(": ", 1) for line in lines)
    if tuple(found) != FACTS:
        raise ValueError(
            f"{path}: expected a docstring with a title and lines on "
            f"{', '.join(FACTS)}, found {', '.join(found) or 'none'}"
        )
    return {"title": title.rstrip("."), **found}


def guide_page(path: Path) -> str:
    """Returns a guide as a page in Markdown."""
    if path.suffix == ".ipynb":
        return "\n\n".join(_cells(path)) + "\n"
    told = facts(path)
    head = "\n".join(f"- **{name}:** {told[name]}" for name in FACTS)
    script = f"../../examples/guides/{path.name}"
    parts = [
        f"# {told['title']}",
        head,
        f"This page is a script: [{path.name}]({script}).",
        *_parts(path.read_text("utf-8")),
    ]
    return "\n\n".join(parts) + "\n"


def _parts(source: str) -> Iterator[str]:
    """Yields texts, and code in fences."""
    lines, begin = source.splitlines(), 0
    body = ast.parse(source).body
    texts = [
        node
        for node in body
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]
    for number, node in enumerate(texts):
        if number:
            yield from _code(lines[begin : node.lineno - 1])
            yield node.value.value.strip()
        begin = node.end_lineno
    yield from _code(lines[begin:])


def _cells(path: Path) -> Iterator[str]:
    """Yields texts, and code in fences, of a notebook."""
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        lines = "".join(cell["source"]).splitlines()
        if cell["cell_type"] == "code":
            yield from _code(lines)
        else:
            # A picture would be asked for elsewhere: its text says the same.
            yield re.sub(r"!\[(.*?)\]\(.*?\)", r"\1", "\n".join(lines))


def _code(lines: list[str]) -> Iterator[str]:
    text = "\n".join(lines).strip("\n")
    if text:
        yield f"```python\n{text}\n```"
