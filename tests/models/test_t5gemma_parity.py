"""T5Gemma against transformers, with random weights."""

import numpy as np
import pytest

from keras_flan.generation import generate
from keras_flan.models import T5Gemma, load, to_huggingface
from tests.conftest import LetterVocabulary
from tests.models.decoders import forward
from tests.models.test_t5gemma import batch

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

NEW = 8
PROMPTS = ["what is the time?", "a", "the quick brown fox"]


def make_theirs():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    side = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "query_pre_attn_scalar": 11,
        "sliding_window": 4,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": 2,
    }
    config = transformers.T5GemmaConfig(
        encoder=side,
        decoder={**side, "hidden_size": 24, "cross_attention_hidden_size": 32},
        vocab_size=64,
        attn_implementation="eager",
    )
    model = transformers.T5GemmaForConditionalGeneration(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.2)
    return model.eval()


def logits_of(theirs, x):
    x = {name: torch.tensor(value) for name, value in x.items()}
    with torch.no_grad():
        return theirs(
            input_ids=x["encoder_token_ids"],
            attention_mask=x["encoder_padding_mask"],
            decoder_input_ids=x["decoder_token_ids"],
            decoder_attention_mask=x["decoder_padding_mask"],
        ).logits.numpy()


def greedy(theirs, ids):
    with torch.no_grad():
        return theirs.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones((1, len(ids)), dtype=torch.int64),
            max_new_tokens=NEW,
            do_sample=False,
            decoder_start_token_id=2,
            eos_token_id=1,
            pad_token_id=0,
        )[0, 1:].tolist()


def test_reads_decodes_and_writes_as_transformers(tmp_path):
    theirs = make_theirs()
    theirs.save_pretrained(tmp_path / "in")
    ours = load(tmp_path / "in")
    assert isinstance(ours, T5Gemma)
    x = batch()
    real = x["decoder_padding_mask"] > 0
    expected = logits_of(theirs, x)[real]
    np.testing.assert_allclose(
        forward(ours, x)[real], expected, rtol=1e-4, atol=1e-4
    )
    letters = ours.vocabulary = LetterVocabulary()
    for separate in (False, True):
        ours.separate = separate
        paths = generate(ours, PROMPTS, max_new_tokens=NEW)
        for prompt, [path] in zip(PROMPTS, paths, strict=True):
            ids = [*letters.encode(prompt), *([1] if separate else [])]
            found = path.token_ids + [1] * path.finished
            assert found == greedy(theirs, ids)
    ours.vocabulary = None
    to_huggingface(ours, tmp_path / "out")
    again, told = transformers.T5GemmaForConditionalGeneration.from_pretrained(
        tmp_path / "out", output_loading_info=True, attn_implementation="eager"
    )
    assert not any(told.values())
    np.testing.assert_array_equal(logits_of(again.eval(), x)[real], expected)
