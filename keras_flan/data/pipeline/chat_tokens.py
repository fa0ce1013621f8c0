"""From records to conversations to token ids, a chunk at a time."""

from keras_flan.data.mixtures.mixture import Mixture
from keras_flan.data.pipeline.prompt_tokens import FormatDraws, Tokens
from keras_flan.data.pipeline.settings import Long, PipelineSettings
from keras_flan.data.pipeline.streams import (
    parse_records,
    parse_turns,
    split_keys,
)
from keras_flan.data.pipeline.tally import Fate
from keras_flan.data.templates.chat import ChatTemplate
from keras_flan.data.templates.chat_graph import ChatRenderer
from keras_flan.data.templates.prompts_graph import PromptRenderer, Questions
from keras_flan.data.vocabularies.hub import HubVocabulary
from keras_flan.data.vocabularies.sentencepiece import Vocabulary
from keras_flan.errors import InputError
from keras_flan.runtime.tensorflow import tf
from keras_flan.tensors import Ragged, Tensor


class ChatTokens:
    """Turns a chunk of records into conversations and token ids.

    Records without turns are a user's turn, the prompt of one of the task's
    zero-shot templates, and the assistant's answer. A conversation that is
    too long loses its last turns, so that it ends with an answer.

    Args:
        mixture: The mixture.
        vocabulary: The vocabulary.
        template: How conversations are written.
        length: The most tokens of a conversation.
        settings: `loss_on`, which tokens are learnt, `seed`, which seeds the
            formats, and `long`: of too long conversations, `"drop"` and
            `"fail"` do so, others lose their last turns.

    Raises:
        InputError: If the mixture has few-shot prompts, or the vocabulary
            lacks a marker of the template.
    """

    def __init__(
        self,
        mixture: Mixture,
        vocabulary: Vocabulary | HubVocabulary,
        template: ChatTemplate,
        length: int,
        settings: PipelineSettings,
    ):
        seed = settings.seed
        self._whole = Long.of(settings.long).inputs in ("drop", "fail")
        self._render = ChatRenderer(template, vocabulary, settings.loss_on)
        self._encoder = vocabulary.encoder_tf
        self._length = length
        others = [
            part
            for part in mixture.tasks
            if part.task.record_type != "conversation"
        ]
        for part in others:
            if any(format.few_shot for format in part.formats):
                raise InputError(
                    f"{mixture.name}: the task {part.task.name!r} is asked "
                    "with exemplars, which a chat template has no turns for; "
                    "set `shots: 0` in the mixture"
                )
        self._asks = bool(others)
        tasks = [part.task for part in mixture.tasks]
        self._prompts = PromptRenderer(tasks, seed)
        self._draw_formats = FormatDraws(mixture, seed)

    def __call__(self, number: Tensor, keys: Tensor, records: Tensor) -> Tokens:
        """Returns the token ids of a chunk; see `PromptTokens`.

        The `targets` say of each token of the `inputs` whether it is learnt.
        """
        tf_ = tf()
        task_ids, indices = split_keys(keys)
        formats = self._draw_formats(number, task_ids)
        roles, contents = parse_turns(records)
        if self._asks:
            values = parse_records(records, self._prompts.field_names)
            questions = Questions(task_ids, indices, formats)
            _, inputs, targets = self._prompts.query(questions, values)
            alone = tf_.tile(roles.row_lengths()[:, None] < 1, [1, 2])
            pair = tf_.stack([inputs, targets], axis=1)
            names = tf_.where(tf_.ones_like(alone), ["user", "assistant"], "")
            roles = tf_.concat(
                [roles, tf_.ragged.boolean_mask(names, alone)], 1
            )
            contents = tf_.concat(
                [contents, tf_.ragged.boolean_mask(pair, alone)], 1
            )
        made = self._render(roles, contents, self._encoder())
        lengths = made.ids.row_lengths()
        kept = self._kept(made.ends)
        learns = tf_.reduce_max(made.learnt, axis=1) > 0
        used = made.can & (kept > 0) & learns
        fates = tf_.where(used, 0, int(Fate.unwritable))
        too_long = used & (lengths > self._length)
        long = Fate.long_inputs if self._whole else Fate.cut_inputs
        fates = tf_.where(too_long, int(long), fates)
        if self._whole:
            used &= ~too_long
        ids, learnt = (
            tf_.ragged.boolean_mask(
                tf_.ragged.boolean_mask(part, _first(part, kept)), used
            )
            for part in (made.ids, made.learnt)
        )
        taken = tf_.cast(tf_.stack([lengths, lengths], axis=1), tf_.int32)
        return Tokens(ids, learnt, formats, fates, taken)

    def _kept(self, ends: Ragged) -> Tensor:
        """Returns how many tokens fit, up to an answer's end; int64 `[n]`."""
        tf_ = tf()
        sizes = ends.row_lengths()
        place = tf_.ragged.range(sizes).values + 1
        is_end = (ends.values > 0) & (place <= self._length)
        last = tf_.math.unsorted_segment_max(
            tf_.where(is_end, place, 0), ends.value_rowids(), ends.nrows()
        )
        return tf_.where(sizes <= self._length, sizes, last)


def _first(rows: Ragged, number: Tensor) -> Ragged:
    """Returns booleans that mark so many first values of each row."""
    tf_ = tf()
    place = tf_.ragged.range(rows.row_lengths())
    limit = tf_.repeat(number, rows.row_lengths())
    return place.with_values(place.values < limit)
