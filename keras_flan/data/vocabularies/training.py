"""Training a SentencePiece vocabulary."""

import io
import itertools
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import sentencepiece
from sentencepiece.sentencepiece_model_pb2 import ModelProto

from keras_flan.data.mixtures.inspection import inspect
from keras_flan.data.mixtures.mixture import Mixture
from keras_flan.data.records.info import INFO_FILE
from keras_flan.data.records.shards import read_records
from keras_flan.data.vocabularies.sentencepiece import Vocabulary
from keras_flan.errors import InputError
from keras_flan.files import atomic_write, read_text
from keras_flan.storage import as_path

# The bytes of a trained model depend on the number of threads, so it is
# fixed: the same text gives the same file on every machine.
_TRAINING_THREADS = 2
# SentencePiece skips longer sentences (in bytes), by default at 4,192.
_LONGEST_SENTENCE = 1 << 20
# Text is kept as it is, but for SentencePiece's own mark for a blank. (With no
# rule at all, tensorflow_text reports at every start that there is none.)
_NORMALISATION = "2581\t20\n"
# Prompts that are drawn from a mixture to train on.
_PROMPTS_OF_A_MIXTURE = 5000


def train_vocabulary(
    texts: Iterable[str],
    size: int,
    output: str | os.PathLike,
    *,
    numbers: int = 10,
) -> Vocabulary:
    r"""Trains a lossless unigram vocabulary and writes it to `output`.

    Digits are split one by one and unseen characters fall back to bytes, as
    in PaLM's vocabulary. Blanks are kept and `"\n"` has its own piece, so a
    decoded text is the encoded one (only U+2581, SentencePiece's mark for a
    blank, comes back as a blank). The same texts give the same bytes.

    Args:
        texts: Training texts; held in memory.
        size: Number of pieces, with 3 special, 1 newline and 256 byte pieces.
        output: The `.model` file; an earlier one is replaced at the end.
        numbers: Each whole number below this has its own piece; larger ones
            are split. With 100, `"23"` is one piece and `"235"` two: a small
            model learns sums as facts about pieces, not about digits.

    Raises:
        InputError: If there is no text, or `size` does not suit it; the
            message says which size does.

    Example:
        >>> vocabulary = train_vocabulary(["2 + 2 = 4"] * 9, 270, "v.model")
        >>> vocabulary.decode(vocabulary.encode("4 + 4\n= 8"))
        '4 + 4\n= 8'

    Source: PaLM (arXiv:2204.02311), section 2.
    """
    # Line breaks are pieces of their own, so lines are the sentences.
    lines = (line for text in texts for line in text.split("\n") if line)
    first = next(lines, None)
    if first is None:
        raise InputError(f"{output}: no text to train a vocabulary on")
    symbols = ["\n", *map(str, range(10, numbers))]
    try:
        model = _train(itertools.chain([first], lines), size, symbols)
    except RuntimeError as error:
        raise InputError(f"{output}: {_size_advice(error, size)}") from None
    proto = ModelProto.FromString(model)
    # The name of the temporary file would differ from run to run.
    proto.normalizer_spec.ClearField("normalization_rule_tsv")
    with atomic_write(output, "wb") as f:
        f.write(proto.SerializeToString(deterministic=True))
    return Vocabulary(output)


def _train(lines: Iterator[str], size: int, symbols: Sequence[str]) -> bytes:
    """Returns a trained model; RuntimeError if the size does not suit."""
    model = io.BytesIO()
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
        rules.write(_NORMALISATION)
        rules.flush()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines,
            model_writer=model,
            model_type="unigram",
            vocab_size=size,
            pad_id=Vocabulary.pad_id,
            eos_id=Vocabulary.eos_id,
            unk_id=Vocabulary.unk_id,
            bos_id=-1,
            user_defined_symbols=symbols,
            split_digits=True,
            byte_fallback=True,
            normalization_rule_tsv=rules.name,
            remove_extra_whitespaces=False,
            max_sentence_length=_LONGEST_SENTENCE,
            num_threads=_TRAINING_THREADS,
            minloglevel=2,
        )
    return model.getvalue()


def train_vocabulary_from(
    sources: Sequence[str | os.PathLike], size: int, output: str | os.PathLike
) -> Vocabulary:
    """Trains a vocabulary on mixtures, record folders or UTF-8 text files.

    Args:
        sources: Mixture files (`.yaml`), of which 5,000 drawn prompts and
            targets are used, of each stage; folders, searched for records at
            any depth (every field of every example is used); or text files
            (`.gz` too).
        size: Number of pieces.
        output: The `.model` file.

    Raises:
        InputError: As `train_vocabulary`, and for a source that is missing,
            broken or a folder without records.

    Example:

    ```python
    train_vocabulary_from(["mixture.yaml"], 8000, "vocabulary.model")
    ```
    """
    texts = [_texts(as_path(source)) for source in sources]
    return train_vocabulary(itertools.chain(*texts), size, output)


def _texts(source: Path) -> Iterator[str]:
    """Yields the texts of a source; a wrong source fails at once."""
    if source.suffix in (".yaml", ".yml"):
        rows = [
            row
            for stage in Mixture.from_yaml(source).stages
            for row in inspect(stage, n=_PROMPTS_OF_A_MIXTURE)
        ]
        return (row[side] for row in rows for side in ("inputs", "targets"))
    if not source.is_dir():
        return iter([read_text(source)])
    folders = sorted(path.parent for path in source.rglob(INFO_FILE))
    if not folders:
        raise InputError(
            f"{source}: found no {INFO_FILE} at any depth; give a "
            "folder that `keras-flan import` wrote"
        )
    return (
        text
        for folder in folders
        for example in read_records(folder)
        for _, text in sorted(example.fields.items())
    )


def _size_advice(error: RuntimeError, size: int) -> str:
    """Says which vocabulary size suits, from SentencePiece's own message."""
    if match := re.search(r"too high .* a value <= (\d+)", str(error)):
        return (
            f"{size} pieces are too many for this text; use at most "
            f"{match[1]}, or more text"
        )
    if match := re.search(r"required_chars. \d+ vs (\d+)", str(error)):
        return (
            f"{size} pieces are too few for the characters of this text; use "
            f"at least {match[1]}"
        )
    return f"SentencePiece cannot train on this text ({error})"
