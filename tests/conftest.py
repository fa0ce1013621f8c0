"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of public data sets; tests that need it skip without it."""
    default = Path(__file__).parents[2] / "shared" / "data"
    path = Path(os.environ.get("KERAS_FLAN_DATA", default))
    if not (path / "MANIFEST.md").is_file():
        pytest.skip("the public data sets are not on this machine")
    return path
