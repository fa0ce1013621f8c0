"""Prompts of clients as a model reads them, and texts of single tokens."""

import dataclasses
import functools
import re
from collections.abc import Sequence
from typing import Any

from keras_flan.errors import InputError
from keras_flan.generation.engine import end_tokens
from keras_flan.generation.texts import ChatPrompt, as_texts
from keras_flan.models.language_model import LanguageModel

# The most tokens of a prompt, as for `generate`; and of a request.
MOST_TOKENS = 2048
MOST_PROMPTS = 1024


class TooLong(InputError):
    """A prompt has more tokens than are read."""


@dataclasses.dataclass(frozen=True)
class Ready:
    """A prompt that is ready to be read.

    Attributes:
        text: Its text, which also names its random numbers, as for `generate`.
        ids: Its tokens, as the client gave them or would.
        framed: What the model reads: `ids` with what frames a prompt.
        begun: Tokens of the answer that are given already. Of a model that
            reads a prompt apart from its answer, those behind the end token.
        closed: Whether the end token is among `ids`.
        ends: The tokens that end an answer.
    """

    text: str
    ids: list[int]
    framed: list[int]
    begun: list[int]
    closed: bool
    ends: tuple[int, ...]

    def known(self, scores: Sequence[Any], certain: Any) -> list[Any]:
        """Returns what is known of each of `ids`.

        Args:
            scores: What is known of the tokens of `to_score`, in order.
            certain: What is known of the end token of a prompt: each has one.
        """
        length = len(self.ids)
        if self.closed:
            scores = [certain, *scores]
        return [*([None] * length), *scores][-length:] if length else []

    @functools.cached_property
    def to_score(self) -> tuple[list[int], list[int]]:
        """What the model reads first, and the tokens that follow."""
        if self.closed:
            return self.framed, self.begun
        return self.framed[:1], self.framed[1:]


def ready(model: LanguageModel, prompt: str | list[int], echo: bool) -> Ready:
    """Returns a prompt as it is read.

    Args:
        model: The model.
        prompt: A text, a `ChatPrompt`, or token ids. Start and end tokens
            that frame a prompt are added where they are missing.
        echo: Whether it is echoed: then the end token may be written in a
            text, to tell a prompt from its answer.

    Raises:
        InputError: If a token does not exist, or the prompt is too long.
    """
    vocabulary, decoding = model.vocabulary, model.decoding
    if isinstance(prompt, ChatPrompt):
        text, ids, framed = str(prompt), prompt.token_ids, prompt.token_ids
        begun, closed = [], False
    else:
        if isinstance(prompt, str):
            [text] = as_texts(prompt, "prompt")
            if echo and decoding.ends_targets:
                ids = special_ids(vocabulary, text)
            else:
                ids = vocabulary.encode(text)
        else:
            ids, text = prompt, text_of(vocabulary, prompt)
        closed = decoding.ends_targets and vocabulary.eos_id in ids
        at = ids.index(vocabulary.eos_id) if closed else len(ids)
        head, begun = ids[:at], ids[at + 1 :]
        bos = getattr(vocabulary, "bos_id", None)
        if bos is not None and head[:1] == [bos]:
            head = head[1:]
        framed = decoding.frame(head, len(head) + 2)
    number = len(framed) + len(begun)
    if number > MOST_TOKENS:
        raise TooLong(
            f"prompt: found {number:,} tokens, expected up to {MOST_TOKENS:,}; "
            "leave out its beginning"
        )
    of_chat = [prompt] if isinstance(prompt, ChatPrompt) else []
    ends = end_tokens(vocabulary, of_chat)
    return Ready(text, ids, framed, begun, closed, ends)


def text_of(vocabulary: Any, ids: Sequence[int]) -> str:
    """Returns the text of tokens, with the end tokens among them written out.

    Raises:
        InputError: If a token does not exist.
    """
    for i in ids:
        if not 0 <= i < vocabulary.size:
            raise InputError(
                f"prompt: found the token {i}, expected 0 to "
                f"{vocabulary.size - 1:,}"
            )
    texts: list[str] = []
    part: list[int] = []
    for i in ids:
        if i == vocabulary.eos_id:
            texts += [vocabulary.decode(part), vocabulary.token(i)]
            part = []
        else:
            part.append(i)
    return "".join([*texts, vocabulary.decode(part) if part else ""])


def special_ids(vocabulary: Any, text: str) -> list[int]:
    """Returns the ids of a text, in which start and end tokens are written."""
    specials = special_tokens(vocabulary)
    pattern = "|".join(map(re.escape, specials))
    found: list[int] = []
    for number, part in enumerate(re.split(f"({pattern})", text)):
        if number % 2:
            found.append(specials[part])
        elif part:
            found += vocabulary.encode(part)
    return found


def special_tokens(vocabulary: Any) -> dict[str, int]:
    """Returns the ids of the start and end tokens, as they are written."""
    ids = [getattr(vocabulary, "bos_id", None), vocabulary.eos_id]
    return {vocabulary.token(i): i for i in ids if i is not None}


class TokenTexts:
    """The texts of single tokens, in the midst of others.

    Args:
        vocabulary: The model's.
    """

    def __init__(self, vocabulary: Any):
        self._vocabulary = vocabulary
        self._anchor = vocabulary.encode("a")[-1:]
        self._before = vocabulary.decode(self._anchor)
        # Both are asked for again and again.
        self.first = functools.cache(self._first)
        self.later = functools.cache(self._later)

    def of(self, ids: Sequence[int]) -> list[str]:
        """Returns the text of each token of a sequence."""
        later = [self.later(i) for i in ids[1:]]
        return [self.first(ids[0]), *later] if ids else []

    def _first(self, token_id: int) -> str:
        alone = self._vocabulary.decode([token_id])
        return self._shown(token_id, alone) if alone else self.later(token_id)

    def _later(self, token_id: int) -> str:
        whole = self._vocabulary.decode([*self._anchor, token_id])
        return self._shown(token_id, whole.removeprefix(self._before))

    def _shown(self, token_id: int, text: str) -> str:
        # A special token, or a byte of a letter, is shown by its name.
        if text and "\ufffd" not in text:
            return text
        known = token_id < self._vocabulary.size
        return self._vocabulary.token(token_id) if known else f"<{token_id}>"
