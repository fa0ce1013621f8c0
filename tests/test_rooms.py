"""The rooms of the package: imports go down, never up, never in a circle."""

import ast
import graphlib
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "keras_flan"

# From the ground up. What stands on one floor does not import each other.
FLOORS = [
    ["errors", "disk", "lazy", "tensors", "progress"],
    ["runtime", "named"],
    ["remote"],
    ["storage"],
    ["locks", "extensions"],
    ["files"],
    ["outputs"],
    ["schema"],
    ["answers", "pages", "data/records"],
    ["data/templates"],
    ["data/mixtures"],
    ["data/vocabularies", "data/importers"],
    ["data/pipeline"],
    ["data/analysis"],
    ["models"],
    ["generation", "distribution"],
    ["training", "evaluation/benchmarks"],
    ["evaluation/scores"],
    ["evaluation/runs"],
    ["evaluation/reports", "evaluation/responsible", "evaluation/faithfulness"],
    ["improvement", "search"],
    ["planning", "testing", "reference", "miniature/universe"],
    ["miniature/pretraining"],
    ["miniature/experiments"],
    ["miniature"],
    ["real_flan"],
    ["cli"],
]
FLOOR = {room: i for i, floor in enumerate(FLOORS) for room in floor}
# Not seen by height alone: training and evaluation stand on legs of their own.
APART = [
    ("training", "generation"),
    ("training", "evaluation"),
    ("evaluation", "training"),
    ("evaluation", "distribution"),
    ("models", "data/analysis"),
    ("models", "data/importers"),
    ("generation", "data/importers"),
    ("planning", "evaluation"),
]


def module(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
    return name.removesuffix(".__init__")


MODULES = {module(path): path for path in sorted(ROOT.rglob("*.py"))}


def imports(path: Path) -> set[str]:
    """Returns the modules that a file imports, also within functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: give imports whole"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else node.module)
    return found & MODULES.keys()


IMPORTS = {name: imports(path) for name, path in MODULES.items()}


def room(name: str) -> str:
    """Returns the lowest room of the table that a module stands in."""
    parts = name.split(".")[1:]
    while parts and "/".join(parts) not in FLOOR:
        parts.pop()
    return "/".join(parts)


def test_every_module_stands_in_a_room():
    # `keras_flan`, `data` and `evaluation` only list the names of their rooms.
    lists = {"keras_flan", "keras_flan.data", "keras_flan.evaluation"}
    assert [name for name in MODULES if not room(name)] == sorted(lists)


def test_no_import_goes_up():
    wrong = [
        f"{name} -> {other}"
        for name, others in IMPORTS.items()
        for other in others
        if room(name)
        and room(name) != room(other)
        and FLOOR[room(other)] >= FLOOR[room(name)]
    ]
    assert wrong == []


def test_rooms_that_stand_apart_do_not_meet():
    wrong = [
        f"{name} -> {other}"
        for name, others in IMPORTS.items()
        for other in others
        for here, there in APART
        if room(name).startswith(here) and room(other).startswith(there)
    ]
    assert wrong == []


def test_only_the_command_line_knows_the_improvement():
    wrong = [
        f"{name} -> {other}"
        for name, others in IMPORTS.items()
        for other in others
        if room(other) == "improvement"
        and room(name) not in ("improvement", "cli")
    ]
    assert wrong == []
    lines = sum(
        path.read_text("utf-8").count("\n")
        for name, path in MODULES.items()
        if room(name) == "improvement"
    )
    assert lines <= 1500


def test_no_circle_of_files():
    graphlib.TopologicalSorter(IMPORTS).prepare()  # Names a circle.


@pytest.mark.parametrize(
    "name", [n for n, path in MODULES.items() if path.name == "__init__.py"]
)
def test_a_room_says_what_it_is_for_and_what_it_imports(name):
    text = importlib.import_module(name).__doc__
    assert name == "keras_flan" or "mports " in text


def test_files_are_read_in_one_sitting():
    long = {
        name: lines
        for name, path in MODULES.items()
        if (lines := path.read_text("utf-8").count("\n")) > 450
    }
    assert long == {}
