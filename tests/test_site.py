"""The site: all of it is there, and it asks nobody else for anything."""

import importlib.util
import inspect
import re
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGES = {path.name for path in (ROOT / "docs").glob("*.md")}


@pytest.fixture(scope="module")
def hook():
    pytest.importorskip("mkdocs", reason="needs the extra [docs]")
    place = importlib.util.spec_from_file_location(
        "site_hook", ROOT / "tools" / "site.py"
    )
    module = importlib.util.module_from_spec(place)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools")  # As mkdocs does.
        place.loader.exec_module(module)
    return module


def navigation():
    """Returns the pages that the site's navigation names."""
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    return re.findall(r": ([\w/]+\.md)$", text[text.index("\nnav:") :], re.M)


def test_every_page_has_a_place():
    named = navigation()
    assert len(named) == len(set(named))
    assert set(named) >= PAGES
    reference = {path.name for path in (ROOT / "docs/reference").glob("*.md")}
    assert {f"reference/{name}" for name in reference} <= set(named)
    examples = ROOT / "examples"
    guides = [*examples.glob("guides/*.py"), *examples.glob("*.ipynb")]
    assert {f"guides/{path.stem}.md" for path in guides} <= set(named)


def test_every_guide_says_what_it_takes(hook):
    written = ("your_own_task", "conversations", "real_flan", "multi_host_tpu")
    pages = [(ROOT / f"docs/{name}.md").read_text("utf-8") for name in written]
    pages += [hook.guide_page(path) for path in hook.guides()]
    for page in pages:
        for fact in ("Purpose", "Time", "Accelerator"):
            assert re.search(rf"^- \*\*{fact}:\*\* \w", page, re.M), page[:200]


def test_the_site_needs_no_other():
    settings = yaml.safe_load(
        (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:")[0]
    )
    assert settings["theme"]["font"] is False
    assert settings["use_directory_urls"] is False
    assert "offline" in settings["plugins"]


@pytest.mark.often
def test_every_public_name_has_an_entry(hook):
    public = {
        path.parent.name
        for path in (ROOT / "keras_flan").glob("*/__init__.py")
        if re.search(r"attach\(|__all__", path.read_text("utf-8"))
    }
    assert set(hook.PACKAGES) == public
    assert {f"reference/api/{name}.md" for name in public} <= set(navigation())
    for package in hook.PACKAGES:
        names = hook.public_names(f"keras_flan.{package}")
        entries = re.findall(
            r"^::: (\S+)$", hook.api_page(f"keras_flan.{package}"), re.M
        )
        # Modules are public names by the path that they lie at.
        assert [entry.rpartition(".")[2] for entry in entries] == [
            value.__name__.rpartition(".")[2]
            if inspect.ismodule(value)
            else getattr(value, "__name__", name)
            for name, value in names.items()
        ]


@pytest.mark.often
def test_the_site_is_built_without_a_warning(hook, tmp_path):
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    config = load_config(
        str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True
    )
    build(config)
    pages = {path.name for path in tmp_path.glob("*.html")}
    assert {name.replace(".md", ".html") for name in PAGES} <= pages
    for path in tmp_path.rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|img|iframe)[^>]*src="([^"]*)|'
            r'<link[^>]*rel="stylesheet"[^>]*href="([^"]*)',
            path.read_text("utf-8"),
        )
        outside = [one for both in loaded for one in both if "//" in one]
        assert not outside, path


def test_the_gallery_is_what_its_script_makes(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    import gallery

    text = (ROOT / "docs" / "gallery.md").read_text("utf-8")
    plan = text.partition("```text\n")[2].partition("\n```")[0]
    assert text == gallery.page(plan) and "chip-hours" in plan
    for picture in gallery.PICTURES:
        file = ROOT / "docs" / "gallery" / f"{picture.name}.png"
        assert file.read_bytes().startswith(b"\x89PNG")
    monkeypatch.delitem(sys.modules, "gallery")
