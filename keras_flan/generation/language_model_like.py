"""What answers in a model's stead: a callable, a log, a class of one's own."""

import functools
import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from keras_flan.errors import InputError
from keras_flan.generation.outputs import Likelihood, Path
from keras_flan.generation.sampling_settings import Sampling


class LanguageModelLike(Protocol):
    """What can be asked like a model, by `ask`, `evaluate` and the commands.

    A plain function in the place of `generate` does too, where no
    likelihoods are needed.

    Example:
        >>> def count(prompts, *, samples, **settings):
        ...     return [[f"The answer is {len(p)}."] * samples for p in prompts]
        >>> ask(count, ["Hello"], samples=3)[0].vote.counts
        {'5': 3}
    """

    def generate(
        self, prompts: Sequence[str], **settings: Any
    ) -> Sequence[Sequence[Path | str]]:
        """Returns, per prompt, a list of `samples` texts or `Path`s.

        Args:
            prompts: The prompts.
            **settings: The fields of `Sampling`; `top_p` and `stop` only
                where they limit. `evaluate` passes on its `batch_paths`.
        """

    def log_likelihoods(
        self, prompts: Sequence[str], continuations: Sequence[Sequence[str]]
    ) -> Sequence[Sequence[Likelihood]]:
        """Returns, per prompt, the `Likelihood` of each continuation."""


class DecodedModel:
    """A model with a vocabulary: the functions of this package, bound to it.

    Args:
        model: A `keras_flan.models.T5` or `keras_flan.models.DecoderOnly`.
    """

    generate: Callable[..., list[list[Path]]]
    stream: Callable[..., Iterator[tuple[int, int, Path]]]
    log_likelihoods: Callable[..., list[list[Likelihood]]]

    def __init__(self, model: Any):
        from keras_flan.generation.engine import generate, stream
        from keras_flan.generation.likelihood import log_likelihoods

        self.generate = functools.partial(generate, model)
        self.stream = functools.partial(stream, model)
        self.log_likelihoods = functools.partial(log_likelihoods, model)


class StandIn:
    """A callable, or what has `generate`; the lists it returns are checked.

    Args:
        model: The callable, or the object.
    """

    def __init__(self, model: Any):
        self._model = model
        self._call = getattr(model, "generate", model)
        self._name = getattr(self._call, "__qualname__", type(model).__name__)

    def generate(
        self, prompts: Sequence[str], **settings: Any
    ) -> list[list[Path]]:
        """Returns what is answered, texts as `Path`s.

        Raises:
            InputError: If the settings are not taken, or something else is
                returned than a list of `samples` texts or paths per prompt.
        """
        self._check_call(prompts, settings)
        found = self._call(prompts, **settings)
        self._check_paths(found, len(prompts), settings.get("samples", 1))
        return [
            [Path(path) if isinstance(path, str) else path for path in paths]
            for paths in found
        ]

    def stream(
        self, prompts: Sequence[str], *, sampling: Sampling, **_: Any
    ) -> Iterator[tuple[int, int, Path]]:
        """Yields what `generate` returns, as if path by path."""
        found = self.generate(prompts, **sampling.to_dict())
        for row, paths in enumerate(found):
            for number, path in enumerate(paths):
                yield row, number, path

    def log_likelihoods(
        self, prompts: Sequence[str], continuations: Sequence[Sequence[str]]
    ) -> Sequence[Sequence[Likelihood]]:
        """Returns those of its own.

        Raises:
            InputError: If it has no such method, or one is missing.
        """
        if not hasattr(self._model, "log_likelihoods"):
            raise InputError(
                "likelihoods need a model, or a callable with a method "
                f"log_likelihoods, found {type(self._model).__name__}; give "
                "the mode 'direct' or 'cot'"
            )
        found = self._model.log_likelihoods(prompts, continuations)
        expected, numbers = list(map(len, continuations)), list(map(len, found))
        if numbers != expected:
            raise InputError(
                f"{self._name}: expected likelihoods for each prompt: "
                f"{expected!s:.60}; found {numbers!s:.60}"
            )
        return found

    def _check_call(self, prompts: Sequence[str], settings: dict) -> None:
        try:
            signature = inspect.signature(self._call)
        except ValueError:
            return  # Written in C: it says so itself.
        try:
            signature.bind(prompts, **settings)
        except TypeError as error:
            raise InputError(
                f"{self._name}{signature}: {error}; it is called with prompts "
                f"and {', '.join(settings)}: give it **settings"
            ) from None

    def _check_paths(self, found: Any, prompts: int, samples: int) -> None:
        expected = (
            f"{self._name}: expected {_count(prompts, 'list')}, one per "
            f"prompt, of {_count(samples, 'text')}"
        )
        if isinstance(found, Iterator):
            wrong = (
                f"a {type(found).__name__}: return lists of texts or paths, do "
                "not yield (row, number, path)"
            )
        elif not isinstance(found, list | tuple):
            wrong = f"{found!r:.60}"
        elif len(found) != prompts:
            wrong = _count(len(found), "list")
        else:
            bad = [paths for paths in found if not _are_paths(paths, samples)]
            if not bad:
                return
            wrong = f"{bad[0]!r:.60} for a prompt"
        raise InputError(f"{expected}; found {wrong}")


def _are_paths(found: Any, number: int) -> bool:
    return (
        isinstance(found, list | tuple)
        and len(found) == number
        and all(
            isinstance(path, str) or hasattr(path, "text") for path in found
        )
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


class Recorded:
    """Answers with what a log holds for a prompt.

    Args:
        rows: Of each is read: `prompt`; `outputs`, or one `output`; and for
            likelihoods `ranking`, as `evaluate` logs it.

    Raises:
        InputError: If a row has no prompt; and when it is asked, if the log
            lacks the prompt, or has less than is asked for.

    Example:
        >>> log = Recorded(read_jsonl("runs/gsm8k/predictions.jsonl"))
        >>> evaluate(log, "gsm8k", "data/gsm8k", output="runs/again")
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]]):
        self._rows: dict[str, Mapping[str, Any]] = {}
        for number, row in enumerate(rows, 1):
            if not isinstance(row.get("prompt"), str):
                raise InputError(f"row {number} of the log has no prompt")
            self._rows.setdefault(row["prompt"], row)

    @property
    def digest(self) -> bytes:
        """Differs where the answers do."""
        text = json.dumps(list(self._rows.values()), default=str)
        return hashlib.sha256(text.encode()).digest()

    def generate(
        self, prompts: Sequence[str], *, samples: int = 1, **settings: Any
    ) -> list[list[Any]]:
        """Returns the first `samples` outputs of each prompt."""
        rows = map(self._row, prompts)
        return [
            list(row.get("outputs") or [row.get("output")])[:samples]
            for row in rows
        ]

    def log_likelihoods(
        self, prompts: Sequence[str], continuations: Sequence[Sequence[str]]
    ) -> list[list[Likelihood]]:
        """Returns the likelihoods that were logged, in their order."""
        found = [self._row(prompt).get("ranking", {}) for prompt in prompts]
        keys = ("log_probabilities", "token_counts")
        return [
            [Likelihood(*score) for score in zip(*pair, strict=True)]
            for pair in ([row.get(key, ()) for key in keys] for row in found)
        ]

    def _row(self, prompt: str) -> Mapping[str, Any]:
        if prompt not in self._rows:
            raise InputError(f"prompt {prompt!r:.60}: the log does not have it")
        return self._rows[prompt]


def as_language_model(model: Any) -> DecodedModel | StandIn:
    """Returns what answers, with checks, whichever form it has.

    Args:
        model: A model with a vocabulary, a `LanguageModelLike`, or a
            callable to be its `generate`.

    Raises:
        InputError: If it is none of them.
    """
    if isinstance(model, DecodedModel | StandIn):
        return model
    if getattr(model, "vocabulary", None) is not None:
        return DecodedModel(model)
    if hasattr(model, "vocabulary"):
        raise InputError("Expected a model with a vocabulary. Received: None")
    if not (callable(model) or hasattr(model, "generate")):
        raise InputError(
            "expected a model with a vocabulary or a callable, found "
            f"{type(model).__name__}; load one with keras_flan.models.load"
        )
    return StandIn(model)
