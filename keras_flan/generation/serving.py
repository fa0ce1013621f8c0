"""A local web page that asks a model and shows the votes arrive."""

import contextlib
import json
import socket
import threading
from collections import deque
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any, Literal

import pydantic

from keras_flan.answers import KINDS
from keras_flan.errors import InputError
from keras_flan.files import parse_json
from keras_flan.generation.prompting import Answered, Asking, stream_answers
from keras_flan.generation.sampling_settings import Sampling
from keras_flan.generation.styles import PromptStyle
from keras_flan.generation.trace import render_answered
from keras_flan.pages import html as page
from keras_flan.schema import Strict, validate

_MAX_BODY = 65_536  # bytes
_MAX_WAITING = 16  # requests
# A client that sends or takes nothing for this time is gone.
_PATIENCE = 30.0  # seconds
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_PLACES = "there is only / and /ask"
# The page is one file: nothing is loaded, from here or elsewhere.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


class Question(Strict):
    """What a client may ask; see `keras_flan.generation.ask`."""

    question: str = pydantic.Field(min_length=1, max_length=8000)
    mode: Literal["direct", "cot"] = "cot"
    samples: int = pydantic.Field(default=1, ge=1, le=64, strict=True)
    temperature: float | None = pydantic.Field(
        default=None, ge=0, le=5, allow_inf_nan=False
    )
    kind: str = "text"
    seed: int = pydantic.Field(default=0, ge=0, lt=2**32, strict=True)
    max_new_tokens: int = pydantic.Field(default=128, ge=1, le=512, strict=True)

    def asking(self) -> Asking:
        """Returns how to ask.

        Raises:
            InputError: If there is no such kind of answers.
        """
        sampling = self.model_dump(exclude={"question", "mode", "kind"})
        return Asking(
            style=PromptStyle(cot=True) if self.mode == "cot" else None,
            kind=self.kind,
            sampling=Sampling.for_votes(**sampling),
        )


class Queue:
    """Lets one at a time through, in order of arrival.

    Args:
        most: The most that may wait.
    """

    def __init__(self, most: int):
        self._most = most
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def place(self) -> Iterator[Iterator[int]]:
        """Takes a place at the end.

        Yields:
            The number ahead, once per second, until it is our turn.

        Raises:
            QueueFull: If there is none.
        """
        ticket = object()
        with self._changed:
            if len(self._waiting) >= self._most:
                raise QueueFull
            self._waiting.append(ticket)
        try:
            yield self._ahead(ticket)
        finally:
            with self._changed:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def _ahead(self, ticket: object) -> Iterator[int]:
        while True:
            with self._changed:
                number = self._waiting.index(ticket)
            if not number:
                return
            yield number
            with self._changed:
                if self._waiting[0] is not ticket:
                    self._changed.wait(1.0)


class QueueFull(Exception):
    """Too many are waiting."""


class _Refused(Exception):
    """A request that gets a status and a message."""


class Server(ThreadingHTTPServer):
    """Serves the page and answers its questions, one at a time.

    Args:
        model: What `keras_flan.generation.ask` takes.
        host: Address to listen on.
        port: Port; 0 takes a free one, see `url`.

    Example:
        >>> with Server(model, port=0) as server:
        ...     print(server.url)
        ...     server.serve_forever()
    """

    daemon_threads = True

    def __init__(self, model: Any, host: str = "127.0.0.1", port: int = 8000):
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise InputError(
                f"cannot listen on {host}:{port} ({error.strerror}); choose "
                "another --host or --port"
            ) from None
        self.model = model
        self.queue = Queue(_MAX_WAITING)
        # Only then may a page of another site not reach us by a name that
        # it lets point here.
        self.names = _LOOPBACK if host in _LOOPBACK else None

    @property
    def url(self) -> str:
        """The address of the page."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version = "keras_flan"
    sys_version = ""
    timeout = _PATIENCE

    def do_GET(self) -> None:
        try:
            self._check_host()
            if self.path.split("?")[0] != "/":
                raise _Refused(HTTPStatus.NOT_FOUND, _PLACES)
        except _Refused as refused:
            self._refuse(*refused.args)
        else:
            self._send(HTTPStatus.OK, "text/html", _page().encode())

    def do_POST(self) -> None:
        try:
            self._check_host()
            if self.path != "/ask":
                raise _Refused(HTTPStatus.NOT_FOUND, _PLACES)
            question = validate(Question, self._body(), "request")
            asking = question.asking()
            with self.server.queue.place() as ahead:
                self._answer(question.question, asking, ahead)
        except _Refused as refused:
            self._refuse(*refused.args)
        except InputError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except QueueFull:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many are waiting")

    def log_message(self, format: str, *arguments: Any) -> None:
        """The page is the log."""

    def _check_host(self) -> None:
        """Refuses a request that names another server which points here."""
        host = self.headers.get("Host", "").rsplit(":", 1)[0].strip("[]")
        if self.server.names is not None and host not in self.server.names:
            raise _Refused(HTTPStatus.FORBIDDEN, "this server is for localhost")

    def _body(self) -> Any:
        # Pages of other sites can't send this type without asking first.
        kind = self.headers.get("Content-Type", "").split(";")[0].strip()
        if kind != "application/json":
            raise _Refused(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send application/json"
            )
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "send Content-Length")
        if len(length) > 9 or int(length) > _MAX_BODY:
            raise _Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"send up to {_MAX_BODY} bytes",
            )
        try:
            # The check of the keys says which of them is NaN.
            return parse_json(self.rfile.read(int(length)), allow_nan=True)
        except ValueError:
            raise InputError("request: not JSON") from None

    def _answer(
        self, question: str, asking: Asking, ahead: Iterator[int]
    ) -> None:
        """Streams JSON lines: the state, with votes and paths as HTML."""
        self._head(HTTPStatus.OK, "application/x-ndjson")
        try:
            for number in ahead:
                self._event({"state": "waiting", "ahead": number})
            self._event({"state": "running"})
            model = self.server.model
            for _, answered in stream_answers(model, [question], asking):
                self._event(_progress(answered))
        except OSError:
            pass  # The client went away; what is left is not generated.
        except Exception as error:
            message = f"{type(error).__name__}: {error}"[:500]
            with contextlib.suppress(OSError):
                self._event({"state": "failed", "error": message})

    def _event(self, value: dict[str, Any]) -> None:
        self.wfile.write(json.dumps(value).encode() + b"\n")
        self.wfile.flush()

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        body = json.dumps({"error": message}).encode()
        self._send(status, "application/json", body)
        if self.command == "POST":
            self._drain()

    def _drain(self) -> None:
        """Reads on for a moment: a reset would overtake our answer."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(1.0)
            left = 16 * _MAX_BODY
            while left > 0 and (read := self.rfile.read1(_MAX_BODY)):
                left -= len(read)

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self._head(status, kind, len(body))
        self.wfile.write(body)

    def _head(
        self, status: HTTPStatus, kind: str, length: int | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()


def serve(model: Any, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serves the page until interrupted.

    Raises:
        InputError: If the address can't be listened on.
    """
    with Server(model, host, port) as server:
        print(f"{server.url} (Ctrl-C ends)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


def _progress(answered: Answered) -> dict[str, Any]:
    state = "done" if answered.done else "running"
    drawn = len(answered.paths)
    return {
        "state": state,
        "drawn": drawn,
        "samples": answered.samples,
        "answer": answered.vote.winner,
        "confidence": answered.vote.confidence,
        "votes": answered.vote.counts,
        "html": render_answered(answered, "Sampled paths"),
    }


def _page() -> str:
    form = resources.files(__package__).joinpath("serving.html")
    kinds = "".join(
        f'<option value="{name}">{page.text(name.replace("_", " "))}</option>'
        for name in sorted(KINDS, key=lambda name: name != "number")
    )
    body = form.read_text(encoding="utf-8").replace("$kinds", kinds)
    return page.render("Ask the model", body)
