"""A stand-in for Google Cloud Storage on this machine.

TensorFlow's and TensorStore's own clients talk to it: TensorFlow's, whose
address is fixed, through `https_proxy` and a certificate made for the
occasion, TensorStore's by `TENSORSTORE_GCS_HTTP_URL`. As in a bucket there
are objects, each there whole or not at all, and no folders. A rename, which
would be copies and deletions one by one, is refused.

It is a process of its own, as TensorFlow holds Python's lock while it waits.
`python google_storage.py FOLDER` keeps the objects in `FOLDER/objects`, by
their quoted names, logs requests in `FOLDER/log` and prints its port.
"""

import http.server
import itertools
import json
import os
import re
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from typing import TextIO
from urllib.parse import parse_qsl, quote, unquote, urlsplit

HOSTS = "DNS:www.googleapis.com,DNS:storage.googleapis.com"
UPDATED = "2026-01-01T00:00:00.000Z"
Answer = tuple  # Code, what to send, headers.


def make_certificate(folder: Path) -> None:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-days", "2"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-subj", "/CN=bucket", "-addext", f"subjectAltName={HOSTS}"),
            *("-keyout", folder / "key.pem"),
            *("-out", folder / "certificate.pem"),
        ],
        check=True,
        capture_output=True,
    )


class Objects:
    """The objects, by `bucket/name`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.clock = itertools.count(1)
        self.generations: dict[str, int] = {}

    def write(self, name: str, data: bytes) -> None:
        new = self.folder.parent / "new"
        new.write_bytes(data)
        os.replace(new, self.folder / quote(name, safe=""))
        self.generations[name] = next(self.clock)

    def read(self, name: str) -> bytes:
        return (self.folder / quote(name, safe="")).read_bytes()

    def remove(self, name: str) -> None:
        (self.folder / quote(name, safe="")).unlink()
        del self.generations[name]

    def facts(self, name: str) -> dict:
        return {
            "name": name.partition("/")[2],
            "size": str(len(self.read(name))),
            "generation": str(self.generations[name]),
            "metageneration": "1",
            "timeCreated": UPDATED,
            "updated": UPDATED,
        }


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    objects: Objects
    sessions: list[str]
    log: TextIO
    tls: ssl.SSLContext
    lock = threading.Lock()

    def log_message(self, *_) -> None:
        pass

    def do_CONNECT(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.connection = self.tls.wrap_socket(
            self.connection, server_side=True
        )
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", 0)
        self.close_connection = False

    def do_any(self) -> None:
        url = urlsplit(self.path)
        print(self.command, unquote(self.path), file=self.log, flush=True)
        body, asked = self.body(), dict(parse_qsl(url.query))
        with self.lock:
            code, content, *headers = self.route(url.path, asked, body)
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        self.send_response(code)
        for key, value in headers:
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_any

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"] or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def route(self, path: str, asked: dict, body: bytes) -> Answer:
        if "/forbidden/" in path:
            return 403, {"error": {"code": 403, "message": "Forbidden"}}
        if match := re.fullmatch(r"/upload/storage/v1/b/(.+)/o", path):
            return self.upload(f"{match[1]}/{asked['name']}", asked, body)
        if match := re.fullmatch(r"/session/(\d+)", path):
            self.objects.write(self.sessions[int(match[1])], body)
            return 200, {}
        if match := re.fullmatch(r"/storage/v1/b/([^/]+)", path):
            return 200, {"name": match[1], "location": "HERE"}
        if match := re.fullmatch(r"/storage/v1/b/([^/]+)/o", path):
            return 200, self.listing(f"{match[1]}/", asked)
        match = re.fullmatch(r"(?:/storage/v1/b)?/([^/]+)(?:/o)?/([^/]+)", path)
        if match is None:  # Such as a rename.
            return 403, {"error": {"code": 403, "message": f"refused: {path}"}}
        name = f"{match[1]}/{unquote(match[2])}"
        if name not in self.objects.generations:
            return 404, {"error": {"code": 404, "message": "Not Found"}}
        if self.command == "DELETE":
            self.objects.remove(name)
            return 204, b""
        if path.startswith("/storage/") and asked.get("alt") != "media":
            return 200, self.objects.facts(name)
        return self.content(name)

    def upload(self, name: str, asked: dict, body: bytes) -> Answer:
        if asked["uploadType"] == "resumable":
            self.sessions.append(name)
            place = (
                f"https://www.googleapis.com/session/{len(self.sessions) - 1}"
            )
            return 200, {}, ("Location", place)
        wanted = asked.get("ifGenerationMatch")
        if wanted not in (None, str(self.objects.generations.get(name, 0))):
            return 412, {"error": {"code": 412, "message": "is another"}}
        self.objects.write(name, body)
        return 200, self.objects.facts(name)

    def content(self, name: str) -> Answer:
        data = self.objects.read(name)
        generation = ("x-goog-generation", self.objects.generations[name])
        if not (asked := self.headers.get("Range")):
            return 200, data, generation
        first, last = asked.removeprefix("bytes=").split("-")
        part = data[int(first) : int(last or len(data)) + 1]
        if not part:
            return 416, b""
        end = int(first) + len(part) - 1
        place = ("Content-Range", f"bytes {first}-{end}/{len(data)}")
        return 206, part, generation, place

    def listing(self, bucket: str, asked: dict) -> dict:
        prefix = bucket + asked.get("prefix", "")
        found: dict[str, list] = {"items": [], "prefixes": []}
        for name in sorted(self.objects.generations):
            key = name.removeprefix(bucket)
            if not name.startswith(prefix) or not (
                asked.get("startOffset", "") <= key
                and key < asked.get("endOffset", "\U0010ffff")
            ):
                continue
            first, slash, _ = name.removeprefix(prefix).partition("/")
            folder = prefix.removeprefix(bucket) + first + slash
            if not slash or "delimiter" not in asked:
                found["items"].append(self.objects.facts(name))
            elif folder not in found["prefixes"]:
                found["prefixes"].append(folder)
        return found


def main(folder: Path) -> None:
    (folder / "objects").mkdir()
    make_certificate(folder)
    Handler.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    Handler.tls.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    Handler.objects, Handler.sessions = Objects(folder / "objects"), []
    Handler.log = (folder / "log").open("w")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
