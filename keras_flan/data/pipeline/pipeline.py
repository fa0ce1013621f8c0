"""The input pipeline: a mixture becomes packed batches for `model.fit`.

    records -> prompts -> token ids -> packed rows -> batches

Examples are drawn (`streams`) and handled in large chunks, each on its own:
prompts, tokens and rows of a chunk depend only on its records, its number and
the seed, so any number of threads gives the same bytes.
"""

import dataclasses
from typing import Any

from keras_flan.data.mixtures.mixture import Mixture
from keras_flan.data.pipeline.position import Position
from keras_flan.data.pipeline.settings import PipelineSettings
from keras_flan.data.pipeline.stage import Stage, stage_settings
from keras_flan.data.vocabularies.hub import HubVocabulary
from keras_flan.data.vocabularies.sentencepiece import Vocabulary
from keras_flan.errors import InputError
from keras_flan.runtime.tensorflow import tf
from keras_flan.tensors import Dataset

_BEGIN = Position()


def build_dataset(
    mixture: Mixture,
    vocabulary: Vocabulary | HubVocabulary,
    settings: PipelineSettings | None = None,
    **named: Any,
) -> Dataset:
    """Returns batches of a mixture, ready for `model.fit`.

    Each draw takes a task by the mixture's rates, the next of its examples in
    the random order of a pass over all of them, and one of its formats.
    Few-shot prompts show exemplars of the
    same task; whole exemplars are dropped until the prompt fits, and a
    prompt without any is left out. A zero-shot prompt that is too long loses
    a part of the passage that its template family names under `shorten`, or
    else of its longest field; an example whose target is too long is left
    out. (`PipelineSettings.long` says otherwise, and `Pipeline.fates` how
    many.) Both sides end with the end-of-text id. The same arguments give the
    same batches, on every run and for any number of threads.

    Args:
        mixture: The mixture.
        vocabulary: The vocabulary.
        settings: All settings in one object.
        **named: Single settings, as `PipelineSettings` documents them:
            `input_length`, `target_length` and `batch_size` must be given
            here or in `settings`.

    Returns:
        A `tf.data.Dataset` of `(x, y, sample_weight)` as
        `feature_converters` makes them, with the batch size in front; all
        shapes are fixed.

    Raises:
        InputError: If a setting is unknown or too small, a shard is damaged,
            or no example can be used.

    Example:
        >>> dataset = build_dataset(
        ...     Mixture.from_yaml("cot.yaml"), vocabulary,
        ...     input_length=512, target_length=256, batch_size=8,
        ... )
        >>> x, y, sample_weight = next(iter(dataset))
        >>> x["encoder_segment_ids"][0, :6].numpy()
        array([1, 1, 1, 1, 1, 1], dtype=int32)

    Source: arXiv:2210.11416, section 2.2 (packing); arXiv:2301.13688,
    section 3 (mixing, few-shot prompts).
    """
    return Pipeline(mixture, vocabulary, settings, **named).dataset()


class Pipeline:
    """Batches of a mixture that can be resumed at any step.

    The stages of a mixture follow each other after their numbers of batches.

    Args:
        mixture: The mixture.
        vocabulary: The vocabulary.
        settings: As for `build_dataset`.
        **named: As for `build_dataset`.

    Attributes:
        settings: The `PipelineSettings`.

    Example:
        >>> pipeline = Pipeline(mixture, vocabulary, input_length=512,
        ...     target_length=256, batch_size=8)
        >>> model.fit(pipeline.dataset(), steps_per_epoch=100)
        >>> saved = pipeline.position(100).to_dict()  # to a file
        >>> model.fit(pipeline.dataset(Position.from_dict(saved)),
        ...     steps_per_epoch=100)
    """

    def __init__(
        self,
        mixture: Mixture,
        vocabulary: Vocabulary | HubVocabulary,
        settings: PipelineSettings | None = None,
        **named: Any,
    ):
        self.settings = settings = PipelineSettings.of(settings, named)
        if mixture.then and not settings.repeat:
            raise InputError(
                f"{mixture.name}: stages last a number of batches, not a pass "
                "over the examples; leave `repeat` on, or train on one stage"
            )
        self._stages = [
            Stage(stage, vocabulary, stage_settings(settings, i))
            for i, stage in enumerate(mixture.stages)
        ]
        self._start = Position()

    def dataset(self, start: Position = _BEGIN) -> Dataset:
        """Returns the batches from a position on, as `build_dataset` does.

        The batches are those that an uninterrupted stream has from there,
        byte for byte. Nothing is read again of what came before; which tasks
        it was drawn from is counted (less than a microsecond per draw).
        """
        data = tf().data
        self._start = start
        options = data.Options()
        options.deterministic = True
        # The thread that tunes sleeps for up to a minute, and an iterator
        # that is closed waits for it.
        options.autotune.enabled = False
        number, done = self._find_stage(start.batch)
        batches = self._stages[number].batches(start, done)
        for stage in self._stages[number + 1 :]:
            batches = batches.concatenate(stage.batches())
        prefetch = self.settings.prefetch
        batches = batches.prefetch(prefetch).with_options(options)
        if self.settings.repeat:
            batches = batches.apply(
                data.experimental.assert_cardinality(data.INFINITE_CARDINALITY)
            )
        return batches

    def position(self, batches: int) -> Position:
        """Returns where the latest dataset is, `batches` after its start."""
        begun, done = self._find_stage(self._start.batch)
        batch = self._start.batch + batches
        number, now = self._find_stage(batch)
        start = _BEGIN
        if number == begun:
            start, now = self._start, now - done
        rows = now * self.settings.rows
        place = self._stages[number].counts.after(start, rows)
        return dataclasses.replace(place, batch=batch)

    def cuts(self) -> dict[str, int]:
        """Counts what did not fit, since the latest dataset began.

        Examples are counted as they are made, which is ahead of their
        batches, a chunk at a time.

        Returns:
            `examples` drawn; of these `left_out`, see `PipelineSettings.long`:
            texts that are too long, few-shot prompts without place for an
            exemplar, and conversations without place for an answer, or that
            the chat template can't write; and how many `inputs` and `targets`
            are trained without a part of them.

        Example:
            >>> pipeline.cuts()
            {'examples': 8192, 'left_out': 3, 'inputs': 410, 'targets': 0}
        """
        counts = [stage.tally.totals() for stage in self._stages]
        names = ("drawn", "left_out", "cut_inputs", "cut_targets")
        sums = [sum(count[name] for count in counts) for name in names]
        keys = ("examples", "left_out", "inputs", "targets")
        return dict(zip(keys, sums, strict=True))

    def fates(self) -> list[dict[str, Any]]:
        """Counts what became of each task and format, as `cuts` does of all.

        Returns:
            For each stage that has begun, the rows of `Tally.rows`; each with
            the `stage`, from 1, if there are several.

        Example:
            >>> pipeline.fates()[0]
            {'task': 'gsm8k', 'group': 'cot', 'format': 'few_shot_cot',
             'share': 0.25, 'trained': 0.26, 'drawn': 2041, 'left_out': 3, ...}
        """
        rows = []
        for number, stage in enumerate(self._stages, 1):
            which = {"stage": number} if len(self._stages) > 1 else {}
            if stage.tally.totals()["drawn"]:
                rows += [which | row for row in stage.tally.rows()]
        return rows

    def advice(self, prefix: str = "") -> list[str]:
        """Says which examples don't fit, and which setting helps.

        Args:
            prefix: What stands before the names of settings.

        Returns:
            Lines as of `Tally.advice`.
        """
        return [
            line
            for stage in self._stages
            for line in stage.tally.advice(
                *(
                    limit._replace(name=prefix + limit.name)
                    for limit in stage.limits
                )
            )
        ]

    @property
    def failure(self) -> InputError | None:
        """Why a dataset ended, if a text is too long and that is an error.

        TensorFlow's own error has only its words.
        """
        found = (stage.failure for stage in self._stages)
        return next((error for error in found if error is not None), None)

    def _find_stage(self, batch: int) -> tuple[int, int]:
        """Returns the stage that a batch is in, and its number in there."""
        for number, stage in enumerate(self._stages):
            if stage.steps is None or batch < stage.steps:
                return number, batch
            batch -= stage.steps
        raise AssertionError("the last stage has no end")
