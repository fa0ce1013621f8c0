"""What callers give as texts."""

from collections.abc import Iterable, Mapping, Sequence

from keras_flan.errors import InputError


def as_texts(texts: str | Sequence[str], name: str) -> list[str]:
    """Returns texts as a list; a text that stands alone is one of one.

    Args:
        texts: A text, or several.
        name: The argument, for messages.

    Raises:
        InputError: If it is neither, or one of them is no text, or holds a
            lone surrogate, which no tokenizer takes.

    Example:
        >>> as_texts("What is 2 + 2?", "prompts")
        ['What is 2 + 2?']
    """
    if isinstance(texts, str):
        texts = [texts]
    elif isinstance(texts, Mapping | bytes) or not isinstance(texts, Iterable):
        raise InputError(
            f"{name}: found {texts!r:.60}, expected a text or a list of texts"
        )
    texts = list(texts)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(
                f"{name}[{number}]: found {text!r}, expected a text"
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"{name}[{number}]: holds a lone surrogate at character "
                f"{error.start}, which is half of a pair; leave it out"
            ) from None
    return texts


class ChatPrompt(str):
    """A prompt of a chat template: its text, for people, and its tokens.

    Attributes:
        token_ids: What the model reads; the markers of turns are ids.
        end_ids: The tokens that end an answer.
    """

    token_ids: list[int]
    end_ids: tuple[int, ...]

    @classmethod
    def of(
        cls, text: str, token_ids: list[int], end_ids: tuple[int, ...]
    ) -> "ChatPrompt":
        """Returns a prompt."""
        prompt = cls(text)
        prompt.token_ids, prompt.end_ids = token_ids, end_ids
        return prompt
