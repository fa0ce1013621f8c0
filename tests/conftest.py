"""Fixtures shared by all tests."""

import gc
import os
import tempfile
from importlib import metadata
from pathlib import Path

import pytest

# Before any test imports keras.
os.environ.setdefault("KERAS_BACKEND", "jax")


def quick(flags=""):
    """Returns what has XLA compile quickly: for what runs once or twice.

    It does without most of its optimizations, and its older code generator
    takes half the time. `flags` are others of XLA's; one that a later
    compiler does not know would end the process.
    """
    if metadata.version("jaxlib").startswith("0.10."):
        flags += " --xla_cpu_use_fusion_emitters=false"
    return {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "XLA_FLAGS": flags.strip()}


def pytest_addoption(parser):
    text = "whether XLA compiles quickly, or as for users"
    parser.addoption("--compile", choices=["quick", "full"], help=text)


def pytest_configure(config):
    """What XLA has compiled is shared by all workers and their commands.

    A run of the tests begins with an empty cache, so that it proves the same
    on every machine; runs that follow one another may share a folder, which
    KERAS_FLAN_COMPILED names. The default suite's many small programs run
    once or twice, so they are compiled quickly; those of other suites as for
    users, if nothing else is asked for.
    """
    # What JAX and Keras keep is walked through for a seventh of the time, if
    # Python looks for garbage as often as it does by itself.
    gc.set_threshold(50_000, 10, 10)
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    default = config.getoption("markexpr") in config.getini("addopts")
    how = config.getoption("--compile") or ("quick" if default else "full")
    if how == "quick":
        os.environ.update(quick(os.environ.get("XLA_FLAGS", "")))
    if not (folder := os.environ.get("KERAS_FLAN_COMPILED")):
        cache = tempfile.TemporaryDirectory(prefix="compiled-")
        config.add_cleanup(cache.cleanup)
        folder = cache.name
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.02"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


def pytest_collection_modifyitems(items):
    """The longest files first: they would run alone at the end."""

    def later(item):
        first = item.get_closest_marker("often")
        return not first, item.path.parent != Path(__file__).parent

    items.sort(key=later)


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of public data sets; tests that need it skip without it."""
    default = Path(__file__).parents[2] / "shared" / "data"
    path = Path(os.environ.get("KERAS_FLAN_DATA", default))
    if not (path / "MANIFEST.md").is_file():
        pytest.skip("the public data sets are not on this machine")
    return path


def slow(*values):
    """Parameters that the default suite leaves out."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


class LetterVocabulary:
    """A stand-in for `Vocabulary`: one id a letter, no training needed."""

    pad_id, eos_id, unk_id = 0, 1, 2
    size = 64
    _letters = "abcdefghijklmnopqrstuvwxyz0123456789 .,?'"

    def encode(self, text):
        return [3 + self._letters.find(c) for c in text.lower()]

    def encode_batch(self, texts):
        return [self.encode(text) for text in texts]

    def decode(self, ids):
        return "".join(
            self._letters[i - 3] if 3 <= i < 3 + len(self._letters) else "_"
            for i in ids
        )

    def token(self, i):
        return ("<pad>", "</s>", "<unk>")[i] if i < 3 else self.decode([i])


def make_t5(seed=0, **sizes):
    """A two-layer T5 of width 32 with random weights."""
    import keras

    from keras_flan.models import T5

    keras.utils.set_random_seed(seed)
    values = {
        "vocabulary_size": 64,
        "num_layers": 2,
        "num_heads": 4,
        "hidden_dim": 32,
        "intermediate_dim": 48,
        "key_value_dim": 8,
        "dropout": 0.0,
        **sizes,
    }
    return T5.from_config_values(vocabulary=LetterVocabulary(), **values)


@pytest.fixture(scope="session")
def tiny_t5():
    """A shared model: tests must not change its weights."""
    return make_t5()
