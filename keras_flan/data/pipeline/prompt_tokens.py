"""From records to prompts to token ids, a chunk at a time."""

import dataclasses
from collections.abc import Callable

import numpy as np

from keras_flan.data.mixtures.mixture import Mixture
from keras_flan.data.pipeline.exemplars import ExemplarPool
from keras_flan.data.pipeline.streams import (
    parse_records,
    split_keys,
    stable_seed,
)
from keras_flan.data.templates.families import Format
from keras_flan.data.templates.prompts_graph import PromptRenderer, Questions
from keras_flan.runtime.tensorflow import tf
from keras_flan.tensors import Ragged, Tensor

_FORMATS = list(Format)
# From strings `[n]` to token ids `[n, (tokens)]`.
Encode = Callable[[Tensor], Ragged]


class PromptTokens:
    """Turns a chunk of records into prompts and token ids.

    `encoder` makes, inside the graph that is traced, what tokenises texts; of
    a vocabulary, its `encoder_tf`. `input_length` counts the end-of-text id.
    """

    def __init__(
        self,
        mixture: Mixture,
        encoder: Callable[[], Encode],
        input_length: int,
        seed: int,
    ):
        self._encoder = encoder
        self._budget = input_length - 1
        self._shots = mixture.shots
        tasks = [part.task for part in mixture.tasks]
        self._renderer = PromptRenderer(tasks, seed)
        few_shot = [
            part.task if any(f.few_shot for f in part.formats) else None
            for part in mixture.tasks
        ]
        self._pool = None
        if any(few_shot):
            names = self._renderer.field_names
            self._pool = ExemplarPool(few_shot, names, seed)
        self._bounds = [_format_bounds(part.formats) for part in mixture.tasks]
        self._format_seed = stable_seed("format", seed)
        self._exemplar_seed = stable_seed("exemplars", seed)

    def __call__(
        self, number: Tensor, keys: Tensor, records: Tensor
    ) -> tuple[Ragged, Ragged]:
        """Returns the token ids of inputs and targets of a chunk.

        Of `n` keys and serialised examples, two int32 `tf.RaggedTensor`
        `[m, (tokens)]` without end-of-text; `m < n` if prompts were left out.
        """
        inputs, targets, _, _ = self.examples(number, keys, records)
        return inputs, targets

    def examples(
        self, number: Tensor, keys: Tensor, records: Tensor
    ) -> tuple[Ragged, Ragged, Tensor, Tensor]:
        """Returns what a call does, and what became of each record.

        Returns:
            Besides the two of a call: the formats, as places in
            `list(Format)`, int32 of shape `[n]`, and which records were
            used, booleans of shape `[n]`.
        """
        task_ids, indices = split_keys(keys)
        values = parse_records(records, self._renderer.field_names)
        formats = self._draw_formats(number, task_ids)
        questions = Questions(task_ids, indices, formats)
        headers, inputs, targets = self._renderer.query(questions, values)
        encode = self._encoder()
        if self._pool is None:
            used = tf().ones_like(formats, tf().bool)
            return encode(inputs), encode(targets), formats, used
        asked = (questions, headers, inputs)
        prompts = self._with_exemplars(self._pool, number, *asked)
        tokens, used = prompts.fit(encode, self._budget)
        targets = encode(tf().boolean_mask(targets, used))
        return tokens, targets, formats, used

    def _draw_formats(self, number: Tensor, task_ids: Tensor) -> Tensor:
        """Draws a format for each example, int32 of shape `[n]`."""
        tf_ = tf()
        chance = tf_.random.stateless_uniform(
            tf_.shape(task_ids),
            tf_.stack([self._format_seed, number]),
            dtype=tf_.float64,
        )
        bounds = tf_.gather(tf_.constant(self._bounds, tf_.float64), task_ids)
        passed = tf_.cast(chance[:, None] >= bounds, tf_.int32)
        return tf_.reduce_sum(passed, axis=1)

    def _with_exemplars(
        self,
        pool: ExemplarPool,
        number: Tensor,
        questions: Questions,
        headers: Tensor,
        queries: Tensor,
    ) -> "_Prompts":
        """Draws exemplars for the examples whose format has them."""
        tf_ = tf()
        few_shot = tf_.gather(
            [format.few_shot for format in _FORMATS], questions.format_ids
        )
        places = tf_.cast(tf_.where(few_shot)[:, 0], tf_.int32)
        asked = Questions(*(tf_.gather(ids, places) for ids in questions))
        slots, shots = pool.draw(
            asked.task_ids,
            asked.indices,
            shots=self._shots,
            seed=tf_.stack([self._exemplar_seed, number]),
        )
        blocks = self._renderer.exemplars(asked, pool.values(slots))
        return _Prompts(
            *(self._renderer, headers, queries, places),
            *(blocks, shots, self._shots),
        )


@dataclasses.dataclass(frozen=True)
class _Prompts:
    """Prompts of `n` examples, of which `p` show exemplars."""

    renderer: PromptRenderer
    headers: Tensor  # What stands before exemplars, strings of shape `[n]`.
    queries: Tensor  # The prompts without exemplars, strings of shape `[n]`.
    places: Tensor  # Which examples are few-shot, int32 of shape `[p]`.
    blocks: Tensor  # Their exemplars, strings of shape `[p, s]`.
    shots: Tensor  # How many of these there are, int32 of shape `[p]`.
    most: int  # What `shots` is at most.

    def fit(self, encode: Encode, budget: int) -> tuple[Ragged, Tensor]:
        """Tokenises the prompts, within the budget where exemplars give way.

        Only prompts that turn out too long are tokenised again, with one
        exemplar less each time.

        Returns:
            The token ids of the `m` usable prompts, and which of the `n`
            these are, booleans of shape `[n]`.
        """
        tf_ = tf()
        # `which` are the few-shot prompts in question, numbered among
        # themselves; `rows` says where in `tokens` each example's prompt is,
        # with -1 for one without exemplars.
        which, shots = tf_.range(tf_.size(self.places)), self.shots
        texts = self._update(self.queries, which, self._texts(which, shots))
        tokens = encode(texts)
        rows = tf_.range(tf_.size(self.queries))
        own = tf_.gather(rows, self.places)
        rows = self._update(rows, which, tf_.where(shots > 0, own, -1))
        lengths = tf_.gather(tokens.row_lengths(), self.places)
        for _ in range(self.most):
            too_long = lengths > budget
            which = tf_.boolean_mask(which, too_long)
            shots = tf_.boolean_mask(shots, too_long) - 1
            rows = self._update(rows, which, tf_.fill(tf_.shape(which), -1))
            which = tf_.boolean_mask(which, shots > 0)
            shots = tf_.boolean_mask(shots, shots > 0)
            again = encode(self._texts(which, shots))
            first = tf_.cast(tokens.nrows(), tf_.int32)
            rows = self._update(rows, which, first + tf_.range(tf_.size(which)))
            lengths = again.row_lengths()
            tokens = tf_.concat([tokens, again], axis=0)
        usable = rows >= 0
        return tf_.gather(tokens, tf_.boolean_mask(rows, usable)), usable

    def _texts(self, which: Tensor, shots: Tensor) -> Tensor:
        """Returns few-shot prompts with this many exemplars."""
        tf_ = tf()
        at = tf_.gather(self.places, which)
        return self.renderer.assemble(
            tf_.gather(self.headers, at),
            tf_.gather(self.queries, at),
            tf_.gather(self.blocks, which),
            tf_.sequence_mask(shots, self.most),
        )

    def _update(self, values: Tensor, which: Tensor, new: Tensor) -> Tensor:
        """Puts new values in the places of few-shot prompts."""
        at = tf().gather(self.places, which)[:, None]
        return tf().tensor_scatter_nd_update(values, at, new)


def _format_bounds(formats: dict[Format, float]) -> list[float]:
    """Returns the upper ends of the formats' shares of [0, 1)."""
    bounds = np.cumsum([formats.get(format, 0) for format in _FORMATS])
    return (bounds / bounds[-1]).tolist()
