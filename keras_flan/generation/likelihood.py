"""How likely given continuations are: ranking the answers of a question."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from keras import ops

from keras_flan.errors import InputError
from keras_flan.generation.beginnings import beginnings, packed
from keras_flan.generation.compiling import compiled, power_of_four
from keras_flan.generation.outputs import Likelihood, TokenScores
from keras_flan.generation.texts import as_texts
from keras_flan.models.decoding import Behind, Rows
from keras_flan.models.language_model import LanguageModel
from keras_flan.models.programs import programs_of
from keras_flan.progress import Progress

# Lengths are padded to a power of two from here on, so that few programs are
# compiled.
_SHORTEST = 32
# Tokens of a row of texts behind a beginning, and of a batch of such rows:
# what a layer makes of more of them does not stay in a CPU's caches.
_PACKED, _PACKED_BATCH = 256, 2048
# What a beginning is padded to a multiple of: each token looks at all places.
_STEP = 128
# Prompt tokens of a batch; longer buckets have fewer rows.
_BATCH_TOKENS = 4096


def log_likelihoods(
    model: LanguageModel,
    prompts: Sequence[str],
    continuations: Sequence[Sequence[str]],
    *,
    max_input_tokens: int = 2048,
    progress: bool = False,
) -> list[list[Likelihood]]:
    r"""Scores the continuations of each prompt.

    What texts begin with alike is read once: by a causal `DecoderOnly` the
    exemplars of all questions of a subject, and the question for all its
    continuations; by others a prompt, for all continuations that differ in
    their last token only, such as letters. The end token counts where the
    model was trained to end its targets with it: for a T5, and for a
    `DecoderOnly` that separates inputs from targets.

    Args:
        model: A `keras_flan.models.T5` or `keras_flan.models.DecoderOnly`
            with a vocabulary.
        prompts: The texts.
        continuations: For each prompt the texts that may follow it. A T5
            reads them as targets, without blanks around them.
        max_input_tokens: Longer prompts lose their beginning.
        progress: Whether to show a progress bar on stderr.

    Returns:
        For each prompt the `Likelihood` of each continuation, in order.

    Raises:
        InputError: If the model has no vocabulary, a continuation has no
            tokens, or there are not as many lists of them as prompts.

    Example:
        >>> [[yes, no]] = log_likelihoods(
        ...     model, ["Is fire hot?\nAnswer:"], [[" yes", " no"]]
        ... )
        >>> yes.log_probability > no.log_probability
        True
    """
    if getattr(model, "vocabulary", None) is None:
        raise InputError("Expected a model with a vocabulary. Received: None")
    prompts = as_texts(prompts, "prompts")
    if isinstance(continuations, str) or len(continuations) != len(prompts):
        raise InputError(
            f"continuations: expected a list of texts for each of "
            f"{len(prompts):,} prompts, found {continuations!r:.60}"
        )
    continuations = [
        as_texts(texts, f"continuations[{number}]")
        for number, texts in enumerate(continuations)
    ]
    rows = _rows(model, prompts, continuations, max_input_tokens)
    score = _by_group if model.decoding.causal else _by_row
    found: dict[tuple[int, int], Likelihood] = {}
    with Progress(
        "ranking", unit="rows", total=len(rows), enabled=progress
    ) as shown:
        for row, scores in score(model, rows):
            for place, target, total in zip(
                row.places, row.targets, scores, strict=False
            ):
                found[place] = Likelihood(float(total), len(target))
            shown.advance()
    return [
        [found[prompt, number] for number in range(len(texts))]
        for prompt, texts in enumerate(continuations)
    ]


def score_tokens(
    model: LanguageModel,
    prompts: Sequence[list[int]],
    targets: Sequence[list[int]],
    top: int = 1,
) -> list[TokenScores]:
    """Scores each token of targets, and names the most probable ones.

    Args:
        model: As for `log_likelihoods`.
        prompts: Token ids, framed as the model knows prompts
            (`model.decoding.frame`).
        targets: For each prompt the token ids that follow; at least one.
        top: How many of the most probable tokens to name in each place.

    Returns:
        The `TokenScores` of each target.

    Example:
        >>> prompt = model.decoding.frame(model.vocabulary.encode("2 + 2 ="), 9)
        >>> [scores] = score_tokens(model, [prompt], [[5, 7]], top=5)
        >>> sum(scores.log_probabilities)
        -3.2
    """
    top = min(top, model.vocabulary.size)
    rows = []
    for number, (prompt, target) in enumerate(
        zip(prompts, targets, strict=True)
    ):
        read, first = model.decoding.joined(prompt, target)
        rows.append(_Row(read, first, [target], [(number, 0)]))
    found: dict[int, TokenScores] = {}
    for batch in _batches(rows):
        # As many rows as there are, about: a request is often alone.
        size = min(_batch_size(batch[0].bucket), power_of_four(len(batch)))
        arrays = _arrays(batch, size)
        scores, best, ids = _token_program(model, top)(arrays)
        for i, row in enumerate(batch):
            length = len(row.targets[0])
            named = zip(
                ids[i, :length].tolist(), best[i, :length].tolist(), strict=True
            )
            found[row.places[0][0]] = TokenScores(
                scores[i, :length].tolist(),
                [list(zip(*pair, strict=True)) for pair in named],
            )
    return [found[number] for number in range(len(rows))]


@dataclasses.dataclass
class _Row:
    """A row of a batch: what is read, and the tokens that may follow.

    Args:
        read: Tokens of the prompt, and of the decoder-only models also
            those of the continuations but the last.
        first: Where in `read` the first target is predicted.
        targets: Tokens of the continuations.
        places: The prompt and the number of each continuation.
    """

    read: list[int]
    first: int
    targets: list[list[int]]
    places: list[tuple[int, int]]

    @property
    def bucket(self) -> tuple[int, int, int]:
        """Padded sizes: length, continuations, tokens of each."""
        longest = max(map(len, self.targets))
        return (
            _power(max(len(self.read), _SHORTEST)),
            _power(len(self.targets)),
            _power(longest),
        )


def _power(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _places(number: int) -> int:
    """Returns the places for a beginning of so many tokens."""
    if number > _STEP:
        return -(-number // _STEP) * _STEP
    return _power(max(number, _SHORTEST))


def _rows(
    model: LanguageModel,
    prompts: Sequence[str],
    continuations: Sequence[Sequence[str]],
    limit: int,
) -> list[_Row]:
    vocabulary, decoding = model.vocabulary, model.decoding
    read = vocabulary.encode_batch(list(prompts))
    texts = [
        (p, n, text)
        for p, of_prompt in enumerate(continuations)
        for n, text in enumerate(of_prompt)
    ]
    as_target = decoding.ends_targets
    alone = vocabulary.encode_batch([t.strip() for _, _, t in texts])
    whole = (
        []
        if as_target
        else vocabulary.encode_batch(
            [prompts[p] + text for p, _, text in texts]
        )
    )
    rows: dict[tuple, _Row] = {}
    for i, (p, n, text) in enumerate(texts):
        if as_target:
            target = [*alone[i], vocabulary.eos_id]
        elif whole[i][: len(read[p])] == read[p]:
            target = whole[i][len(read[p]) :]
        else:  # the border is inside a token: take it apart
            target = vocabulary.encode(text)
        if not target:
            raise InputError(
                f"continuation {text!r} of prompt {p}: it has no tokens"
            )
        tokens, first = decoding.continued(read[p], target, limit)
        key = (p, first, *tokens)
        row = rows.setdefault(key, _Row(tokens, first, [], []))
        row.targets.append(target)
        row.places.append((p, n))
    return list(rows.values())


def _batches(rows: Sequence[_Row]) -> Iterator[list[_Row]]:
    """Yields rows of one bucket, the largest first."""
    buckets: dict[tuple, list[_Row]] = {}
    for row in rows:
        buckets.setdefault(row.bucket, []).append(row)
    for bucket, members in sorted(buckets.items(), reverse=True):
        size = _batch_size(bucket)
        for start in range(0, len(members), size):
            yield members[start : start + size]


def _batch_size(bucket: tuple[int, int, int]) -> int:
    return max(1, min(32, _BATCH_TOKENS // bucket[0]))


def _arrays(batch: Sequence[_Row], size: int) -> Rows:
    """Returns token ids, lengths, first places, targets and their mask."""
    length, number, longest = batch[0].bucket
    inputs = np.zeros((size, length), "int32")
    lengths = np.zeros(size, "int32")
    first = np.zeros(size, "int32")
    targets = np.zeros((size, number, longest), "int32")
    mask = np.zeros((size, number, longest), "float32")
    for i, row in enumerate(batch):
        inputs[i, : len(row.read)] = row.read
        lengths[i], first[i] = len(row.read), row.first
        for j, target in enumerate(row.targets):
            targets[i, j, : len(target)] = target
            mask[i, j, : len(target)] = 1
    return Rows(inputs, lengths, first, targets, mask)


def _by_row(
    model: LanguageModel, rows: Sequence[_Row]
) -> Iterator[tuple[_Row, Sequence[float]]]:
    """Yields rows, each read by itself, and the scores of their targets."""
    program = _program(model, "score")
    for batch in _batches(rows):
        # Rows and targets that only fill the batch come last.
        arrays = _arrays(batch, _batch_size(batch[0].bucket))
        found = ops.convert_to_numpy(program(arrays))
        yield from zip(batch, found, strict=False)


def _by_group(
    model: LanguageModel, rows: Sequence[_Row]
) -> Iterator[tuple[_Row, Sequence[float]]]:
    """Yields rows, and their scores; what they begin with is read once."""
    read = _program(model, "read")
    score = _program(model, "score_behind")
    groups = beginnings([row.read for row in rows], [row.first for row in rows])
    for group in groups:
        members = [rows[number] for number in group.numbers]
        begun = np.zeros((1, _places(group.same)), "int32")
        begun[0, : group.same] = members[0].read[: group.same]
        held = read(begun, np.array([group.same], "int32"))
        lengths = [len(row.read) - group.same for row in members]
        length = _power(max(min(sum(lengths), _PACKED), *lengths, _SHORTEST))
        lines = packed(lengths, length)
        size = max(1, _PACKED_BATCH // length)
        for start in range(0, len(lines), size):
            batch = [
                [members[number] for number in line]
                for line in lines[start : start + size]
            ]
            size = min(size, _power(len(batch)))
            texts = _behind(batch, group.same, length, size)
            found = ops.convert_to_numpy(
                score(held, np.int32(group.same), texts)
            )
            for line, scores in zip(batch, found, strict=False):
                place = 0
                for row in line:
                    # Targets of a row differ in their last token only.
                    begin, place = place, place + len(row.targets[0])
                    totals = scores[begin:place].sum(axis=0)
                    yield row, totals[: len(row.targets)].tolist()


def _behind(
    batch: Sequence[Sequence[_Row]], same: int, length: int, size: int
) -> Behind:
    """Returns packed rows without what they begin with, `same` tokens."""
    places = [sum(len(row.targets[0]) for row in line) for line in batch]
    most = max(len(row.targets) for line in batch for row in line)
    shape = size, power_of_four(max(places)), power_of_four(most)
    ids, segments, positions = np.zeros((3, size, length), "int32")
    at, targets = np.zeros(shape[:2], "int32"), np.zeros(shape, "int32")
    for i, line in enumerate(batch):
        begin = place = 0
        for segment, row in enumerate(line, 1):
            end = begin + len(row.read) - same
            ids[i, begin:end] = row.read[same:]
            segments[i, begin:end] = segment
            positions[i, begin:end] = np.arange(end - begin)
            own = slice(place, place + len(row.targets[0]))
            at[i, own] = np.arange(begin, end)[row.first - same :]
            targets[i, own, : len(row.targets)] = np.transpose(row.targets)
            place = own.stop
            begin = end
    return Behind(ids, segments, positions, at, targets)


def _program(model: LanguageModel, name: str) -> Callable:
    """Returns a compiled method of a model's decoding; it is kept with it."""
    kept = programs_of(model, "scoring")
    if name not in kept:
        kept[name], _ = compiled(model, getattr(model.decoding, name))
    return kept[name]


def _token_program(
    model: LanguageModel, top: int
) -> Callable[[Rows], list[np.ndarray]]:
    """Returns the compiled `score_tokens` of a model, kept with it."""
    kept = programs_of(model, "scoring tokens")
    if top not in kept:
        score = functools.partial(model.decoding.score_tokens, top=top)
        kept[top], _ = compiled(model, score)
    return lambda rows: list(map(ops.convert_to_numpy, kept[top](rows)))
