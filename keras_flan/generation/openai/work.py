"""A request on its way: what it wants of the shared engine, what it is told."""

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any, TypeAlias

from keras_flan.errors import InputError
from keras_flan.generation.decoding import Made, TokenPath, Wanted
from keras_flan.generation.engine import path_of, stopper
from keras_flan.generation.openai.prompts import Ready
from keras_flan.generation.outputs import TokenScores
from keras_flan.generation.sampling import uniforms
from keras_flan.generation.sampling_settings import Sampling
from keras_flan.generation.sharing import Client, Scoring, pieces
from keras_flan.models.language_model import LanguageModel

# Programs are compiled for so many probable tokens.
_TOPS = (1, 5, 20)

Probable: TypeAlias = list[tuple[int, float]]


@dataclasses.dataclass(frozen=True)
class Tokens:
    """Tokens of a choice, with what the model thinks of them.

    Attributes:
        ids: The tokens; with the end token if it was generated.
        log_probabilities: Of each; `None` where it was given.
        top: The most probable tokens in the place of each, with theirs.
    """

    ids: list[int]
    log_probabilities: Sequence[float | None]
    top: Sequence[Probable | None]


@dataclasses.dataclass(frozen=True)
class Choice:
    """An answer that is done.

    Attributes:
        index: Its number in the request.
        text: Its text.
        finished: Whether it came to an end of its own.
        tokens: What was generated.
        echoed: The tokens of the prompt, if they were to be scored.
    """

    index: int
    text: str
    finished: bool
    tokens: Tokens
    echoed: Tokens | None = None


@dataclasses.dataclass(frozen=True)
class Delta:
    """A piece of the text of a choice, as it is generated."""

    index: int
    text: str


Event: TypeAlias = Delta | Choice | Exception


@dataclasses.dataclass(frozen=True)
class Wish:
    """What a request asks of each of its prompts.

    Attributes:
        sampling: How to sample.
        tokens: The most new tokens; may be 0.
        top: How many probable tokens to tell, `None`: no log-probabilities.
        echo: Whether the prompt is a part of the answer.
        stream: Whether to tell pieces of texts as they are generated.
    """

    sampling: Sampling
    tokens: int
    top: int | None = None
    echo: bool = False
    stream: bool = False


class Job(Client):
    """Answers the prompts of a request; see `Client`.

    Args:
        model: The model.
        prompts: The prompts.
        wish: What to do with them.

    Attributes:
        events: What is told, on the loop that it was made on: `Delta`s, and
            a `Choice` for each answer, the last of it; or an exception if
            something went wrong.

    Raises:
        InputError: If a prompt can't be answered so.
    """

    def __init__(
        self, model: LanguageModel, prompts: Sequence[Ready], wish: Wish
    ):
        super().__init__(wish.sampling, prompts[0].ends)
        self.prompts, self.wish = prompts, wish
        self._vocabulary = model.vocabulary
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self._soon = asyncio.get_running_loop().call_soon_threadsafe
        # What is there of each choice: its path, and scores.
        self._paths: dict[tuple[int, int], TokenPath] = {}
        self._tops: dict[tuple[int, int], TokenScores] = {}
        self._echoes: dict[int, TokenScores] = {}
        self._sent: dict[tuple[int, int], str] = {}
        # Greedy paths of a prompt are all the same: decode one.
        greedy = wish.sampling.temperature == 0 or not wish.tokens
        self._drawn = 1 if greedy else wish.sampling.samples
        # Scoring the prompt foretells one more token.
        scored = wish.echo and wish.top is not None
        self._at_once = scored and greedy and wish.tokens < 2
        # What has log-probabilities is told as a whole.
        self._in_pieces = wish.stream and not wish.echo and wish.top is None
        for row, prompt in enumerate(prompts):
            self._want(model, row, prompt)

    def _want(self, model: LanguageModel, row: int, prompt: Ready) -> None:
        """Lines up what is to be done for a prompt."""
        wish = self.wish
        scored = wish.echo and wish.top is not None
        if model.decoding.ends_targets:
            end = self._vocabulary.token(self._vocabulary.eos_id)
            if scored and not prompt.closed:
                raise InputError(
                    "echo: this model reads a prompt apart from its answer "
                    "and has no log-probabilities of a prompt; put the end "
                    f"token {end} between the two"
                )
            if prompt.begun and not (model.decoder_only or self._at_once):
                raise InputError(
                    "prompt: this model can't go on with an answer that is "
                    f"begun, behind the end token {end}; give the prompt "
                    "alone, or echo, logprobs, temperature 0 and max_tokens 0 "
                    "or 1"
                )
        if scored:
            first, target = prompt.to_score
            if self._at_once and wish.tokens:
                # The place behind the last token foretells the next one.
                target = [*target, self._vocabulary.eos_id]
            if target:
                self._score(("echo", row), first, target)
            else:
                self._echoes[row] = TokenScores([], [])
        if wish.tokens and not self._at_once:
            read = [*prompt.framed, *prompt.begun]
            for numbers in pieces(self._drawn):
                self.paths.append(self._wanted(row, read, numbers))
        for number in range(self._drawn if not wish.tokens else 0):
            self._paths[row, number] = TokenPath([], [], False, False)
            self._finish(row, number)

    def _wanted(self, row: int, read: list[int], numbers: range) -> Wanted:
        sampling, text = self.sampling, self.prompts[row].text
        return Wanted(
            key=(self, row),
            prompt=read,
            numbers=numbers,
            length=sampling.max_new_tokens,
            uniforms=lambda number: uniforms(
                text, number, sampling.max_new_tokens, sampling.seed
            ),
            stop=stopper(self._vocabulary, sampling.stop),
        )

    def _score(
        self, key: tuple[Any, ...], prompt: list[int], target: list[int]
    ) -> None:
        least = self.wish.top or 1
        top = next(top for top in _TOPS if top >= least)
        self.rows.append(Scoring(key, prompt, target, top))

    # === On the thread of the model ===

    def made(self, made: Made) -> None:
        _, row = made.wanted.key
        place = row, made.number
        if made.path is None:
            if self._in_pieces:
                self._tell_so_far(place, made.token_ids)
            return
        self._paths[place] = made.path
        if self.wish.top and made.path.token_ids:
            prompt = self.prompts[row]
            read = [*prompt.framed, *prompt.begun]
            self._score(("path", *place), read, made.path.token_ids)
        else:
            self._finish(*place)

    def scored(self, row: Scoring, scores: TokenScores) -> None:
        kind, number, *rest = row.key
        if kind == "path":
            self._tops[number, rest[0]] = scores
            self._finish(number, rest[0])
            return
        self._echoes[number] = scores
        if self._at_once and self.wish.tokens:
            token, gain = scores.top[-1][0]
            self._echoes[number] = TokenScores(
                scores.log_probabilities[:-1], scores.top[:-1]
            )
            ended = token in self.ends
            self._paths[number, 0] = TokenPath([token], [gain], ended, False)
            self._tops[number, 0] = TokenScores([gain], scores.top[-1:])
        for place in range(self._drawn):
            self._finish(number, place)

    @property
    def number(self) -> int:
        """How many choices there will be."""
        return len(self.prompts) * self.sampling.samples

    def failed(self, error: Exception) -> None:
        self._soon(self.events.put_nowait, error)

    def _tell_so_far(self, place: tuple[int, int], ids: list[int]) -> None:
        """Tells what is certain of a text: no half letter or stop string."""
        text = self._vocabulary.decode(ids).rstrip("\ufffd")
        longest = max(map(len, self.sampling.stop), default=0)
        for length in range(min(longest - 1, len(text)), 0, -1):
            if any(s.startswith(text[-length:]) for s in self.sampling.stop):
                text = text[:-length]
                break
        sent = self._sent.get(place, "")
        if len(text) > len(sent) and text.startswith(sent):
            self._sent[place] = text
            for index in self._indices(*place):
                self._tell(Delta(index, text[len(sent) :]))

    def _finish(self, row: int, number: int) -> None:
        """Tells a choice for which all is there."""
        wish, tokens = self.wish, self._paths.get((row, number))
        echoed = wish.echo and wish.top is not None
        if tokens is None or (echoed and row not in self._echoes):
            return
        scores = self._tops.get((row, number))
        if wish.top and tokens.token_ids and scores is None:
            return
        path = path_of(self._vocabulary, tokens, self.sampling.stop)
        text = path.text
        if wish.echo:
            text = self.prompts[row].text + text
        top = _with_own(tokens, scores, wish.top or 0)
        made = Tokens(tokens.token_ids, tokens.log_probabilities, top)
        for index in self._indices(row, number):
            rest = text.removeprefix(self._sent.get((row, number), ""))
            if self.wish.stream and rest:
                self._tell(Delta(index, rest))
            self._tell(
                Choice(
                    index,
                    text,
                    path.finished,
                    made,
                    self._echo(row) if echoed else None,
                )
            )
        del self._paths[row, number]

    def _echo(self, row: int) -> Tokens:
        prompt, scores = self.prompts[row], self._echoes[row]
        end = self._vocabulary.eos_id
        count = max(1, self.wish.top or 0)
        return Tokens(
            prompt.ids,
            prompt.known(scores.log_probabilities, 0.0),
            prompt.known([top[:count] for top in scores.top], [(end, 0.0)]),
        )

    def _indices(self, row: int, number: int) -> range:
        """The choices of a path: all of a prompt, if it is greedy."""
        samples = self.sampling.samples
        start = row * samples + number
        return range(start, start + samples // self._drawn)

    def _tell(self, event: Event) -> None:
        self._soon(self.events.put_nowait, event)


def _with_own(
    tokens: TokenPath, scores: TokenScores | None, top: int
) -> list[Probable]:
    """Returns the probable tokens of a path, its own among them.

    Its own have the log-probabilities that they were chosen with.
    """
    if scores is None:
        return [[] for _ in tokens.token_ids]
    found = []
    for token, gain, probable in zip(
        tokens.token_ids, tokens.log_probabilities, scores.top, strict=True
    ):
        others = [pair for pair in probable[:top] if pair[0] != token]
        pairs = [*others, (token, gain)]
        found.append(sorted(pairs, key=lambda pair: -pair[1]))
    return found
