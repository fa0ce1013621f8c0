"""The addresses of OpenAI's interface; they run on the clients' thread."""

import asyncio
import functools
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from keras_flan.errors import InputError
from keras_flan.generation import listening
from keras_flan.generation.chat import chat_prompt
from keras_flan.generation.openai import forms
from keras_flan.generation.openai.prompts import (
    MOST_PROMPTS,
    MOST_TOKENS,
    Ready,
    TokenTexts,
    TooLong,
    ready,
    special_ids,
    special_tokens,
    text_of,
)
from keras_flan.generation.openai.requests import (
    ChatCompletion,
    Completion,
    Detokens,
    Tokens,
)
from keras_flan.generation.openai.work import Choice, Delta, Job, Wish
from keras_flan.schema import Strict, validate

_MAX_BODY = 8_388_608  # bytes
_MAX_REQUESTS = 256  # at a time

Form = TypeVar("Form", bound=Strict)


class OpenAI:
    """Answers as OpenAI's servers do.

    Args:
        model: Returns the model.
        name: The name that clients give it.
        work: Called with each `Job`, to be done on the model's thread.
    """

    def __init__(
        self, model: Callable[[], Any], name: str, work: Callable[[Job], None]
    ):
        self._model, self._name, self._work = model, name, work
        self._running = 0
        self._since = int(time.time())

    def routes(self) -> list[Route]:
        """Returns the addresses."""
        return [
            Route("/v1/models", self._models),
            Route("/v1/models/{name:path}", self._models),
            Route(
                "/v1/completions",
                functools.partial(self._complete, form=forms.CompletionForm),
                methods=["POST"],
            ),
            Route(
                "/v1/chat/completions",
                functools.partial(self._complete, form=forms.ChatForm),
                methods=["POST"],
            ),
            # As vLLM's: so a client needs no tokenizer of its own.
            Route("/tokenizer_info", self._tokenizer),
            Route("/tokenize", self._tokenize, methods=["POST"]),
            Route("/detokenize", self._detokenize, methods=["POST"]),
        ]

    async def _models(self, request: Request) -> Response:
        asked = request.path_params.get("name")
        mine = {
            "id": self._name,
            "object": "model",
            "created": self._since,
            "owned_by": "keras-flan",
        }
        if asked is None:
            return JSONResponse({"object": "list", "data": [mine]})
        self._check_name(asked)
        return JSONResponse(mine)

    async def _complete(
        self, request: Request, form: type[forms.Form]
    ) -> ASGIApp:
        asked: Completion | ChatCompletion
        if form is forms.ChatForm:
            asked = await self._read(request, ChatCompletion)
        else:
            asked = await self._read(request, Completion)
        if self._running >= _MAX_REQUESTS:
            raise Refused(503, "too many are waiting")
        try:
            job = await self._job(asked)
        except TooLong as error:
            raise Refused(
                400, str(error), "prompt", "context_length_exceeded"
            ) from None
        except InputError as error:
            raise _refused(error) from None
        shape = form(self._name, self._texts, asked.top)
        response: ASGIApp
        if asked.stream:
            pieces = _pieces(job, shape, asked.stream_options.include_usage)
            response = StreamingResponse(pieces, media_type="text/event-stream")
        else:
            response = _Whole(job, shape)

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            self._running += 1
            self._work(job)
            try:
                await response(scope, receive, send)
            finally:
                job.left = True
                self._running -= 1

        return answer

    async def _job(self, asked: Completion | ChatCompletion) -> Job:
        """Returns what is to be done.

        Raises:
            InputError: If the model can't do it.
        """
        model = self._asked_model()
        wish = Wish(
            sampling=asked.sampling(secrets.randbits(32)),
            tokens=asked.tokens,
            top=asked.top,
            echo=isinstance(asked, Completion) and asked.echo,
            stream=asked.stream,
        )

        def prompts() -> list[Ready]:
            if isinstance(asked, ChatCompletion):
                turns = [message.turn() for message in asked.messages]
                return [ready(model, chat_prompt(model, turns), False)]
            return [ready(model, p, wish.echo) for p in asked.prompts]

        found = await run_in_threadpool(prompts)
        if not 1 <= len(found) <= MOST_PROMPTS:
            raise InputError(
                f"request: prompt: found {len(found)} prompts, expected 1 to "
                f"{MOST_PROMPTS:,}"
            )
        return Job(model, found, wish)

    async def _tokenizer(self, request: Request) -> Response:
        vocabulary = self._asked_model().vocabulary
        bos = getattr(vocabulary, "bos_id", None)
        tokens = {
            "bos_token": None if bos is None else vocabulary.token(bos),
            "eos_token": vocabulary.token(vocabulary.eos_id),
            "pad_token": vocabulary.token(vocabulary.pad_id),
        }
        return JSONResponse({"tokenizer_class": "keras_flan", **tokens})

    async def _tokenize(self, request: Request) -> Response:
        asked = await self._read(request, Tokens)
        vocabulary = self._asked_model().vocabulary
        ids = await run_in_threadpool(special_ids, vocabulary, asked.prompt)
        first = special_tokens(vocabulary)
        if asked.add_special_tokens and len(first) > 1:
            ids = [vocabulary.bos_id, *ids]
        answer = {"count": len(ids), "max_model_len": MOST_TOKENS}
        return JSONResponse({**answer, "tokens": ids})

    async def _detokenize(self, request: Request) -> Response:
        asked = await self._read(request, Detokens)
        vocabulary = self._asked_model().vocabulary
        try:
            text = text_of(vocabulary, asked.tokens)
        except InputError as error:
            raise _refused(error) from None
        return JSONResponse({"prompt": text})

    async def _read(self, request: Request, form: type[Form]) -> Form:
        try:
            found = await listening.read_json(request, _MAX_BODY)
            asked = validate(form, found, "request")
        except InputError as error:
            raise _refused(error) from None
        if (name := getattr(asked, "model", None)) is not None:
            self._check_name(name)
        return asked

    def _check_name(self, name: str) -> None:
        if name != self._name:
            raise Refused(
                404,
                f"no model {name!r:.80}; this server has {self._name!r}",
                "model",
                "model_not_found",
            )

    def _asked_model(self) -> Any:
        model = self._model()
        if getattr(model, "vocabulary", None) is None:
            raise Refused(
                400,
                "what is asked here in a model's stead has no tokens; serve a "
                "model with a vocabulary",
            )
        return model

    @functools.cached_property
    def _texts(self) -> TokenTexts:
        return TokenTexts(self._asked_model().vocabulary)


class Refused(HTTPException):
    """A request that is refused; see `forms.error`."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
    ):
        super().__init__(status, message)
        self.param, self.code = param, code


def refusal(error: HTTPException) -> Response:
    """Returns an error in OpenAI's form."""
    param = getattr(error, "param", None)
    code = getattr(error, "code", None)
    form = forms.error(error.status_code, error.detail, param, code)
    return JSONResponse(form, error.status_code, error.headers)


def _refused(error: InputError) -> Refused:
    message = str(error).removeprefix("request: ")
    key, colon, _ = message.partition(": ")
    return Refused(400, message, key if colon and " " not in key else None)


class _Whole:
    """Answers with all choices at once, unless the client leaves before."""

    def __init__(self, job: Job, form: forms.Form):
        self._job, self._form = job, form

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        answer = asyncio.ensure_future(self._answer())
        gone = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait(
                {answer, gone}, return_when=asyncio.FIRST_COMPLETED
            )
            if answer.done():
                await answer.result()(scope, receive, send)
        finally:
            answer.cancel()
            gone.cancel()

    async def _answer(self) -> Response:
        choices = []
        try:
            async for event in _events(self._job):
                if isinstance(event, Choice):
                    choices.append(event)
            return JSONResponse(self._form.answer(self._job, choices))
        except Exception as error:
            return JSONResponse(_failure(error), 500)


async def _gone(receive: Receive) -> None:
    """Returns when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _events(job: Job) -> AsyncIterator[Delta | Choice]:
    """Yields what a job tells, up to its last choice.

    Raises:
        Exception: What went wrong.
    """
    missing = job.number
    while missing:
        event = await job.events.get()
        if isinstance(event, Exception):
            raise event
        missing -= isinstance(event, Choice)
        yield event


async def _pieces(
    job: Job, form: forms.Form, counted: bool
) -> AsyncIterator[str]:
    """Yields the events of a stream.

    Args:
        job: What is done.
        form: How it is written.
        counted: Whether the numbers of tokens are told.
    """
    none = {"usage": None} if counted else {}
    choices: list[Choice] = []
    begun: set[int] = set()
    try:
        async for event in _events(job):
            if event.index not in begun:
                begun.add(event.index)
                for first in form.first(event.index):
                    yield _event(form.chunk([first], **none))
            if isinstance(event, Choice):
                choices.append(event)
                piece = form.last(event)
            else:
                piece = form.delta(event.index, event.text)
            yield _event(form.chunk([piece], **none))
        if counted:
            yield _event(form.chunk([], usage=forms.usage(job, choices)))
    except Exception as error:
        yield _event(_failure(error))
    yield "data: [DONE]\n\n"


def _event(form: forms.Json) -> str:
    return f"data: {json.dumps(form)}\n\n"


def _failure(error: Exception) -> forms.Json:
    message = f"{type(error).__name__}: {error}"[:500]
    return forms.error(500, message)
