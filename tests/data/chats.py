"""Small vocabularies with the tokens of chat templates, and random chats."""

import functools
import io
import json
import random

import sentencepiece

from keras_flan.data.records.turns import Turn
from keras_flan.data.vocabularies.hub import HubVocabulary

FAMILIES = ("chatml", "qwen2.5", "qwen3", "llama3", "gemma", "mistral")
# Blanks and breaks where tokenisers join what they find.
CONTENTS = (
    *("What is 2 + 2?", "4", "Why?", "It is so.\nAnd so on.", "  spaced  out "),
    *("\n\nlate", "ends with breaks\n\n", "1234567 apples", "日本 and ümlaut"),
    *("tab\there", "a", "I'm sure, you're not", "\u00a0odd blank\u2003"),
)
SPECIAL = {
    "chatml": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "qwen2.5": [
        *("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        *("<tool_call>", "</tool_call>"),
    ],
    "qwen3": [
        *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>"),
        *("</tool_call>", "<tool_response>", "</tool_response>", "<think>"),
        "</think>",
    ],
    "llama3": [
        *("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>"),
        *("<|end_header_id|>", "<|eot_id|>"),
    ],
    "smollm3": [
        *("<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>"),
        *("<|im_end|>", "<think>", "</think>"),
    ],
    "gemma": ["<start_of_turn>", "<end_of_turn>"],
    "mistral": ["[INST]", "[/INST]"],
}
TEXT = [
    "system\n\nuser\n\nassistant\n\nmodel\n\nipython\n\ntool",
    "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
    *CONTENTS,
]


def is_byte_level(family):
    return family not in ("gemma", "mistral")


@functools.cache
def byte_level(family):
    """Returns the tokens and merges of a small byte-level BPE."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(TEXT * 3, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    vocabulary = dict(model["vocab"])
    for token in SPECIAL[family]:
        vocabulary[token] = len(vocabulary)
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    return vocabulary, merges


@functools.cache
def sentences(family):
    """Returns a small SentencePiece model with a family's tokens."""
    pieces = {"gemma": ("<bos>", "<eos>"), "mistral": ("<s>", "</s>")}[family]
    own = SPECIAL[family]
    if family == "gemma":
        # Of all: byte-level BPE takes TensorFlow seconds to trace.
        own = list(dict.fromkeys(t for name in FAMILIES for t in SPECIAL[name]))
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT * 3),
        model_writer=model,
        model_type="unigram",
        vocab_size=400,
        pad_id=0 if family == "gemma" else -1,
        eos_id=1 if family == "gemma" else 2,
        bos_id=2 if family == "gemma" else 1,
        unk_id=3 if family == "gemma" else 0,
        bos_piece=pieces[0],
        eos_piece=pieces[1],
        user_defined_symbols=["\n", *own],
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=family == "mistral",
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


@functools.cache
def vocabulary(family):
    """Returns a vocabulary of keras-hub's class for a family."""
    import keras_hub

    models = keras_hub.models
    if family in ("gemma", "mistral"):
        kind = {"gemma": models.GemmaTokenizer}
        kind = kind.get(family, models.MistralTokenizer)
        return HubVocabulary(kind(sentences(family)))
    vocabulary, merges = byte_level(family)
    kinds = {
        "llama3": models.Llama3Tokenizer,
        "smollm3": models.SmolLM3Tokenizer,
    }
    kind = kinds.get(family, models.QwenTokenizer)
    return HubVocabulary(kind(vocabulary, merges), start=False)


def chats(family, number, seed=0, system=True, tools=True):
    """Returns random conversations that a family's template can write."""
    rng = random.Random(f"{family}/{seed}")
    tools &= family in ("qwen2.5", "qwen3")
    made = []
    for _ in range(number):
        turns = []

        def say(role, turns=turns):
            turns.append(Turn(role, rng.choice(CONTENTS)))

        if system and rng.random() < 0.5:
            say("system")
        for _ in range(rng.randint(1, 4)):
            say("user")
            while tools and rng.random() < 0.3:
                call = (
                    f'<tool_call>\n{{"name": "f{rng.random()}"}}\n</tool_call>'
                )
                turns.append(Turn("assistant", call))
                for _ in range(rng.randint(1, 2)):
                    say("tool")
            say("assistant")
        made.append(turns)
    return made
