"""Our tokens and weights beside those of transformers' chat templates.

The tokenizers of the families can't be fetched here: small ones with their
special tokens take their place, the same on both sides. The templates are
those of `chat_templates/`, with marks of what is the assistant's.
"""

import re

import pytest

from keras_flan.data.templates.chat_files import load_chat_template
from tests.data.chats import (
    FAMILIES,
    SPECIAL,
    byte_level,
    chats,
    is_byte_level,
    sentences,
    vocabulary,
)
from tests.data.test_chat import TEMPLATES, config

pytestmark = pytest.mark.parity


def tokenizer(family):
    """Returns transformers' fast tokenizer of a family's small vocabulary."""
    import tokenizers
    import transformers
    from tokenizers import decoders, models, normalizers, pre_tokenizers

    if is_byte_level(family):
        # As keras-hub's own, on whose pieces the tokens depend too.
        inner = tokenizers.Tokenizer.from_str(
            vocabulary(family).tokenizer._tokenizer.to_str()
        )
        known, _ = byte_level(family)
        assert inner.get_vocab_size() == len(known)
        special = SPECIAL[family]
    else:
        from sentencepiece.sentencepiece_model_pb2 import ModelProto

        pieces = ModelProto.FromString(sentences(family)).pieces
        scores = [(piece.piece, piece.score) for piece in pieces]
        unknown = next(i for i, p in enumerate(pieces) if p.type == 2)
        inner = tokenizers.Tokenizer(
            models.Unigram(scores, unknown, byte_fallback=True)
        )
        inner.normalizer = normalizers.Replace(" ", "\u2581")
        if family == "mistral":
            inner.normalizer = None
            inner.pre_tokenizer = pre_tokenizers.Metaspace(
                prepend_scheme="first", split=False
            )
        inner.decoder = decoders.Replace("\u2581", " ")
        # What the model itself never splits, and what it begins and ends by.
        special = [p.piece for p in pieces if p.type in (3, 4)]
    inner.add_tokens(
        [tokenizers.AddedToken(t, normalized=False) for t in special]
    )
    values = config(family)
    known = inner.get_vocab()
    own = {
        key: values[key]
        for key in ("bos_token", "eos_token")
        if values[key] in known
    }
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, **own)


def spans(family, turns, text):
    """Returns where the assistant's turns stand in a rendered text."""
    ends = {"llama3": "<|eot_id|>", "gemma": "<end_of_turn>", "mistral": "</s>"}
    end, place = ends.get(family, "<|im_end|>"), 0
    trim = family in ("llama3", "gemma")
    found = []
    for turn in turns:
        content = turn.content
        if trim and not (family == "gemma" and turn.role == "system"):
            content = content.strip()
        heads = {
            "llama3": "<|start_header_id|>assistant<|end_header_id|>\n\n",
            "gemma": "<start_of_turn>model\n",
            # The blank after it is no part of what is read to be answered.
            "mistral": "[/INST]",
        }
        if turn.role == "assistant":
            head = heads.get(family, "<|im_start|>assistant\n")
            pattern = re.escape(head) + r"(?:<think>\n\n</think>\n\n)?"
            match = re.compile(pattern).search(text, place)
            begin = match.end()
            blank = " " * (family == "mistral")
            assert text.startswith(blank + content + end, begin)
            place = begin + len(blank + content + end)
            found.append((begin, place))
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_and_weights_are_those_of_transformers(family):
    theirs, ours = tokenizer(family), vocabulary(family)
    template = load_chat_template(family)
    source = (TEMPLATES / f"{family}.jinja").read_text().strip()
    theirs.chat_template = source
    learnt_tokens = 0
    for turns in chats(family, 200, seed=1):
        messages = [turn._asdict() for turn in turns]
        made = theirs.apply_chat_template(
            messages, return_dict=True, tokenize=True
        )
        ids, learnt = template.token_ids(turns, ours)
        assert ids == list(made["input_ids"])
        text = theirs.apply_chat_template(messages, tokenize=False)
        assert text == template.text(turns)
        assistant = spans(family, turns, text)
        encoded = theirs(
            text, add_special_tokens=False, return_offsets_mapping=True
        )
        expected = [
            int(any(first < end and last > begin for begin, end in assistant))
            for first, last in encoded["offset_mapping"]
        ]
        # A text and its tokens agree in length only if these do.
        assert list(encoded["input_ids"]) == ids
        assert learnt == expected
        learnt_tokens += sum(learnt)
        asked = theirs.apply_chat_template(
            messages[:-1],
            add_generation_prompt=True,
            return_dict=True,
            enable_thinking=False,
        )
        own, _ = template.token_ids(turns[:-1], ours, reply=True)
        assert own == list(asked["input_ids"])
    assert learnt_tokens > 1000
