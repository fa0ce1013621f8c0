"""What the site has beside the pages of `docs/`: a hook for mkdocs.

The README is its first page; what pages link to outside of `docs/` (examples,
licence, changelog) is put in place, so that no link leaves the site. The
reference of the Python API and of the command line are made from docstrings,
guides from scripts (`guides.py`).
"""

import importlib
import inspect
import os
import re
import sys
from pathlib import Path
from typing import Any

from guides import guide_page, guides
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

ROOT = Path(__file__).parent.parent
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
OTHERS = (
    *("LICENSE", "examples/*.*", "examples/guides/*.py", "benchmarks/*.py"),
    "docs/results/*.json",
)
# In the order in which a user meets them.
PACKAGES = (
    *("data", "models", "training", "generation", "answers", "evaluation"),
    *("improvement", "search", "distribution", "miniature", "real_flan"),
    *("testing", "runtime"),
)
# From a page of `docs/` to what lies beside that folder, and from the README
# into it.
_UP, _DOCS = re.compile(r"\]\(\.\./"), re.compile(r"\]\(docs/")
SHIM, _SHIM = "search_from_disk.js", "https://unpkg.com/iframe-worker/shim"
_README = re.compile(r"\]\(README.md")
_GUIDE = re.compile(r"\]\(examples/guides/(\w+)\.py")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the README, what is linked outside of `docs/`, and the API."""
    _add(files, config, "index.md", _of_root("README.md"))
    for name in PAGES:
        _add(files, config, name, _of_root(name))
    for pattern in OTHERS:
        for path in sorted(ROOT.glob(pattern)):
            name = str(path.relative_to(ROOT)).removeprefix("docs/")
            _add(files, config, name, path.read_text())
    for package in PACKAGES:
        name = f"reference/api/{package}.md"
        _add(files, config, name, api_page(f"keras_flan.{package}"))
    _add(files, config, "reference/command_line.md", command_line())
    for path in guides():
        _add(files, config, f"guides/{path.stem}.md", guide_page(path))
    shim = Path(__file__).with_name(SHIM)
    _add(files, config, f"assets/{SHIM}", shim.read_text())
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Turns links out of `docs/` into links within the site."""
    # Code is in the reference; its files are not on the site.
    markdown = re.sub(r"\[([^]]*)\]\(\.\./keras_flan/[^)]*\)", r"\1", markdown)
    markdown = _GUIDE.sub(r"](guides/\1.md", markdown)
    return _README.sub("](index.md", _UP.sub("](", markdown))


def on_post_page(output: str, page: Page, **_: object) -> str:
    """Takes what search needs of a page on the disk from the site itself."""
    return output.replace(_SHIM, get_relative_url("assets/" + SHIM, page.url))


def on_post_template(output: str, template_name: str, **_: object) -> str:
    """The same for pages without a text."""
    return output.replace(_SHIM, "assets/" + SHIM)


def public_names(package: str) -> dict[str, Any]:
    """Returns what a package has for its users, by name.

    Example:
        >>> sorted(public_names("keras_flan.search"))[0]
        'Candidate'
    """
    os.environ.setdefault("KERAS_BACKEND", "jax")
    module = importlib.import_module(package)
    return {name: getattr(module, name) for name in sorted(module.__all__)}


def api_page(package: str) -> str:
    """Returns the page of a package, which names what mkdocstrings puts there.

    Example:
        >>> print(api_page("keras_flan.search").split()[1])
        `keras_flan.search`
    """
    module = importlib.import_module(package)
    about = inspect.cleandoc(module.__doc__ or "").split("\n\n")
    # Which rooms it imports is of no use here.
    told = [text for text in about if not re.search(r"\bimports ", text, re.I)]
    parts = [f"# `{package}`", *told]
    for name, value in public_names(package).items():
        parts.append(f"::: {_place(package, name, value)}")
    return "\n\n".join(parts) + "\n"


def command_line() -> str:
    """Returns the page of all commands and their options."""
    from typer.cli import get_docs_for_click
    from typer.main import get_command

    from keras_flan.cli import app

    command = get_command(app)
    with command.make_context("keras-flan", [], resilient_parsing=True) as ctx:
        return get_docs_for_click(obj=command, ctx=ctx, name="keras-flan")


def _place(package: str, name: str, value: Any) -> str:
    """Returns where a name is defined, which need not be where it is public."""
    if inspect.ismodule(value):
        return value.__name__
    if inspect.isclass(value) or inspect.isroutine(value):
        return f"{value.__module__}.{value.__qualname__}"
    # Others don't know: it is where a line of the source gives them a value.
    sets = re.compile(rf"^{name}\b[^=]*=|^def {name}\(", re.M)
    [place] = [
        module.__name__
        for module in list(sys.modules.values())
        if module.__name__.startswith("keras_flan.")
        and vars(module).get(name) is value
        and sets.search(inspect.getsource(module))
    ]
    return f"{place}.{name}"


def _of_root(name: str) -> str:
    """Returns a page of the root as one of `docs/`."""
    return _DOCS.sub("](", (ROOT / name).read_text())


def _add(files: Files, config: MkDocsConfig, name: str, text: str) -> None:
    if file := files.get_file_from_path(name):
        files.remove(file)
    files.append(File.generated(config, name, content=text))
