"""What OpenAI's interface answers, as JSON."""

import math
import secrets
import time
from collections.abc import Sequence
from typing import Any, TypeAlias

from keras_flan.generation.openai.prompts import TokenTexts
from keras_flan.generation.openai.work import Choice, Job, Probable, Tokens

Json: TypeAlias = dict[str, Any]
# What OpenAI says of a token that is all but impossible.
_LEAST = -9999.0
_TYPES = {404: "not_found_error", 503: "server_error", 500: "server_error"}


def error(
    status: int, message: str, param: str | None = None, code: str | None = None
) -> Json:
    """Returns an error in OpenAI's form.

    Args:
        status: The status that goes with it.
        message: What is wrong.
        param: The key that is wrong.
        code: A name for the kind of error.
    """
    kind = _TYPES.get(status, "invalid_request_error")
    return {
        "error": {
            "message": message,
            "type": kind,
            "param": param,
            "code": code,
        }
    }


class Form:
    """How the answers of a request are written.

    Args:
        model: The name of the model.
        texts: The texts of its tokens.
        top: How many probable tokens a client wants, or `None`.
    """

    whole: str
    piece: str
    prefix: str

    def __init__(self, model: str, texts: TokenTexts, top: int | None):
        self._head = {
            "id": f"{self.prefix}-{secrets.token_hex(12)}",
            "object": self.whole,
            "created": int(time.time()),
            "model": model,
        }
        self._texts, self._top = texts, top

    def answer(self, job: Job, choices: Sequence[Choice]) -> Json:
        """Returns the answer to a request that is done."""
        ordered = sorted(choices, key=lambda choice: choice.index)
        return {
            **self._head,
            "choices": list(map(self.choice, ordered)),
            "usage": usage(job, choices),
        }

    def chunk(self, choices: list[Json], **more: Any) -> Json:
        """Returns a piece of a stream."""
        head = {**self._head, "object": self.piece}
        return {**head, "choices": choices, **more}

    def choice(self, choice: Choice) -> Json:
        """Returns a choice as a whole."""
        raise NotImplementedError

    def first(self, index: int) -> list[Json]:
        """Returns what begins a choice of a stream."""
        return []

    def delta(self, index: int, text: str) -> Json:
        """Returns a piece of the text of a choice."""
        raise NotImplementedError

    def last(self, choice: Choice) -> Json:
        """Returns what ends a choice of a stream, without its text."""
        raise NotImplementedError

    def _named(self, tokens: Tokens, later: bool) -> list[tuple]:
        """Returns each token's text, log-probability and likely texts.

        Args:
            tokens: The tokens.
            later: Whether others are before them.
        """
        found: list[tuple] = []
        rows = zip(
            tokens.ids, tokens.log_probabilities, tokens.top, strict=True
        )
        for number, (token, gain, top) in enumerate(rows):
            name = self._texts.later if number or later else self._texts.first
            others: Probable = [pair for pair in top or [] if pair[0] != token]
            if gain is None:
                found.append((name(token), None, None))
                continue
            likely: dict[str, float] = {}
            for other, its in [*others, (token, gain)]:
                # Two tokens may have the same text.
                text = name(other)
                likely[text] = max(_number(its), likely.get(text, -math.inf))
            ordered = sorted(likely.items(), key=lambda pair: -pair[1])
            found.append((name(token), _number(gain), dict(ordered)))
        return found


class CompletionForm(Form):
    """The form of `/v1/completions`."""

    whole = piece = "text_completion"
    prefix = "cmpl"

    def choice(self, choice: Choice) -> Json:
        return {**self.last(choice), "text": choice.text}

    def delta(self, index: int, text: str) -> Json:
        return {
            "index": index,
            "text": text,
            "logprobs": None,
            "finish_reason": None,
        }

    def last(self, choice: Choice) -> Json:
        reason = "stop" if choice.finished else "length"
        return {
            "index": choice.index,
            "text": "",
            "logprobs": None if self._top is None else self._logprobs(choice),
            "finish_reason": reason,
        }

    def _logprobs(self, choice: Choice) -> Json:
        echoed = choice.echoed
        named = self._named(echoed, later=False) if echoed else []
        named += self._named(choice.tokens, later=bool(named))
        offsets, at = [], 0
        for text, _, _ in named:
            offsets.append(at)
            at += len(text)
        return {
            "tokens": [text for text, _, _ in named],
            "token_logprobs": [gain for _, gain, _ in named],
            "top_logprobs": [top for *_, top in named] if self._top else None,
            "text_offset": offsets,
        }


class ChatForm(Form):
    """The form of `/v1/chat/completions`."""

    whole, piece, prefix = (
        "chat.completion",
        "chat.completion.chunk",
        "chatcmpl",
    )

    def choice(self, choice: Choice) -> Json:
        message = {"role": "assistant", "content": choice.text, "refusal": None}
        ending = self.last(choice)
        del ending["delta"]
        return {**ending, "message": message}

    def first(self, index: int) -> list[Json]:
        return [_chat_delta(index, {"role": "assistant", "content": ""})]

    def delta(self, index: int, text: str) -> Json:
        return _chat_delta(index, {"content": text})

    def last(self, choice: Choice) -> Json:
        ending = _chat_delta(choice.index, {})
        ending["finish_reason"] = "stop" if choice.finished else "length"
        if self._top is not None:
            ending["logprobs"] = {
                "content": [
                    {
                        **_chat_token(text, gain),
                        "top_logprobs": [
                            _chat_token(*pair)
                            for pair in list(top.items())[: self._top]
                        ],
                    }
                    for text, gain, top in self._named(choice.tokens, False)
                ],
                "refusal": None,
            }
        return ending


def usage(job: Job, choices: Sequence[Choice]) -> Json:
    """Returns the numbers of tokens that were read and generated."""
    read = sum(len(p.framed) + len(p.begun) for p in job.prompts)
    made = sum(len(choice.tokens.ids) for choice in choices)
    return {
        "prompt_tokens": read,
        "completion_tokens": made,
        "total_tokens": read + made,
    }


def _chat_delta(index: int, delta: Json) -> Json:
    return {
        "index": index,
        "delta": delta,
        "logprobs": None,
        "finish_reason": None,
    }


def _chat_token(text: str, gain: float) -> Json:
    return {"token": text, "logprob": gain, "bytes": list(text.encode())}


def _number(log_probability: float) -> float:
    return max(log_probability, _LEAST)
