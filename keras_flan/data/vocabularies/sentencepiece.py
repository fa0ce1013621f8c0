"""SentencePiece vocabularies: outside the graph, inside it, and trained.

The ids are T5's: 0 pads, 1 ends a text, 2 is unknown. The same file serves
Python (`sentencepiece`) and the input pipeline (`tensorflow_text`), and the
tests hold the two to the same ids.
"""

import functools
import hashlib
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
from keras_flan.data.records.shards import read_records
from keras_flan.errors import InputError
from keras_flan.files import atomic_write, read_text
from keras_flan.runtime.tensorflow import tf

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


class Vocabulary:
    r"""A SentencePiece model with T5's special ids.

    Args:
        source: Path of a `.model` file, or its bytes.

    Attributes:
        path: Where the model was read from; `None` for bytes.
        proto: The bytes of the model file.
        size: Number of pieces. A T5 checkpoint may have more embedding rows.
        pad_id: 0, also the first token that a decoder sees.
        eos_id: 1, ends every input and target.
        unk_id: 2.

    Raises:
        InputError: If the file is no SentencePiece model, or its special
            ids are others.

    Example:
        >>> vocabulary = Vocabulary("spiece.model")
        >>> ids = vocabulary.encode("The answer is 4.")
        >>> vocabulary.decode([*ids, vocabulary.eos_id, 5, 0, 0])
        'The answer is 4.'

    Source: T5 (arXiv:1910.10683), section 2.2.1.
    """

    pad_id = 0
    eos_id = 1
    unk_id = 2

    def __init__(self, source: str | os.PathLike | bytes):
        if isinstance(source, bytes):
            self.path, self.proto = None, source
        else:
            self.path, self.proto = Path(source), _read_bytes(source)
        place = self.path or "vocabulary"
        if not self.proto:
            raise InputError(f"{place}: empty; expected a SentencePiece model")
        try:
            self._processor = sentencepiece.SentencePieceProcessor(
                model_proto=self.proto
            )
        except RuntimeError:
            raise InputError(
                f"{place}: not a SentencePiece model; give the .model file "
                "or train one with `keras-flan vocabulary`"
            ) from None
        processor = self._processor
        found = (processor.pad_id(), processor.eos_id(), processor.unk_id())
        expected = (self.pad_id, self.eos_id, self.unk_id)
        if found != expected:
            raise InputError(
                f"{place}: found the ids <pad>, </s>, <unk> = {found}, "
                f"expected {expected}; use a T5 vocabulary or train one with "
                "`keras-flan vocabulary`"
            )
        self.size = processor.get_piece_size()

    @functools.cached_property
    def sha256(self) -> str:
        """The digest of the model file, in hexadecimal."""
        return hashlib.sha256(self.proto).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Returns the ids of `text`, without the end-of-text id."""
        return self._processor.encode(text)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the ids of every text; uses all cores."""
        return self._processor.encode(list(texts))

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of `ids` up to the first end-of-text id.

        Padding is dropped, and so are ids that have no piece: T5 checkpoints
        have more embedding rows than their vocabulary has pieces.
        """
        text = itertools.takewhile(lambda i: i != self.eos_id, map(int, ids))
        return self._processor.decode(
            [i for i in text if i != self.pad_id and 0 <= i < self.size]
        )

    def encode_tf(self, texts):
        """Tokenises inside the graph.

        Args:
            texts: String tensor `[n]`, UTF-8.

        Returns:
            `tf.RaggedTensor` `[n, (tokens)]`, int32, without end-of-text ids.
        """
        return self.encoder_tf()(texts)

    def encoder_tf(self):
        """Returns `encode_tf` for several calls inside one traced function.

        The model becomes a part of the graph that is being traced. (A model
        made outside of it is lost as soon as something clears TensorFlow's
        kernels, as `tf.random.set_seed` does.)
        """
        try:
            from tensorflow_text import SentencepieceTokenizer
        except ImportError as error:
            raise InputError(
                f"tensorflow_text cannot be imported ({error}); install the "
                "tensorflow-text of your TensorFlow version"
            ) from None
        return SentencepieceTokenizer(
            model=self.proto, out_type=tf().int32
        ).tokenize


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
        numbers: The whole numbers below this have a piece each; larger ones
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
    model = io.BytesIO()
    try:
        with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
            rules.write(_NORMALISATION)
            rules.flush()
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=itertools.chain([first], lines),
                model_writer=model,
                model_type="unigram",
                vocab_size=size,
                pad_id=Vocabulary.pad_id,
                eos_id=Vocabulary.eos_id,
                unk_id=Vocabulary.unk_id,
                bos_id=-1,
                user_defined_symbols=["\n", *map(str, range(10, numbers))],
                split_digits=True,
                byte_fallback=True,
                normalization_rule_tsv=rules.name,
                remove_extra_whitespaces=False,
                max_sentence_length=_LONGEST_SENTENCE,
                num_threads=_TRAINING_THREADS,
                minloglevel=2,
            )
    except RuntimeError as error:
        raise InputError(f"{output}: {_size_advice(error, size)}") from None
    proto = ModelProto.FromString(model.getvalue())
    # The name of the temporary file would differ from run to run.
    proto.normalizer_spec.ClearField("normalization_rule_tsv")
    with atomic_write(output, "wb") as f:
        f.write(proto.SerializeToString(deterministic=True))
    return Vocabulary(output)


def train_vocabulary_from(
    sources: Sequence[str | os.PathLike],
    size: int,
    output: str | os.PathLike,
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
    """
    texts = [_texts(Path(source)) for source in sources]
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
    folders = sorted(path.parent for path in source.rglob("dataset_info.json"))
    if not folders:
        raise InputError(
            f"{source}: found no dataset_info.json at any depth; give a "
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


def _read_bytes(path: str | os.PathLike) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); expected a "
            "SentencePiece .model file"
        ) from None
