"""A local web page that asks a model, and OpenAI's interface for other tools.

Starlette and uvicorn speak HTTP on a thread of their own; the model works on
the thread that called `Server.serve_forever`: a path of the page's question,
one question at a time, then a turn of all other requests (`sharing`).
"""

import asyncio
import base64
import collections
import contextlib
import hashlib
import ipaddress
import json
import queue
import re
import sys
import threading
from collections.abc import AsyncIterator, Callable, Generator
from importlib import resources
from typing import Any, Literal, Self, TypeAlias

import pydantic
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from keras_flan.answers import KINDS
from keras_flan.data.records.turns import Role
from keras_flan.errors import InputError
from keras_flan.generation.chat import chat_prompt
from keras_flan.generation.listening import (
    check_host,
    is_loopback,
    listen,
    read_json,
)
from keras_flan.generation.openai.routes import OpenAI, refusal
from keras_flan.generation.openai.work import Job
from keras_flan.generation.prompting import Answered, Asking, stream_answers
from keras_flan.generation.sampling_settings import Sampling
from keras_flan.generation.sharing import SharedEngine
from keras_flan.generation.styles import PromptStyle
from keras_flan.generation.trace import render_answered
from keras_flan.pages import html as page
from keras_flan.schema import Strict, validate

_MAX_BODY = 65_536  # bytes
_MAX_WAITING = 16  # requests
# The addresses that are the page's own.
_OF_THE_PAGE = ("/", "/ask")
# Goes on with a question, path by path.
_Answer: TypeAlias = Generator[None, None, None]
_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


class Message(Strict):
    """A turn of a conversation."""

    role: Role
    content: str = pydantic.Field(max_length=16_000)


class Question(Strict):
    """What a client may ask; see `keras_flan.generation.ask`.

    A question, or the `messages` of a conversation, which have no mode.
    """

    question: str | None = pydantic.Field(
        default=None, min_length=1, max_length=8000
    )
    messages: list[Message] | None = pydantic.Field(
        default=None, min_length=1, max_length=256
    )
    mode: Literal["direct", "cot"] = "cot"
    samples: int = pydantic.Field(default=1, ge=1, le=64, strict=True)
    temperature: float | None = pydantic.Field(
        default=None, ge=0, le=5, allow_inf_nan=False
    )
    kind: str = "text"
    seed: int = pydantic.Field(default=0, ge=0, lt=2**32, strict=True)
    max_new_tokens: int = pydantic.Field(default=128, ge=1, le=512, strict=True)

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        if (self.question is None) == (self.messages is None):
            raise ValueError("question: give this key, or messages: just one")
        return self

    @property
    def asked(self) -> str | list[dict[str, str]]:
        """The question, or the turns of the conversation."""
        if self.question is not None:
            return self.question
        return [message.model_dump() for message in self.messages or ()]

    def asking(self) -> Asking:
        """Returns how to ask.

        Raises:
            InputError: If there is no such kind of answers.
        """
        sampling = self.model_dump(
            exclude={"question", "messages", "mode", "kind"}
        )
        cot = self.mode == "cot" and self.messages is None
        return Asking(
            style=PromptStyle(cot=True) if cot else None,
            kind=self.kind,
            sampling=Sampling.for_votes(**sampling),
        )


class _Asked:
    """A question in the line, and what its client is to be told."""

    def __init__(self, question: str | list[dict[str, str]], asking: Asking):
        self.question, self.asking = question, asking
        self.left = False  # Whether the client went away.
        # JSON lines that wait for the client; an empty one is the end.
        self.lines: asyncio.Queue[str] = asyncio.Queue()
        # How the model's thread speaks to that of the clients.
        self.soon = asyncio.get_running_loop().call_soon_threadsafe

    def tell(self, state: str, **event: Any) -> None:
        """Tells the client, however slowly it reads."""
        self.soon(self.lines.put_nowait, _json_line(state, **event))

    def end(self) -> None:
        """Tells the client that nothing will follow."""
        self.soon(self.lines.put_nowait, "")


class Server:
    """Serves the page, and OpenAI's interface under `/v1`.

    The port is taken at once, before there is a model.

    Args:
        model: What `keras_flan.generation.ask` takes. OpenAI's interface
            needs a model with a vocabulary.
        host: Address to listen on.
        port: Port; 0 takes a free one, see `url`.
        allow_remote: Whether the address may be one that other machines
            reach. Whoever reaches it may ask, under any name of this machine.
        name: The name of the model for clients of OpenAI's interface.

    Raises:
        InputError: If the address can't be listened on, or is not this
            machine's alone and `allow_remote` doesn't say so.

    Example:
        >>> with Server(model, port=0) as server:
        ...     print(server.url)
        ...     server.serve_forever()
    """

    def __init__(
        self,
        model: Any,
        host: str = "127.0.0.1",
        port: int = 8000,
        allow_remote: bool = False,
        name: str = "keras-flan",
    ):
        self.model, self.name = model, name
        self._host = host.lower()
        self._socket = listen(host, port, allow_remote)
        self.server_address = self._socket.getsockname()
        self.is_local = is_loopback(self.server_address[0])
        self._line: list[_Asked] = []  # The first one is being answered.
        self._jobs: queue.SimpleQueue[_Asked | Job | None] = queue.SimpleQueue()
        self._ending = False
        # The questions that are being answered, and all else, when asked.
        self._answers: collections.deque[_Answer] = collections.deque()
        self._engine: SharedEngine | None = None
        openai = OpenAI(lambda: self.model, name, self._jobs.put)
        html, policy = _page()
        self._html = html
        headers = {**_HEADERS, "Content-Security-Policy": policy}
        app = Starlette(
            routes=[
                Route("/", self._show),
                Route("/ask", self._ask, methods=["POST"]),
                *openai.routes(),
            ],
            middleware=[Middleware(self._guard)],
            exception_handlers={HTTPException: _refuse},
        )
        self._http = uvicorn.Server(
            uvicorn.Config(
                app,
                loop="asyncio",
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",  # The page is the log.
                server_header=False,
                headers=list(headers.items()),
                timeout_graceful_shutdown=1,
            )
        )

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *exception: object) -> None:
        self.shutdown()
        self._socket.close()

    @property
    def url(self) -> str:
        """The address of the page."""
        host, port = self.server_address[:2]
        address = ipaddress.ip_address(host)
        if address.is_unspecified:  # All of this machine's: one of them.
            host = "127.0.0.1" if address.version == 4 else "::1"
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/"

    def serve_forever(self) -> None:
        """Answers, on this thread, until `shutdown` or Ctrl-C."""
        clients = threading.Thread(
            target=self._http.run, args=([self._socket],), daemon=True
        )
        clients.start()
        busy = False
        try:
            while not self._ending:
                self._receive(wait=not busy)
                busy = self._turn()
        finally:
            self._receive(wait=False)
            for asked in list(self._line):
                asked.tell("failed", error="the server has ended")
                asked.end()
            for answer in self._answers:
                answer.close()
            if self._engine is not None:
                self._engine.end(RuntimeError("the server has ended"))
            self._http.should_exit = True
            clients.join()

    def shutdown(self) -> None:
        """Ends `serve_forever` after the path at hand, from any thread."""
        self._ending = True
        self._jobs.put(None)

    def _receive(self, wait: bool) -> None:
        """Takes in what was asked; may wait for it."""
        with contextlib.suppress(queue.Empty):
            job = self._jobs.get(block=wait)
            while True:
                if isinstance(job, _Asked):
                    self._answers.append(self._answer(job))
                elif job is not None:
                    self._engine = self._engine or SharedEngine(self.model)
                    self._engine.add(job)
                job = self._jobs.get(block=False)

    def _turn(self) -> bool:
        """Does a piece of all work; returns whether there was any."""
        busy = bool(self._answers)
        done = next(self._answers[0], True) if busy else False
        if done:
            self._answers.popleft()
        if self._engine is not None:
            busy = self._engine.turn() or busy
        return busy

    def _answer(self, job: _Asked) -> _Answer:
        """Tells the state after each path; ends when nobody listens."""
        try:
            if job.left:
                return
            job.tell("running")
            asked = job.question
            if not isinstance(asked, str):
                asked = chat_prompt(self.model, asked)
            made = stream_answers(self.model, [asked], job.asking)
            for _, answered in made:
                if job.left:
                    return
                job.tell(**_progress(answered))
                yield
        except Exception as error:
            message = f"{type(error).__name__}: {error}"[:500]
            job.tell("failed", error=message)
        finally:
            job.end()
            job.soon(self._leave, job)

    async def _show(self, request: Request) -> Response:
        return HTMLResponse(self._html)

    async def _ask(self, request: Request) -> ASGIApp:
        try:
            question = validate(
                Question, await read_json(request, _MAX_BODY), "request"
            )
            job = _Asked(question.asked, question.asking())
        except InputError as error:
            raise HTTPException(400, str(error)) from None
        if len(self._line) >= _MAX_WAITING:
            raise HTTPException(503, "too many are waiting")
        self._line.append(job)
        self._jobs.put(job)
        lines = StreamingResponse(
            self._events(job), media_type="application/x-ndjson"
        )

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await lines(scope, receive, send)
            finally:
                self._leave(job)

        return answer

    async def _events(self, job: _Asked) -> AsyncIterator[str]:
        """Yields JSON lines: the place in the line, then what is told."""
        line = None
        while line is None:
            if ahead := self._line.index(job) if job in self._line else 0:
                yield _json_line("waiting", ahead=ahead)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    line = await job.lines.get()
        while line:
            yield line
            line = await job.lines.get()

    def _leave(self, job: _Asked) -> None:
        """Ends a job that was answered, or that nobody listens to."""
        job.left = True
        if job in self._line:
            self._line.remove(job)

    def _guard(self, app: ASGIApp) -> ASGIApp:
        """Refuses other names for this machine, if it is local.

        Where other machines may ask, they may give it any name.
        """

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            if self.is_local and scope["type"] == "http":
                request = Request(scope)
                try:
                    check_host(request, self._host)
                except HTTPException as error:
                    app_ = await _refuse(request, error)
                    return await app_(scope, receive, send)
            await app(scope, receive, send)

        return guarded


def serve(
    load: Callable[[], Any],
    host: str = "127.0.0.1",
    port: int = 8000,
    allow_remote: bool = False,
    name: str = "keras-flan",
) -> None:
    """Serves the page and OpenAI's interface until interrupted.

    Args:
        load: Returns the model; called when the port is ours.
        host: As for `Server`.
        port: As for `Server`.
        allow_remote: As for `Server`; said on stderr if it matters.
        name: As for `Server`.

    Raises:
        InputError: As `Server` does.
    """
    with Server(None, host, port, allow_remote, name) as server:
        if not server.is_local:
            print(
                f"WARNING: {host} is open to other machines: whoever reaches "
                "it may ask, without a password",
                file=sys.stderr,
            )
        server.model = load()
        print(
            f"{server.url} (Ctrl-C ends); {server.url}v1 speaks OpenAI's "
            f"interface, the model is {name!r}",
            flush=True,
        )
        server.serve_forever()


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if request.url.path not in _OF_THE_PAGE:
        return refusal(error)
    return JSONResponse({"error": error.detail}, error.status_code)


def _json_line(state: str, **event: Any) -> str:
    return json.dumps({"state": state, **event}) + "\n"


def _progress(answered: Answered) -> dict[str, Any]:
    return {
        "state": "done" if answered.done else "running",
        "drawn": len(answered.paths),
        "samples": answered.samples,
        "answer": answered.vote.winner,
        "confidence": answered.vote.confidence,
        "votes": answered.vote.counts,
        # What a conversation goes on with: the first path.
        "reply": answered.paths[0].text if answered.paths else "",
        "html": render_answered(answered, "Sampled paths"),
    }


def _page() -> tuple[str, str]:
    """Returns the page, and the content security policy to send with it."""
    form = resources.files(__package__).joinpath("serving.html")
    kinds = "".join(
        f'<option value="{page.text(name)}">'
        f"{page.text(name.replace('_', ' '))}</option>"
        for name in sorted(KINDS, key=lambda name: name != "number")
    )
    body = form.read_text(encoding="utf-8").replace("$kinds", kinds)
    # The page's own script runs, and nothing that got into it.
    [script] = re.findall("<script>(.*?)</script>", body, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest())
    policy = (
        f"{page.POLICY}; script-src 'sha256-{digest.decode()}'; "
        "connect-src 'self'"
    )
    html = page.render("Ask the model", body, policy)
    return html, f"{policy}; frame-ancestors 'none'"
