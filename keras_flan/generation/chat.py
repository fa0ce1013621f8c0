"""Conversations as prompts: what a model reads to answer the next turn."""

from collections.abc import Iterator, Sequence
from typing import Any

from keras_flan.data.records.turns import as_turns, flatten
from keras_flan.errors import InputError
from keras_flan.generation.language_model_like import DecodedModel
from keras_flan.generation.outputs import Likelihood, Path
from keras_flan.generation.texts import ChatPrompt
from keras_flan.models.decoder_only.model import DecoderOnly


def chat_prompt(model: Any, messages: Sequence[Any]) -> str:
    r"""Returns the prompt of a conversation, for `generate` and `ask`.

    A decoder-only model reads it through its chat template, any other as one
    text, as in training.

    Args:
        model: The model, or what answers in its stead.
        messages: Turns, or dictionaries with `role` and `content`; the last
            is the user's or a tool's.

    Raises:
        InputError: If they make no conversation, a decoder-only model has no
            chat template, or that can't write them.

    Example:
        >>> prompt = chat_prompt(model, [{"role": "user", "content": "Hi"}])
        >>> prompt
        '<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n'
        >>> text = generate(model, [prompt])[0][0].text
    """
    turns = as_turns(messages)
    if turns[-1].role not in ("user", "tool"):
        raise InputError(
            f"messages: the last turn is the {turns[-1].role}'s; expected "
            "one of the user or of a tool, to be answered"
        )
    if not isinstance(model, DecoderOnly):
        return flatten(turns)
    template = model.chat_template
    if template is None:
        raise InputError(
            "the model has no chat template; give it the one that it was "
            "trained with: load(..., chat='chatml') or --chat-template chatml"
        )
    if model.vocabulary is None:
        raise InputError("Expected a model with a vocabulary. Received: None")
    ids, _ = template.token_ids(turns, model.vocabulary, reply=True)
    ends = template.end_ids(model.vocabulary)
    return ChatPrompt.of(template.text(turns, reply=True), ids, ends)


def chat_prompts(model: Any, messages: Sequence[Any]) -> list[str]:
    """Returns the prompts of one conversation, or of several."""
    several = bool(messages) and all(
        isinstance(part, list) for part in messages
    )
    conversations = messages if several else [messages]
    return [chat_prompt(model, one) for one in conversations]


class ChatModel(DecodedModel):
    """A model that is asked through its chat template, a turn per prompt.

    So benchmarks ask a model as it was trained to be asked.

    Args:
        model: A decoder-only model with a chat template.

    Raises:
        InputError: If it has none.

    Example:
        >>> evaluate(ChatModel(model), "gsm8k", "data/gsm8k", output="runs/a")
    """

    def __init__(self, model: Any):
        if getattr(model, "chat_template", None) is None:
            raise InputError(
                "the model has no chat template to be asked through; leave "
                "out --chat"
            )
        super().__init__(model)
        self.weights = model.weights
        plain = self.generate, self.stream

        def asked(prompts: Sequence[str]) -> list[str]:
            return [
                chat_prompt(model, [{"role": "user", "content": prompt}])
                for prompt in prompts
            ]

        def generate(
            prompts: Sequence[str], **settings: Any
        ) -> list[list[Path]]:
            return plain[0](asked(prompts), **settings)

        def stream(
            prompts: Sequence[str], **settings: Any
        ) -> Iterator[tuple[int, int, Path]]:
            return plain[1](asked(prompts), **settings)

        def log_likelihoods(*_: Any, **__: Any) -> list[list[Likelihood]]:
            raise InputError(
                "options are not ranked through a chat template; choose the "
                "mode direct or cot, or leave out --chat"
            )

        self.generate, self.stream = generate, stream
        self.log_likelihoods = log_likelihoods
