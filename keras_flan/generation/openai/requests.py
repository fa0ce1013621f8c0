"""What clients of OpenAI's interface may ask, and what they ask in vain."""

from typing import Annotated, Any, Literal, Self

import pydantic

from keras_flan.generation.sampling_settings import Sampling
from keras_flan.schema import Strict

# A choice is at most so long where the client doesn't say; OpenAI's own
# conversations have no limit.
_CHAT_TOKENS = 512
_MOST_TOKENS = 4096
# Settings that don't change an answer here.
_IGNORED = (
    *("user", "metadata", "store", "service_tier", "parallel_tool_calls"),
    *("safety_identifier", "prompt_cache_key"),
)
# Settings that this server lacks, with what a client may send all the same.
_WITHOUT: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "suffix": ("",),
    "best_of": (1,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "tool_calls": ([],),
    "audio": (),
    "prediction": (),
    "reasoning_effort": ("none",),
}


class _Part(Strict):
    type: Literal["text"]
    text: str


class _Message(Strict):
    """A turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[_Part]

    @pydantic.model_validator(mode="before")
    @classmethod
    def _clean(cls, data: Any) -> Any:
        return _without(data, ("name", "tool_call_id", "refusal"))

    def turn(self) -> dict[str, str]:
        """Returns the turn as `chat_prompt` takes it."""
        content = self.content
        if not isinstance(content, str):
            content = "".join(part.text for part in content)
        role = "system" if self.role == "developer" else self.role
        return {"role": role, "content": content}


class _StreamOptions(Strict):
    include_usage: bool = False
    include_obfuscation: bool = False  # There is none.


class Request(Strict):
    """What both forms of a request have; `top_k` is not OpenAI's."""

    model: str
    n: int = pydantic.Field(default=1, ge=1, le=128, strict=True)
    temperature: float = pydantic.Field(default=1.0, ge=0, le=5)
    top_p: float = pydantic.Field(default=1.0, gt=0, le=1)
    top_k: int = pydantic.Field(default=0, ge=0, strict=True)
    stop: str | Annotated[list[str], pydantic.Field(max_length=64)] = ""
    seed: int | None = pydantic.Field(
        default=None, ge=-(2**63), lt=2**63, strict=True
    )
    stream: bool = False
    stream_options: _StreamOptions = _StreamOptions()

    @pydantic.model_validator(mode="before")
    @classmethod
    def _clean(cls, data: Any) -> Any:
        return _without(data, _IGNORED)

    @property
    def tokens(self) -> int:
        """The most new tokens of a choice."""
        raise NotImplementedError

    @property
    def top(self) -> int | None:
        """How many probable tokens to tell; `None`: no log-probabilities."""
        raise NotImplementedError

    def sampling(self, seed: int) -> Sampling:
        """Returns how to sample.

        Args:
            seed: Where the client gave none.

        Raises:
            InputError: If a setting is out of range.
        """
        stop = [self.stop] if isinstance(self.stop, str) else self.stop
        return Sampling(
            samples=self.n,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            stop=[text for text in stop if text],
            seed=seed if self.seed is None else self.seed,
            max_new_tokens=max(1, self.tokens),
        )


class Completion(Request):
    """A request to `/v1/completions`: prompts as texts or token ids."""

    prompt: str | list[str] | list[int] | list[list[int]]
    max_tokens: int = pydantic.Field(
        default=16, ge=0, le=_MOST_TOKENS, strict=True
    )
    echo: bool = False
    logprobs: int | None = pydantic.Field(
        default=None, ge=0, le=20, strict=True
    )

    @property
    def tokens(self) -> int:
        return self.max_tokens

    @property
    def top(self) -> int | None:
        return self.logprobs

    @property
    def prompts(self) -> list[str] | list[list[int]]:
        """The prompts, in order."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if self.prompt and isinstance(self.prompt[0], int):
            return [self.prompt]
        return self.prompt  # type: ignore[return-value]


class ChatCompletion(Request):
    """A request to `/v1/chat/completions`: a conversation to go on with."""

    messages: list[_Message] = pydantic.Field(min_length=1, max_length=256)
    max_tokens: int | None = pydantic.Field(
        default=None, ge=1, le=_MOST_TOKENS, strict=True
    )
    max_completion_tokens: int | None = pydantic.Field(
        default=None, ge=1, le=_MOST_TOKENS, strict=True
    )
    logprobs: bool = False
    top_logprobs: int = pydantic.Field(default=0, ge=0, le=20, strict=True)

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs: give logprobs: true with it")
        return self

    @property
    def tokens(self) -> int:
        return self.max_completion_tokens or self.max_tokens or _CHAT_TOKENS

    @property
    def top(self) -> int | None:
        return self.top_logprobs if self.logprobs else None


class Tokens(Strict):
    """A request to `/tokenize`."""

    prompt: str
    model: str | None = None
    add_special_tokens: bool = False


class Detokens(Strict):
    """A request to `/detokenize`."""

    tokens: list[int]
    model: str | None = None


def _without(data: Any, ignored: tuple[str, ...]) -> Any:
    """Returns a request without what is `null`, or makes no difference."""
    if not isinstance(data, dict):
        return data
    kept = {}
    for name, value in data.items():
        if value is None or name in ignored:
            continue
        if name in _WITHOUT:
            if value in _WITHOUT[name]:
                continue
            raise ValueError(
                f"{name}: this server has no such setting, found "
                f"{value!r:.40}; leave it out"
            )
        kept[name] = value
    return kept
