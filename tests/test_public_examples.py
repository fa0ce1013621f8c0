"""Every public name has an example; those that stand alone are run.

The others need data, a trained model or many devices, which the tests of their
own bring; of these what is called is looked at: names and arguments.
"""

import ast
import doctest
import importlib
import inspect
import re
import textwrap
from pathlib import Path

import keras
import pytest

import keras_flan
from keras_flan.models import load

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(
    path.parent.name
    for path in (ROOT / "keras_flan").glob("*/__init__.py")
    if re.search(r"attach\(|__all__", path.read_text("utf-8"))
)
# Examples that stand alone, with `model`, the shipped one.
ALONE = """
answers.Answer answers.RuleSet answers.rule_set data.ChatTemplate data.Example
data.FewShotStyle data.Format data.PipelineSettings data.Position
data.PromptTemplate data.Template data.TemplateFamily data.Turn
data.load_chat_template data.load_family data.write_records
distribution.Layouts distribution.Mesh distribution.build_abstract
distribution.device_mesh evaluation.Marked evaluation.Metric
evaluation.SourceQuestion evaluation.load_protocol evaluation.log_likelihoods
evaluation.normalised_average evaluation.published_results evaluation.score
generation.Answer generation.LanguageModelLike generation.Path
generation.ProgramResult generation.PromptStyle generation.Sampling
generation.Vote generation.extract_answer generation.program_answer
generation.rank_weights generation.run_program generation.vote
improvement.advantages improvement.best_and_worst improvement.right
improvement.token_scales miniature.PretrainConfig miniature.load_plan
models.remove_adapter search.Candidate search.library_candidates training.Adam
training.AdamW training.PreferenceLoss training.Schedule training.SoftLoss
training.recipe training.recipes
"""
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
FENCED = re.compile(r"^( *)```python\n(.*?)^\1```", re.M | re.S)


def public():
    """Yields package, name and value of each class and function."""
    for package in PACKAGES:
        module = importlib.import_module(f"keras_flan.{package}")
        for name in sorted(module.__all__):
            value = getattr(module, name)
            if inspect.isclass(value) or callable(value):
                yield f"{package}.{name}", value


NAMES = dict(public())
BY_NAME = {name.partition(".")[2]: value for name, value in NAMES.items()}


def prompted(value):
    """Returns what an example has behind `>>>`."""
    return doctest.DocTestParser().get_examples(inspect.getdoc(value) or "")


def code(value):
    """Returns the source of the examples of a docstring."""
    text = inspect.getdoc(value) or ""
    fenced = [textwrap.dedent(part) for _, part in FENCED.findall(text)]
    return "\n".join([*(one.source for one in prompted(value)), *fenced])


def test_every_public_name_has_an_example():
    silent = [
        name
        for name, value in NAMES.items()
        if not code(value) and "```yaml" not in (value.__doc__ or "")
    ]
    assert silent == []


@pytest.fixture(scope="module")
def alone():
    return {"keras_flan": keras_flan, "keras": keras, **BY_NAME} | {
        "model": load("flan_nano")
    }


@pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="distributions are JAX's"
)
@pytest.mark.parametrize("name", ALONE.split())
def test_the_example_says_what_comes(name, alone, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples = prompted(NAMES[name])
    assert examples
    test = doctest.DocTest(examples, dict(alone), name, None, 0, None)
    said = []
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    assert runner.run(test, out=said.append).failed == 0, "".join(said)


@pytest.mark.parametrize("name", NAMES)
def test_the_example_calls_what_there_is(name):
    for call in ast.walk(ast.parse(code(NAMES[name]))):
        if isinstance(call, ast.Attribute):
            path = ast.unparse(call)
            if re.fullmatch(r"keras_flan(\.\w+)+", path):
                found = keras_flan
                for part in path.split(".")[1:]:
                    found = _part(found, part)
        if isinstance(call, ast.Call):
            called = BY_NAME.get(ast.unparse(call.func).rpartition(".")[2])
            if called is not None and not _is_method(call):
                arguments = {k.arg: None for k in call.keywords if k.arg}
                inspect.signature(called).bind_partial(**arguments)


def _part(found, name):
    if inspect.ismodule(found) and not hasattr(found, name):
        return importlib.import_module(f"{found.__name__}.{name}")
    return getattr(found, name)


def _is_method(call):
    """Whether what is called belongs to an object and not to a package."""
    func = call.func
    return isinstance(func, ast.Attribute) and not ast.unparse(func).startswith(
        "keras_flan."
    )
