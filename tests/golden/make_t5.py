"""Remakes `tests/golden/t5` with transformers and the CPU build of torch.

    python -m tests.golden.make_t5

Each folder is a small random T5 as transformers itself saves it, beside what
transformers computes with it (`expected.npz`).
"""

import io
import shutil
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "t5"
PREFIX_LENGTH, TARGET_LENGTH, NEW_TOKENS = 150, 12, 64
# Odd on purpose: heads that do not divide the width, inner widths above and
# below it, odd sizes, and one layer (the one that holds the relative bias).
SIZES = {
    "one_layer": {
        "vocab_size": 71,
        "d_model": 20,
        "d_kv": 7,
        "num_heads": 3,
        "d_ff": 33,
        "num_layers": 1,
    },
    "wide_heads": {
        "vocab_size": 96,
        "d_model": 16,
        "d_kv": 11,
        "num_heads": 5,
        "d_ff": 24,
        "num_layers": 3,
    },
    "narrow_heads": {
        "vocab_size": 259,
        "d_model": 36,
        "d_kv": 4,
        "num_heads": 2,
        "d_ff": 50,
        "num_layers": 2,
    },
}
KINDS = {
    "v1_0": {"feed_forward_proj": "relu", "tie_word_embeddings": True},
    "v1_1": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
}
NAMES = [f"{kind}_{size}" for kind in KINDS for size in SIZES]
SHARDED, TOKENIZER_JSON, SPIECE = NAMES[1], NAMES[2], NAMES[5]
TEXTS = [
    "Which of these is the largest?  Answer with a number: 3, 14 or 7.",
    "It is\nhalf past ten, or \u00bd to \ufb01ve.",
    "",
]


def build(name, seed):
    """A random T5 of transformers, well conditioned."""
    import torch
    import transformers

    kind, size = name[:4], name[5:]
    config = transformers.T5Config(
        **SIZES[size], **KINDS[kind], decoder_start_token_id=0
    )
    torch.manual_seed(seed)
    model = transformers.T5ForConditionalGeneration(config).eval()
    if kind == "v1_1":
        head = torch.randn(config.vocab_size, config.d_model)
        model.lm_head.weight = torch.nn.Parameter(head)
    with torch.no_grad():
        # Else every norm is 1, and could be taken for another.
        for weight_name, weight in model.named_parameters():
            if "norm" in weight_name:
                weight.uniform_(0.5, 1.5)
        if kind == "v1_0":
            # Else a tied embedding repeats its input for ever.
            model.decoder.final_layer_norm.weight.uniform_(-8, 8)
    return model


def inputs(rng, vocabulary_size):
    """Two rows, the first one longer than the last bias bucket."""
    encoder = rng.integers(2, vocabulary_size, (2, PREFIX_LENGTH))
    decoder = rng.integers(2, vocabulary_size, (2, TARGET_LENGTH))
    encoder[0, -1] = encoder[1, 32] = 1
    encoder[1, 33:] = 0
    decoder[:, 0] = 0
    return {
        "encoder_token_ids": encoder.astype("int32"),
        "decoder_token_ids": decoder.astype("int32"),
    }


def expected(model, x):
    """What transformers computes: logits, and 64 greedy tokens a row."""
    import torch

    encoder = torch.tensor(x["encoder_token_ids"], dtype=torch.long)
    mask = (encoder != 0).long()
    with torch.no_grad():
        logits = model(
            input_ids=encoder,
            attention_mask=mask,
            decoder_input_ids=torch.tensor(
                x["decoder_token_ids"], dtype=torch.long
            ),
        ).logits
        generated = model.generate(
            input_ids=encoder,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=NEW_TOKENS,
        )
    tokens = generated[:, 1:].numpy().astype("int32")
    return {"logits": logits.numpy(), "greedy": tokens}


def interesting(name, first_seed=0):
    """The first model that decodes 64 varied tokens for both rows."""
    for seed in range(first_seed, first_seed + 500):
        model = build(name, seed)
        rng = np.random.default_rng(seed)
        x = inputs(rng, model.config.vocab_size)
        result = expected(model, x)
        tokens = result["greedy"]
        if (
            tokens.shape[1] == NEW_TOKENS
            and not (tokens == 1).any()
            and min(len(set(row)) for row in tokens) >= 8
            and min(len(set(row[-8:])) for row in tokens) > 1
        ):
            return model, {**x, **result}
    raise RuntimeError(f"{name}: no seed gives varied tokens")


def sentencepiece_model(size):
    """A unigram model with a small character map, as T5's has a large one."""
    import tempfile

    import sentencepiece

    text = Path(__file__).parents[2] / "CONTRIBUTING.md"
    rules = {"\u00bd": "1/2", "\ufb01": "fi", "\n": " "}
    output = io.BytesIO()
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as tsv:
        for source, target in rules.items():
            tsv.write(
                " ".join(f"{ord(c):X}" for c in source)
                + "\t"
                + " ".join(f"{ord(c):X}" for c in target)
                + "\n"
            )
        tsv.flush()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(text.read_text("utf-8").split("\n")),
            model_writer=output,
            vocab_size=size,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            normalization_rule_tsv=tsv.name,
            num_threads=1,
            minloglevel=2,
        )
    return output.getvalue()


def main():
    """Writes every folder anew."""
    import torch
    import transformers

    torch.set_num_threads(1)
    shutil.rmtree(FOLDER, ignore_errors=True)
    for name in NAMES:
        folder = FOLDER / name
        model, values = interesting(name)
        shard = "64KB" if name == SHARDED else "1GB"
        model.save_pretrained(folder, max_shard_size=shard)
        if name in (TOKENIZER_JSON, SPIECE):
            (folder / "spiece.model").write_bytes(sentencepiece_model(150))
            tokenizer = transformers.T5Tokenizer.from_pretrained(folder)
            ids = [tokenizer(text).input_ids for text in TEXTS]
            values["text_ids"] = np.concatenate(ids).astype("int32")
            if name == TOKENIZER_JSON:
                tokenizer.save_pretrained(folder)
                (folder / "spiece.model").unlink()
        np.savez_compressed(folder / "expected.npz", **values)
        print(name, values["greedy"][0][:16])


if __name__ == "__main__":
    main()
