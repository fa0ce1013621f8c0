"""From records to prompts to token ids, a chunk at a time."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from keras_flan.data.mixtures.mixture import Mixture
from keras_flan.data.pipeline.exemplars import ExemplarPool
from keras_flan.data.pipeline.order import stable_seed
from keras_flan.data.pipeline.settings import How, Long, PipelineSettings
from keras_flan.data.pipeline.streams import parse_records, split_keys
from keras_flan.data.pipeline.tally import LEFT_OUT, Fate
from keras_flan.data.templates.families import Format
from keras_flan.data.templates.prompts_graph import PromptRenderer, Questions
from keras_flan.runtime.tensorflow import tf
from keras_flan.tensors import Ragged, Tensor

_FORMATS = list(Format)


class Tokens(NamedTuple):
    """The token ids of a chunk of `n` records, of which `m` are used."""

    inputs: Ragged  # int32 `[m, (tokens)]`, without end-of-text
    targets: Ragged  # The same.
    formats: Tensor  # Places in `list(Format)`, int32 `[n]`
    fates: Tensor  # What became of each record, see `Fate`, int32 `[n]`
    lengths: Tensor  # Of inputs and targets, see `Chunk`, int32 `[n, 2]`

    def chunk(self, keys: Tensor) -> list[Tensor]:
        """Returns what `Chunk` holds, given the keys of the records."""
        return [*split_keys(keys), self.formats, self.fates, self.lengths]


class FormatDraws:
    """Draws a format for each example, at the rates of a mixture.

    Args:
        mixture: The mixture.
        seed: The seed of the draws.
    """

    def __init__(self, mixture: Mixture, seed: int):
        self._bounds = [_format_bounds(part.formats) for part in mixture.tasks]
        self._seed = stable_seed("format", seed)

    def __call__(self, number: Tensor, task_ids: Tensor) -> Tensor:
        """Returns places in `list(Format)`, int32 `[n]`."""
        tf_ = tf()
        chance = tf_.random.stateless_uniform(
            tf_.shape(task_ids),
            tf_.stack([self._seed, number]),
            dtype=tf_.float64,
        )
        bounds = tf_.gather(tf_.constant(self._bounds, tf_.float64), task_ids)
        passed = tf_.cast(chance[:, None] >= bounds, tf_.int32)
        return tf_.reduce_sum(passed, axis=1)


# From strings `[n]` to token ids `[n, (tokens)]`.
Encode = Callable[[Tensor], Ragged]


class PromptTokens:
    """Turns a chunk of records into prompts and token ids.

    Args:
        mixture: The mixture.
        encoder: Makes, inside the graph that is traced, what tokenises
            texts; of a vocabulary, its `encoder_tf`.
        input_length: The longest input, with the end-of-text id.
        target_length: The longest target, with the end-of-text id.
        settings: `seed`, which seeds formats and exemplars, `validation` and
            `long`.
    """

    def __init__(
        self,
        mixture: Mixture,
        encoder: Callable[[], Encode],
        input_length: int,
        target_length: int,
        settings: PipelineSettings,
    ):
        seed = settings.seed
        self._encoder = encoder
        self._long = Long.of(settings.long)
        self._budget, self._target_budget = input_length - 1, target_length - 1
        self._shots = mixture.shots
        tasks = [part.task for part in mixture.tasks]
        self._renderer = PromptRenderer(tasks, seed)
        few_shot = [
            part.task if any(f.few_shot for f in part.formats) else None
            for part in mixture.tasks
        ]
        self._pool = None
        if any(few_shot):
            self._pool = ExemplarPool(
                few_shot, self._renderer, seed, settings.validation
            )
        self._draw_formats = FormatDraws(mixture, seed)
        self._exemplar_seed = stable_seed("exemplars", seed)

    def __call__(self, number: Tensor, keys: Tensor, records: Tensor) -> Tokens:
        """Returns the token ids of a chunk, and what became of each record.

        Args:
            number: The number of the chunk, int64.
            keys: As `split_keys` takes them, int64 `[n]`.
            records: Serialised examples, `[n]`.
        """
        tf_ = tf()
        task_ids, indices = split_keys(keys)
        values = parse_records(records, self._renderer.field_names)
        formats = self._draw_formats(number, task_ids)
        questions = Questions(task_ids, indices, formats)
        headers, inputs, targets = self._renderer.query(questions, values)
        encode = self._encoder()
        if self._pool is None:
            tokens, used = encode(inputs), tf_.ones_like(formats, tf_.bool)
            needs = tokens.row_lengths()
        else:
            identities = self._renderer.identities(task_ids, values)
            tokens, used, needs = self._with_exemplars(
                *(self._pool, number, questions, identities),
                *(headers, inputs, encode),
            )
            targets = tf_.boolean_mask(targets, used)
        rows = tf_.where(used)
        learnt = encode(targets)
        sizes = tf_.tensor_scatter_nd_update(
            tf_.fill(tf_.shape(needs), tf_.constant(-1, tf_.int64)),
            *(rows, learnt.row_lengths()),
        )
        texts = (questions, values, rows[:, 0], encode)
        tokens, long_inputs = self._fitting(
            tokens, self._budget, self._long.inputs, texts, target=False
        )
        learnt, long_targets = self._fitting(
            learnt, self._target_budget, self._long.targets, texts, target=True
        )
        tokens, learnt = _kept(long_inputs | long_targets, tokens, learnt)
        fates = tf_.tensor_scatter_nd_update(
            tf_.where(used, 0, int(Fate.no_exemplar)),
            *(rows, long_inputs | long_targets),
        )
        lengths = tf_.cast(tf_.stack([needs, sizes], axis=1), tf_.int32)
        return Tokens(tokens, learnt, formats, fates, lengths)

    def _with_exemplars(
        self,
        pool: ExemplarPool,
        number: Tensor,
        questions: Questions,
        identities: Tensor,
        headers: Tensor,
        queries: Tensor,
        encode: Encode,
    ) -> tuple[Ragged, Tensor, Tensor]:
        """Tokenises the prompts, with exemplars where the format has them.

        Returns:
            The token ids of the `m` usable prompts; which of the `n` these
            are, booleans of shape `[n]`; and how many tokens each prompt has,
            int64 `[n]`, those that are not usable with one exemplar.
        """
        tf_ = tf()
        few_shot = tf_.gather(
            [format.few_shot for format in _FORMATS], questions.format_ids
        )
        places = tf_.cast(tf_.where(few_shot)[:, 0], tf_.int32)
        asked = Questions(*(tf_.gather(ids, places) for ids in questions))
        slots, shots = pool.draw(
            asked.task_ids,
            tf_.gather(identities, places),
            shots=self._shots,
            seed=tf_.stack([self._exemplar_seed, number]),
        )
        blocks = self._renderer.exemplars(asked, pool.values(slots))

        def prompts(which: Tensor, shots: Tensor) -> Tensor:
            return self._renderer.assemble(
                tf_.gather(headers, tf_.gather(places, which)),
                tf_.gather(queries, tf_.gather(places, which)),
                tf_.gather(blocks, which),
                tf_.sequence_mask(shots, self._shots),
            )

        return self._fit(prompts, queries, places, shots, encode)

    def _fit(self, prompts, queries, places, shots, encode: Encode):
        """Tokenises prompts, those that are too long again and again.

        Args:
            prompts: Returns few-shot prompts, given which of them and with
                how many exemplars.
            queries: All prompts without exemplars, strings of shape `[n]`.
            places: Which of these are few-shot, int32.
            shots: With how many exemplars the few-shot ones begin; each
                time they have one less.
            encode: Tokenises texts.
        """
        tf_ = tf()

        def update(values: Tensor, which: Tensor, new: Tensor) -> Tensor:
            at = tf_.gather(places, which)[:, None]
            return tf_.tensor_scatter_nd_update(values, at, new)

        # `which` are the few-shot prompts in question, numbered among
        # themselves; `rows` says where in `tokens` each example's prompt is,
        # with -1 for one without exemplars.
        which = tf_.range(tf_.size(places))
        tokens = encode(update(queries, which, prompts(which, shots)))
        rows = tf_.range(tf_.size(queries))
        rows = update(
            rows, which, tf_.where(shots > 0, tf_.gather(rows, places), -1)
        )
        needs = tokens.row_lengths()
        lengths = tf_.gather(needs, places)
        for _ in range(self._shots):
            too_long = lengths > self._budget
            which = tf_.boolean_mask(which, too_long)
            shots = tf_.boolean_mask(shots, too_long) - 1
            rows = update(rows, which, tf_.fill(tf_.shape(which), -1))
            which = tf_.boolean_mask(which, shots > 0)
            shots = tf_.boolean_mask(shots, shots > 0)
            again = encode(prompts(which, shots))
            first = tf_.cast(tokens.nrows(), tf_.int32)
            rows = update(rows, which, first + tf_.range(tf_.size(which)))
            lengths = again.row_lengths()
            needs = update(needs, which, lengths)
            tokens = tf_.concat([tokens, again], axis=0)
        usable = rows >= 0
        tokens = tf_.gather(tokens, tf_.boolean_mask(rows, usable))
        return tokens, usable, needs

    def _fitting(
        self, tokens: Ragged, budget: int, how: How, texts: tuple, target: bool
    ) -> tuple[Ragged, Tensor]:
        """Does what the settings say with texts that are too long.

        Args:
            tokens: Their token ids, `[m, (tokens)]`.
            budget: The most tokens of a text.
            how: What is done.
            texts: See `_shortened`.
            target: Whether the texts are targets.

        Returns:
            The token ids, and the `Fate` of each text, int32 `[m]`. Those
            that stay too long are trimmed when they are laid out.
        """
        tf_ = tf()
        cut = int(Fate.cut_targets if target else Fate.cut_inputs)
        left_out = int(Fate.long_targets if target else Fate.long_inputs)
        too_long = tokens.row_lengths() > budget
        if how in ("drop", "fail"):
            return tokens, tf_.where(too_long, left_out, 0)
        fates = tf_.where(too_long, cut, 0)
        if how == "trim":
            return tokens, fates
        tokens = self._shortened(tokens, budget, texts, target)
        still = tokens.row_lengths() > budget
        return tokens, tf_.where(still, left_out, fates)

    def _shortened(
        self, tokens: Ragged, budget: int, texts: tuple, target: bool
    ) -> Ragged:
        """Shortens, in texts that are too long, the field that may be.

        What stands around the field is kept whole. `texts` has the questions,
        the values of their fields, which of them the `m` texts are, int64
        `[m]`, and what tokenises.
        """
        tf_ = tf()
        questions, values, used, encode = texts
        too_long = tokens.row_lengths() > budget

        def shorten() -> Ragged:
            rows = tf_.where(too_long)[:, 0]
            places = tf_.gather(used, rows)
            long = {k: tf_.gather(v, places) for k, v in values.items()}
            *parts, can = self._renderer.around(
                Questions(*(tf_.gather(ids, places) for ids in questions)),
                *(long, target),
            )
            rows = tf_.boolean_mask(rows, can)
            before, field, after = (tf_.boolean_mask(t, can) for t in parts)
            empty = tf_.zeros_like(can, tf_.string)
            answers = tf_.boolean_mask(long.get("answer", empty), can)
            short = _fitted(
                *(encode(before), encode(field), encode(after)),
                *(_where(field, answers), budget),
            )
            first = tf_.cast(tokens.nrows(), tf_.int64)
            order = tf_.tensor_scatter_nd_update(
                tf_.range(first),
                rows[:, None],
                first + tf_.range(short.nrows()),
            )
            return tf_.gather(tf_.concat([tokens, short], axis=0), order)

        # Seldom anything is too long; then nothing is copied.
        return tf_.cond(tf_.reduce_any(too_long), shorten, lambda: tokens)


def _kept(fates: Tensor, *sides: Ragged) -> list[Ragged]:
    """Returns the texts that are not left out, of fates `[m]`."""
    tf_ = tf()
    keep = tf_.equal(tf_.bitwise.bitwise_and(fates, int(LEFT_OUT)), 0)
    places = tf_.where(keep)[:, 0]
    # `tf.ragged.boolean_mask` takes far longer.
    return tf_.cond(
        tf_.reduce_all(keep),
        lambda: list(sides),
        lambda: [tf_.gather(side, places) for side in sides],
    )


def _where(texts: Tensor, answers: Tensor) -> Tensor:
    """Returns how far into each text its answer begins, in shares of it.

    Float32 `[n]`; -1 where the answer is not in the text, or is empty.
    """

    def find(texts: np.ndarray, answers: np.ndarray) -> np.ndarray:
        # Loops in C.
        found = np.fromiter(map(bytes.find, texts, answers), np.float32)
        sizes = np.fromiter(map(len, texts), np.float32)
        known = np.fromiter(map(len, answers), np.int64) > 0
        return np.where(known & (found >= 0), found / np.maximum(sizes, 1), -1)

    tf_ = tf()
    found = tf_.numpy_function(
        find, [texts, answers], tf_.float32, stateful=False
    )
    return tf_.ensure_shape(found, [None])


def _fitted(
    before: Ragged, field: Ragged, after: Ragged, places: Tensor, budget: int
) -> Ragged:
    """Joins token ids, of the field only as many as there is place for.

    Of a field that holds the answer (`places`, see `_where`) the tokens
    around it are kept, of others the first and the last.
    """
    tf_ = tf()

    def sizes(tokens: Ragged) -> Tensor:
        return tf_.cast(tokens.row_lengths(), tf_.int32)

    around, whole = sizes(before) + sizes(after), sizes(field)
    kept = tf_.clip_by_value(budget - around, 0, whole)
    at = tf_.cast(places * tf_.cast(whole, tf_.float32), tf_.int32)
    # More after the answer's beginning than before it.
    begin = tf_.clip_by_value(at - kept // 3, 0, whole - kept)
    inside = places >= 0
    head = tf_.where(inside, 0, kept - kept // 2)
    tail = tf_.where(inside, kept, kept // 2)
    starts = tf_.where(inside, begin, whole - tail)
    offsets = tf_.cast(field.row_starts(), tf_.int32)
    first = tf_.ragged.range(offsets, offsets + head)
    last = tf_.ragged.range(offsets + starts, offsets + starts + tail)
    taken = tf_.concat([first, last], axis=1)
    parts = taken.with_flat_values(tf_.gather(field.values, taken.values))
    return tf_.concat([before, parts, after], axis=1)


def _format_bounds(formats: dict[Format, float]) -> list[float]:
    """Returns the upper ends of the formats' shares of [0, 1)."""
    bounds = np.cumsum([formats.get(format, 0) for format in _FORMATS])
    return (bounds / bounds[-1]).tolist()
