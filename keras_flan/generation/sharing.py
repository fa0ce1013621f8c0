"""Requests of several clients that share the engine's batches, in turns.

All of this runs on the thread of the model. A turn is a round of decoding, a
few steps, and a batch of what is to be scored. Requests that sample alike are
decoded together, whenever they come; the others take turns. A free place goes
to the client that was served longest ago, so that one with many prompts keeps
nobody waiting.
"""

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from keras_flan.generation.buckets import lanes_for, path_places, prompt_places
from keras_flan.generation.compiling import power_of_four
from keras_flan.generation.decoding import Made, Run, Wanted
from keras_flan.generation.likelihood import score_tokens
from keras_flan.generation.outputs import TokenScores
from keras_flan.generation.rounds import Bucket
from keras_flan.generation.sampling_settings import Sampling
from keras_flan.models.language_model import LanguageModel

# Paths of a batch; those of one prompt that are decoded together; batches
# that take turns.
_BATCH_PATHS, _LANES, _RUNS = 64, 16, 4
# A batch with one of so many places in use is left for a smaller one.
_SPARE = 8
# A prompt may stand in so many times the places that it needs.
_ROOMY = 4
_SCORED_TOKENS = 4096  # of a batch

# Temperature, top-k, top-p and end tokens: what a batch has in common.
Kind: TypeAlias = tuple[float, int, float, tuple[int, ...]]


@dataclasses.dataclass(frozen=True, eq=False)
class Scoring:
    """A text whose tokens are to be scored; see `score_tokens`."""

    key: Any
    prompt: list[int]
    target: list[int]
    top: int


class Client:
    """A request: what it wants of the model, and what it is told.

    Args:
        sampling: How to sample.
        ends: The tokens that end a path.

    Attributes:
        paths: The prompts to be decoded; the key of each is a pair, of the
            client and what it likes.
        rows: The texts to be scored.
        left: Whether it wants nothing any more.
    """

    def __init__(self, sampling: Sampling, ends: tuple[int, ...]):
        self.sampling, self.ends = sampling, ends
        self.paths: collections.deque[Wanted] = collections.deque()
        self.rows: collections.deque[Scoring] = collections.deque()
        self.left = False

    @property
    def kind(self) -> Kind:
        """What its paths must have in common with those of a batch."""
        sampling = self.sampling
        return (
            *(sampling.temperature, sampling.top_k, sampling.top_p),
            self.ends,
        )

    def made(self, made: Made) -> None:
        """Is called with each of its paths, after each round."""
        raise NotImplementedError

    def scored(self, row: Scoring, scores: TokenScores) -> None:
        """Is called with the scores of each of its rows."""
        raise NotImplementedError

    def failed(self, error: Exception) -> None:
        """Is called if something went wrong; nothing will follow."""
        raise NotImplementedError


def pieces(samples: int) -> list[range]:
    """Returns the numbers of a prompt's paths, in parts for a place each."""
    starts = range(0, samples, _LANES)
    return [range(start, min(start + _LANES, samples)) for start in starts]


class _Batch:
    """A run with what its paths have in common.

    Args:
        model: The model.
        bucket: The bucket.
        client: One whose prompts it takes.
        source: Returns its next prompt.
    """

    def __init__(
        self,
        model: LanguageModel,
        bucket: Bucket,
        client: Client,
        source: Callable[["_Batch"], Wanted | None],
    ):
        self.kind = client.kind
        self.closing = False  # Whether it takes no more prompts.
        self.run = Run(
            *(model, bucket, client.sampling, client.ends),
            source=lambda: source(self),
        )

    def takes(self, kind: Kind, wanted: Wanted) -> bool:
        """Whether a prompt will get a place in it."""
        return not self.closing and self.fits(kind, wanted)

    def fits(self, kind: Kind, wanted: Wanted) -> bool:
        """Whether a prompt could have a place in it."""
        return kind == self.kind and _has_room(self.run.bucket, wanted)


class SharedEngine:
    """Decodes and scores for all clients that were added.

    Args:
        model: A `keras_flan.models.T5` or `DecoderOnly`.
    """

    def __init__(self, model: LanguageModel):
        self._model = model
        # In the order in which they get the next free place.
        self._clients: list[Client] = []
        self._batches: collections.deque[_Batch] = collections.deque()

    def add(self, client: Client) -> None:
        """Serves a client from now on, until it has left."""
        self._clients.append(client)

    def turn(self) -> bool:
        """Does a piece of the work; returns whether there was any."""
        self._clients = [c for c in self._clients if not c.left]
        for batch in self._batches:
            for wanted in batch.run.held:
                if wanted.key[0].left:
                    batch.run.drop(wanted.key)
        self._open()
        decoded, scored = self._decode(), self._score()
        return decoded or scored

    def end(self, error: Exception) -> None:
        """Tells all clients that nothing will follow, and why."""
        self._fail(self._clients, error)

    def _decode(self) -> bool:
        """Runs a round of the batch whose turn it is."""
        if not self._batches:
            return False
        batch = self._batches.popleft()
        try:
            if not batch.run.admit():
                return bool(self._batches)  # Its caches are gone.
            for made in batch.run.advance():
                client = made.wanted.key[0]
                self._tell(client, functools.partial(client.made, made))
        except Exception as error:
            held = {wanted.key[0] for wanted in batch.run.held}
            self._fail(held, error)
        else:
            self._batches.append(batch)
        return True

    def _score(self) -> bool:
        """Scores rows of as many clients as there are."""
        batch: list[tuple[Client, Scoring]] = []
        room, top = _SCORED_TOKENS, None
        while client := next(
            (
                c
                for c in self._clients
                if c.rows and not c.left and top in (None, c.rows[0].top)
            ),
            None,
        ):
            row = client.rows[0]
            room -= len(row.prompt) + len(row.target)
            if batch and room < 0:
                break
            batch.append((client, client.rows.popleft()))
            top = row.top
            self._last(client)
        if not batch:
            return False
        rows = [row for _, row in batch]
        try:
            scores = score_tokens(
                self._model,
                [row.prompt for row in rows],
                [row.target for row in rows],
                rows[0].top,
            )
        except Exception as error:
            self._fail({client for client, _ in batch}, error)
            return True
        for (client, row), found in zip(batch, scores, strict=True):
            self._tell(client, functools.partial(client.scored, row, found))
        return True

    def _open(self) -> None:
        """Makes room for the prompts that no batch would take."""
        for batch in self._batches:
            bucket, held = batch.run.bucket, len(batch.run.held)
            waiting = self._waiting(batch.kind, bucket)
            # More paths at a time are faster, but empty places take time too.
            grows = held == bucket.slots < _most(bucket) and waiting >= held
            if grows or held + waiting <= bucket.slots // _SPARE:
                batch.closing = True
        for client in self._clients:
            if client.left or not client.paths:
                continue
            first, kind = client.paths[0], client.kind
            if any(batch.takes(kind, first) for batch in self._batches):
                continue
            if len(self._batches) >= _RUNS:
                # None goes on for ever while others wait.
                self._batches[0].closing = True
                return
            bucket = self._bucket(client)
            self._batches.append(
                _Batch(self._model, bucket, client, self._next)
            )

    def _bucket(self, client: Client) -> Bucket:
        """Returns a bucket for the next prompts of a client, and their like."""
        first = client.paths[0]
        least = prompt_places(len(first.prompt))
        longest = max(
            places
            for wanted in client.paths
            if (places := prompt_places(len(wanted.prompt))) <= _ROOMY * least
        )
        bucket = Bucket(
            slots=1,
            lanes=lanes_for(len(first.numbers)),
            input_length=longest,
            length=path_places(first.length),
        )
        number = self._waiting(client.kind, bucket) + sum(
            len(batch.run.held)
            for batch in self._batches
            if batch.fits(client.kind, first)
        )
        slots = min(_most(bucket), power_of_four(number))
        return dataclasses.replace(bucket, slots=slots)

    def _waiting(self, kind: Kind, bucket: Bucket) -> int:
        """Returns how many prompts wait that a bucket has room for."""
        return sum(
            _has_room(bucket, wanted)
            for client in self._clients
            if client.kind == kind
            for wanted in client.paths
        )

    def _next(self, batch: _Batch) -> Wanted | None:
        """Returns the next prompt of a batch, if one waits for it."""
        for client in self._clients:
            if client.left or not client.paths:
                continue
            if batch.takes(client.kind, client.paths[0]):
                self._last(client)
                return client.paths.popleft()
        return None

    def _last(self, client: Client) -> None:
        """Puts a client that was served behind all others."""
        self._clients.remove(client)
        self._clients.append(client)

    def _tell(self, client: Client, tell: Callable[[], None]) -> None:
        if client.left:
            return
        try:
            tell()
        except Exception as error:
            self._fail([client], error)

    def _fail(self, clients: Iterable[Client], error: Exception) -> None:
        for client in clients:
            client.failed(error)
            client.left = True


def _most(bucket: Bucket) -> int:
    """Returns the most slots of a bucket with such lanes."""
    return max(1, _BATCH_PATHS // bucket.lanes)


def _has_room(bucket: Bucket, wanted: Wanted) -> bool:
    prompt = prompt_places(len(wanted.prompt))
    path = path_places(wanted.length)
    return (
        lanes_for(len(wanted.numbers)) == bucket.lanes
        and prompt <= bucket.input_length <= _ROOMY * prompt
        and path <= bucket.length <= _ROOMY * path
    )
