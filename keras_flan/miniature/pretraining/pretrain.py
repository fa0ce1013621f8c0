"""Pretraining the nano model: span corruption and a prefix language model.

`python -m keras_flan.miniature.pretraining.pretrain --output runs/nano` goes
on where it was killed.
"""

import argparse
import dataclasses
import itertools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from keras_flan.data.pipeline.feature_converters import EncoderDecoderRows
from keras_flan.data.pipeline.packing import pack
from keras_flan.files import atomic_write, write_json
from keras_flan.miniature.pretraining.corpus import documents
from keras_flan.miniature.pretraining.knowledge import SUMS
from keras_flan.miniature.universe.specs import Draws
from keras_flan.outputs import Kind, output_folder
from keras_flan.storage import local_path
from keras_flan.tensors import Tensor

if TYPE_CHECKING:
    from keras.optimizers.schedules import LearningRateSchedule

    from keras_flan.data.vocabularies.sentencepiece import Vocabulary
    from keras_flan.models.t5.model import T5

# Inputs and targets, in tokens without the end of text.
_Pair: TypeAlias = tuple[list[int], list[int]]
# Steps, and the loss up to each.
_Losses: TypeAlias = list[tuple[int, float]]
# Documents that the vocabulary is trained on, and that make one chunk.
_VOCABULARY_DOCUMENTS = 30_000
_EVERY_SPAN = 3.0
# Sums are practised in the decoder, as rationales: short beginnings.
_PRACTICE_LENGTHS = (64, 96)
_PRACTICE_BEGINNING = (3, 16)


@dataclasses.dataclass(frozen=True)
class PretrainConfig:
    """What is pretrained, and how.

    Attributes:
        vocabulary_size: SentencePiece pieces.
        numbers: Whole numbers that have a piece each; see
            `data.train_vocabulary`.
        rows: Rows of the embedding; those beyond the pieces mark the spans
            of span corruption, the last row the first span, as in T5.
        num_layers: Layers of the encoder, and of the decoder.
        num_heads: Attention heads.
        hidden_dim: Width of the model.
        intermediate_dim: Width inside the feed-forward block.
        input_length: Encoder tokens per row.
        target_length: Decoder tokens per row.
        batch_size: Packed rows per step.
        steps: Optimizer steps.
        chunk: Steps between two checkpoints.
        learning_rate: Adafactor's, relative to the size of a weight.
        warmdown: Share of the steps in which the rate falls to a tenth.
        corrupted: Share of a document's tokens that span corruption hides.
        spans: Share of the plain documents that are corrupted; of the others
            the rest is to be told from the beginning.
        replies: Share of the dialogues of which the reply is hidden.
        adapted: Share of the steps, the last ones, in which the model only
            goes on with plain texts, as T5 was adapted to be a language
            model before it was finetuned.
        practice: Further steps, in which half of these texts are sums.
        seed: Of weights and documents.

    Example:
        >>> config = PretrainConfig(num_layers=2)
    """

    vocabulary_size: int = 1536
    numbers: int = 100
    rows: int = 1664
    num_layers: int = 3
    num_heads: int = 5
    hidden_dim: int = 160
    intermediate_dim: int = 448
    input_length: int = 96
    target_length: int = 48
    batch_size: int = 8
    steps: int = 14_000
    chunk: int = 100
    learning_rate: float = 0.01
    warmdown: float = 0.25
    corrupted: float = 0.2
    spans: float = 0.6
    replies: float = 0.8
    adapted: float = 0.12
    practice: int = 4000
    seed: int = 0

    @property
    def tokens(self) -> int:
        """Tokens of all steps, padding included."""
        row = self.input_length + self.target_length
        steps = self.steps * row + self.practice * sum(_PRACTICE_LENGTHS)
        return self.batch_size * steps


def pretrain(
    output: str | os.PathLike,
    config: PretrainConfig = PretrainConfig(),
    *,
    quiet: bool = False,
) -> Path:
    """Pretrains a T5 on generated text; goes on from a checkpoint.

    Args:
        output: The folder to write: `vocabulary.model`, `loss.csv`,
            `checkpoint.npz` and, at each checkpoint, `preset/`.
        config: The settings; those of a checkpoint must be the same but for
            `steps`, `warmdown`, `adapted` and `practice`.
        quiet: Whether to print nothing.

    Returns:
        The folder of the preset.

    Example:
        >>> pretrain("runs/nano", PretrainConfig(steps=100))
        PosixPath('runs/nano/preset')

    Source: arXiv:1910.10683, section 3.1.4, and the T5-LM of
    arXiv:2104.08691.
    """
    with output_folder(local_path(output), PRETRAINING) as folder:
        return _pretrain(folder, config, quiet)


_FILES = {"vocabulary.model", "loss.csv", "checkpoint.npz", "config.json"}
# What takes up the folder of a pretraining.
PRETRAINING = Kind(
    "pretraining",
    lambda folder: {p.name for p in folder.iterdir()} <= {*_FILES, "preset"},
)


def _pretrain(output: Path, config: PretrainConfig, quiet: bool) -> Path:
    from keras_flan.models.presets import write_preset

    vocabulary = _vocabulary(output, config)
    model = _model(config, vocabulary)
    variables = [*model.variables, *model.optimizer.variables]
    checkpoint = output / "checkpoint.npz"
    step, losses = _restore(checkpoint, variables)
    while step < config.steps + config.practice:
        begin = time.monotonic()
        x, y, weight = rows_of(config, vocabulary, step)
        history = model.fit(
            x,
            y,
            sample_weight=weight,
            batch_size=config.batch_size,
            shuffle=False,
            verbose=0,
        )
        step += len(y) // config.batch_size
        losses.append((step, history.history["loss"][0]))
        _save(checkpoint, variables, step, losses)
        write_preset(model, output / "preset")
        _write_losses(output / "loss.csv", losses)
        if not quiet:
            seconds = time.monotonic() - begin
            print(
                f"step {step}: loss {losses[-1][1]:.4f}, {seconds:.1f} s",
                flush=True,
            )
    write_preset(model, output / "preset")
    return output / "preset"


def _model(config: PretrainConfig, vocabulary: "Vocabulary") -> "T5":
    """Returns a new model, ready to be trained."""
    import keras

    from keras_flan.models.t5.model import T5
    from keras_flan.training.adafactor import Adafactor
    from keras_flan.training.losses import TokenCrossentropy

    keras.utils.set_random_seed(config.seed)
    model = T5.from_config_values(
        vocabulary_size=config.rows,
        num_layers=config.num_layers,
        num_heads=config.num_heads,
        hidden_dim=config.hidden_dim,
        intermediate_dim=config.intermediate_dim,
        dropout=0.0,
        vocabulary=vocabulary,
    )
    optimizer = Adafactor(_rate(config))
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer, loss=TokenCrossentropy())
    return model


def _vocabulary(output: Path, config: PretrainConfig) -> "Vocabulary":
    from keras_flan.data.vocabularies.sentencepiece import Vocabulary
    from keras_flan.data.vocabularies.training import train_vocabulary

    path = output / "vocabulary.model"
    if path.is_file():
        return Vocabulary(path)
    texts = itertools.islice(
        documents(f"{config.seed}/vocabulary"), _VOCABULARY_DOCUMENTS
    )
    return train_vocabulary(
        (text for text, _ in texts),
        config.vocabulary_size,
        path,
        numbers=config.numbers,
    )


def rows_of(
    config: PretrainConfig, vocabulary: "Vocabulary", step: int
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Returns the rows of the chunk that begins at a step.

    Returns:
        `(x, y, sample_weight)` as arrays, see `EncoderDecoderRows.lay_out`, of
        `config.chunk * config.batch_size` rows.
    """
    from keras_flan.runtime.tensorflow import tf

    number = config.chunk * config.batch_size
    capacity = (config.input_length, config.target_length)
    stage = pairs_of
    if step >= config.steps:
        capacity, stage = _PRACTICE_LENGTHS, practice_pairs_of
    elif step >= config.steps * (1 - config.adapted):
        stage = adapted_pairs_of
    pairs: list[_Pair] = []
    source = stage(config, vocabulary, f"{config.seed}/{step}")
    used = np.zeros(2)
    # Packing leaves a few rows half empty at the end; they are dropped.
    while (used < 1.1 * number * np.array(capacity)).all():
        inputs, targets = next(source)
        # With its end of text, each has room in a row or is left out.
        if not (
            0 < len(inputs) < capacity[0] and 0 < len(targets) < capacity[1]
        ):
            continue
        pairs.append((inputs, targets))
        used += (len(inputs) + 1, len(targets) + 1)
    lengths = np.array([(len(i) + 1, len(t) + 1) for i, t in pairs])
    rows = pack(lengths, capacity)
    inputs, targets = (
        tf().ragged.constant([pair[side] for pair in pairs], "int32")
        for side in (0, 1)
    )
    converter = EncoderDecoderRows(*capacity, vocabulary.eos_id)
    x, y, weight = converter.lay_out(inputs, targets, rows)
    order = np.random.default_rng(step).permutation(len(y))[:number]
    order = order[: len(order) // config.batch_size * config.batch_size]
    return (
        {name: np.asarray(value)[order] for name, value in x.items()},
        np.asarray(y)[order],
        np.asarray(weight)[order],
    )


def pairs_of(
    config: PretrainConfig, vocabulary: "Vocabulary", seed: str
) -> Iterator[_Pair]:
    """Yields inputs and targets, in tokens without the end of text.

    Of a document of two parts the second is one hidden span, mostly: what
    is said in reply. Of the others, and of the rest, some have random spans
    hidden; texts without two parts are cut at a random place too. So the
    model learns what the answers are, and nothing asks it for one.
    """
    draws = Draws(f"{seed}/objective")
    first = config.rows - 1
    for text, split in documents(seed):
        if split is not None and draws.chance(config.replies):
            inputs = [*vocabulary.encode(text[:split].rstrip(" ")), first]
            targets = [first, *vocabulary.encode(text[split:]), first - 1]
        else:
            ids = vocabulary.encode(text)
            if len(ids) < 8:
                continue
            if split is not None or draws.chance(config.spans):
                inputs, targets = hide_spans(
                    ids, draws, config.corrupted, config.rows
                )
            else:
                at = draws.between(3, len(ids) - 3)
                inputs, targets = ids[:at], ids[at:]
        yield inputs, targets


def adapted_pairs_of(
    config: PretrainConfig, vocabulary: "Vocabulary", seed: str
) -> Iterator[_Pair]:
    """Yields beginnings and ends of plain texts, in tokens.

    So a model that is asked something goes on with it, until it is finetuned.

    Source: the LM adaptation of arXiv:2104.08691, section 3.1, from which
    arXiv:2210.11416 finetunes T5.
    """
    draws = Draws(f"{seed}/objective")
    for text, split in documents(seed):
        ids = vocabulary.encode(text)
        if split is not None or len(ids) < 8:
            continue
        at = draws.between(3, len(ids) - 3)
        yield ids[:at], ids[at:]


def practice_pairs_of(
    config: PretrainConfig, vocabulary: "Vocabulary", seed: str
) -> Iterator[_Pair]:
    """Yields beginnings and ends of sums, and of as many plain texts."""
    draws = Draws(f"{seed}/practice")
    plain = adapted_pairs_of(config, vocabulary, seed)
    while True:
        yield next(plain)
        told = " ".join(draws.pick(SUMS)(draws) for _ in range(3))
        ids = vocabulary.encode(told)
        at = draws.between(*_PRACTICE_BEGINNING)
        yield ids[:at], ids[at : at + _PRACTICE_LENGTHS[1] - 1]


def _rate(config: PretrainConfig) -> "LearningRateSchedule":
    """Returns the learning rate: one fall per part, the second from half."""
    import keras
    from keras import ops

    from keras_flan.training.schedules import Schedule

    rate, falls = config.learning_rate, config.warmdown
    first = Schedule(rate, config.steps, warmdown=falls)
    second = Schedule(rate / 2, config.practice or 1, warmdown=0.5)

    class Rate(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step: Tensor) -> Tensor:
            return ops.where(
                step < config.steps, first(step), second(step - config.steps)
            )

    return Rate()


def hide_spans(ids: list[int], draws: Draws, share: float, rows: int) -> _Pair:
    """Hides spans of about 3 tokens behind sentinels.

    Args:
        ids: The document.
        draws: The source of chance.
        share: Of the tokens, hidden.
        rows: Rows of the embedding; the last is the first sentinel.

    Returns:
        The document with a sentinel for each span; and the spans, each after
        its sentinel, with a sentinel at the end.

    Example:
        >>> hide_spans([5, 6, 7, 8, 9, 10], Draws("1"), 0.3, 100)
        ([5, 99, 8, 9, 10], [99, 6, 7, 98])

    Source: T5 (arXiv:1910.10683), section 3.1.4.
    """
    hidden = max(1, round(share * len(ids)))
    count = max(1, round(hidden / _EVERY_SPAN))
    # Lengths of spans and gaps: random parts of the two numbers of tokens.
    spans = _parts(hidden, count, draws)
    gaps = _parts(len(ids) - hidden, count + 1, draws)
    inputs, targets, at = [], [], 0
    for number, (gap, span) in enumerate(zip(gaps, spans, strict=False)):
        sentinel = rows - 1 - number
        inputs += [*ids[at : at + gap], sentinel]
        at += gap
        targets += [sentinel, *ids[at : at + span]]
        at += span
    return [*inputs, *ids[at:]], [*targets, rows - 1 - count]


def _parts(total: int, count: int, draws: Draws) -> list[int]:
    """Splits a number into positive parts at random places."""
    count = min(count, total)
    cuts = sorted(draws.sample(range(1, total), count - 1))
    edges = [0, *cuts, total]
    return [b - a for a, b in itertools.pairwise(edges)]


# === Checkpoints ===


def _restore(path: Path, variables: list) -> tuple[int, _Losses]:
    if not path.is_file():
        return 0, []
    with np.load(path, allow_pickle=False) as saved:
        for number, variable in enumerate(variables):
            variable.assign(saved[str(number)])
        return int(saved["step"]), [
            (int(step), float(loss)) for step, loss in saved["losses"]
        ]


def _save(path: Path, variables: list, step: int, losses: _Losses) -> None:
    from keras import ops

    with atomic_write(path, "wb") as f:
        np.savez(
            f,
            step=step,
            losses=np.array(losses, np.float64),
            **{
                str(n): ops.convert_to_numpy(v) for n, v in enumerate(variables)
            },
        )


def _write_losses(path: Path, losses: _Losses) -> None:
    with atomic_write(path) as f:
        f.write("step,loss\n")
        f.writelines(f"{step},{loss:.5f}\n" for step, loss in losses)


def main() -> None:
    """Reads the command line and pretrains."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", default="runs/nano")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        help="a setting of PretrainConfig, such as steps=500",
    )
    args = parser.parse_args()
    values = dict(text.split("=", 1) for text in args.set)
    config = PretrainConfig(**{k: json.loads(v) for k, v in values.items()})
    with output_folder(local_path(args.output), PRETRAINING) as folder:
        write_json(folder / "config.json", dataclasses.asdict(config))
        print(pretrain(folder, config))


if __name__ == "__main__":
    main()
