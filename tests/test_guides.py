"""The guides: each a page that says what it takes, and a script that runs."""

import ast
import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "examples" / "guides").glob("*.py"))
# Of what each prints, a line that shows that it did what it says.
SAID = {
    "evaluation_and_replay": r"again: \d",
    "first_mixture": r"held-out loss: \d\.\d+ before, \d\.\d+ after",
    "learning_from_answers": r"guard: \{",
    "lora_and_qlora": r"QLoRA: \d\.\d+ before, \d\.\d+ after",
    "planning": r"v5litepod-16: fits",
    "self_consistency": r"paths of at most 40",
}


@pytest.fixture(scope="module")
def pages():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools")
        import guides

        yield guides
        sys.modules.pop("guides")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_page_has_all_of_its_script(script, pages):
    page = pages.guide_page(script)
    assert page.startswith(f"# {pages.facts(script)['title']}\n")
    blocks = page.split("```python\n")[1:]
    code = "\n".join(block.partition("```")[0] for block in blocks)

    def statements(source):
        return [
            ast.dump(node)
            for node in ast.parse(source).body
            if not isinstance(node, ast.Expr)
            or not isinstance(node.value, ast.Constant)
        ]

    assert statements(code) == statements(script.read_text("utf-8"))


def test_a_guide_without_its_facts_is_refused(tmp_path, pages):
    (tmp_path / "bad.py").write_text('"""A title.\n\nTime: long.\n"""\n')
    with pytest.raises(ValueError, match=r"bad\.py: expected .* found Time"):
        pages.guide_page(tmp_path / "bad.py")


@pytest.mark.slow
@pytest.mark.often
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_guide_runs(script, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(script), run_name="__main__")
    assert re.search(SAID[script.stem], capsys.readouterr().out)
