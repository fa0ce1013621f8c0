"""What is shipped: declared dependencies, wheel and source archive."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import keras_flan

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION = keras_flan.__version__
# Where a distribution is called otherwise than what is imported of it.
NAMES = {
    "google": "google-cloud-storage",
    "orbax": "orbax-checkpoint",
    "pydantic_core": "pydantic",
    "yaml": "PyYAML",
}


def distribution(requirement):
    return re.split(r"[\[<>=;! ]", requirement)[0].lower().replace("_", "-")


def imported(place):
    """The packages of others that the files of a folder import."""
    found = set()
    for path in place.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module)
    # The sandbox's process imports its own files by their bare names.
    sandbox = place / "answers" / "programs"
    own = {"keras_flan", *(path.stem for path in sandbox.rglob("*"))}
    found = {name.partition(".")[0] for name in found}
    # Python's own, from 3.12 on.
    return found - own - {"_pylong"} - set(sys.stdlib_module_names)


def test_workflows_run_what_was_looked_at_with_few_rights():
    files = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    assert len(files) == 3
    for path in files:
        text = path.read_text()
        uses = re.findall(r"uses: (.*)", text)
        assert uses
        for action in uses:
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", action)
        assert yaml.safe_load(text)["permissions"] == {"contents": "read"}


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == VERSION
    assert citation["license"] == PROJECT["license"]


def test_what_is_imported_is_declared():
    extras = PROJECT["optional-dependencies"].values()
    declared = [*PROJECT["dependencies"], *(d for e in extras for d in e)]
    known = {distribution(requirement) for requirement in declared}
    names = imported(ROOT / "keras_flan")
    # These are names of modules here, too.
    assert names >= {"keras", "keras_hub", "tensorflow", "tokenizers"}
    missing = {
        name
        for name in names
        if NAMES.get(name, name).lower().replace("_", "-") not in known
    }
    assert not missing


def test_the_constraints_are_those_of_the_dependencies():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if "==" in line)
    pinned = {distribution(name): version for name, version in pairs}
    asked = map(Requirement, PROJECT["dependencies"])
    core = {distribution(one.name): one.specifier for one in asked}
    assert pinned.keys() >= core.keys()
    for name, specifier in core.items():
        assert pinned[name] in specifier, name
    # Of these, layers and kernels are used that are not public.
    bounded = {name for name in core if "<" in str(core[name])}
    assert bounded == {"keras", "keras-hub", "jax", "orbax-checkpoint"}


def test_the_oldest_and_newest_python_are_said_alike():
    oldest = PROJECT["requires-python"].removeprefix(">=")
    said = [
        name.rpartition(" ")[2]
        for name in PROJECT["classifiers"]
        if name.startswith("Programming Language :: Python :: 3.")
    ]
    flow = ROOT / ".github" / "workflows" / "tests.yml"
    job = yaml.safe_load(flow.read_text())["jobs"]["tests"]
    assert job["strategy"]["matrix"]["python"] == [oldest, said[-1]]
    assert said[0] == oldest
    readme = (ROOT / "README.md").read_text("utf-8")
    assert f"(Python {oldest} to {said[-1]};" in readme


@pytest.mark.slow
def test_wheel_and_source_archive(tmp_path):
    def call(*command):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    # What an earlier build listed would be packed again.
    for listed in ROOT.glob("*.egg-info/SOURCES.txt"):
        listed.unlink()
    call(sys.executable, "-m", "build", "-o", str(tmp_path), ".")
    [wheel], [source] = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    call(sys.executable, "-m", "twine", "check", "--strict", wheel, source)
    files = set(zipfile.ZipFile(wheel).namelist())
    tracked = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "keras_flan").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files >= tracked
    assert {name.partition("/")[0] for name in files} == {
        "keras_flan",
        f"keras_flan-{VERSION}.dist-info",
    }
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {
        *("README.md", "CHANGELOG.md", "LICENSE", "constraints.txt"),
        *("tests/test_packaging.py", "docs/architecture.md"),
        *("tf_records/README.md", "tests/golden/prompts.json"),
        "examples/colab_tpu_flan_t5.ipynb",
    }
    # Its dependencies are those of this environment.
    venv.create(tmp_path / "env", with_pip=True, system_site_packages=False)
    python = tmp_path / "env" / "bin" / "python"
    call(python, "-m", "pip", "install", "--no-deps", "-q", source)
    site = (
        next(iter(importlib.metadata.files("keras") or [])).locate().parents[1]
    )
    code = (
        f"import sys; sys.path.append({str(site)!r}); "
        "sys.argv = ['keras-flan', '--version']; "
        "from keras_flan.cli import main; main()"
    )
    assert VERSION in call(python, "-c", code)
