"""A bucket for the tests of `gs://`."""

import importlib
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote, unquote

import pytest

SERVER = Path(__file__).with_name("google_storage.py")


class Bucket:
    """`gs://bucket`, which a server on this machine stands in for."""

    url = "gs://bucket"

    def __init__(self, folder: Path, server: str):
        self._folder, self._server = folder, server

    def write(self, name: str, text: str) -> None:
        """Puts an object there, as somebody else would."""
        request = urllib.request.Request(
            f"{self._server}/upload/storage/v1/b/bucket/o"
            f"?uploadType=media&name={quote(name)}",
            text.encode(),
        )
        urllib.request.urlopen(request).close()

    def read(self, name: str) -> str:
        return (
            self._folder / "objects" / quote(f"bucket/{name}", safe="")
        ).read_text()

    def objects(self) -> list[str]:
        """Names of the objects, without those that stand for folders."""
        names = map(unquote, os.listdir(self._folder / "objects"))
        kept = (n.removeprefix("bucket/") for n in names if n[-1] != "/")
        return sorted(kept)

    def log(self) -> list[str]:
        """What was asked of the server so far."""
        return (self._folder / "log").read_text().splitlines()


@pytest.fixture(scope="session")
def _server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bucket")
    with (
        open(folder / "errors", "w") as errors,
        subprocess.Popen(
            [sys.executable, SERVER, folder],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as server,
    ):
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        yield folder, url
        server.kill()


@pytest.fixture
def bucket(_server, monkeypatch):
    """An empty bucket."""
    folder, url = _server
    for key, value in {
        "https_proxy": url,  # of TensorFlow's client
        "CURL_CA_BUNDLE": str(folder / "certificate.pem"),
        "TENSORSTORE_GCS_HTTP_URL": url,
        "STORAGE_EMULATOR_HOST": url,  # of Google's own, if it is installed
        "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",
    }.items():
        monkeypatch.setenv(key, value)
    try:
        importlib.import_module("google.cloud.storage")
    except ImportError:
        # Orbax asks it one thing: whether the bucket has folders.
        flat = SimpleNamespace(hierarchical_namespace_enabled=False)
        client = SimpleNamespace(get_bucket=lambda name: flat)
        stand_in = SimpleNamespace(Client=lambda: client)
        cloud = SimpleNamespace(storage=stand_in)
        monkeypatch.setitem(sys.modules, "google.cloud", cloud)
        monkeypatch.setitem(sys.modules, "google.cloud.storage", stand_in)
    return Bucket(folder, url)
