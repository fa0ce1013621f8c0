"""How finely a vocabulary cuts the texts of a language."""

from collections.abc import Sequence
from typing import Protocol

from keras_flan.data.analysis.writing_systems import main_script

# Written without blanks between words.
_UNSPACED = {
    *("Han", "Japanese (kana and Han)", "Kana", "Thai", "Lao", "Khmer"),
    *("Burmese", "Tibetan"),
}
# From these on a vocabulary has no pieces for the language: one token in ten
# is unknown, or there are more tokens than characters, as in bytes.
_UNKNOWN, _PER_CHARACTER = 0.1, 1.2


class Encodes(Protocol):
    """A vocabulary; see `Vocabulary`."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the ids of every text."""


def fertility(texts: Sequence[str], vocabulary: Encodes) -> dict:
    """Measures how finely a vocabulary cuts texts.

    Args:
        texts: Texts of one language.
        vocabulary: The vocabulary.

    Returns:
        `tokens_per_word` (None for scripts without blanks),
        `tokens_per_character`, and `unknown`, the share of the tokens that
        stand for what the vocabulary can't write.

    Example:
        >>> fertility(["Wie viel ist das?"], vocabulary)
        {'tokens_per_word': 1.5, 'tokens_per_character': 0.35, 'unknown': 0.0}

    Source: Rust et al. (arXiv:2012.15613), section 3.
    """
    unknown_id: int = getattr(vocabulary, "unk_id", -1)
    rows = vocabulary.encode_batch(list(texts))
    tokens = sum(map(len, rows))
    unknown = sum(row.count(unknown_id) for row in rows)
    words = sum(len(text.split()) for text in texts)
    characters = sum(map(len, texts))
    spaced = main_script("\n".join(texts)) not in _UNSPACED
    return {
        "tokens_per_word": tokens / max(words, 1) if spaced else None,
        "tokens_per_character": tokens / max(characters, 1),
        "unknown": unknown / max(tokens, 1),
    }


def script_warning(name: str, measured: dict) -> str | None:
    """Returns what to say of a vocabulary that can't write a language well.

    Args:
        name: What the language is called.
        measured: What `fertility` returned.
    """
    if measured["unknown"] >= _UNKNOWN:
        fault = f"{measured['unknown']:.0%} of the tokens are unknown"
    elif measured["tokens_per_character"] >= _PER_CHARACTER:
        each = measured["tokens_per_character"]
        fault = f"{each:.1f} tokens per character"
    else:
        return None
    return (
        f"{name}: {fault}: the vocabulary has no pieces for its script; "
        "choose a model that knows it, or train a vocabulary on such texts "
        "(`keras-flan vocabulary`)"
    )
