"""Decoder-only families against transformers, on models made on the spot."""

import keras_hub
import numpy as np
import pytest
from safetensors.numpy import load_file

from keras_flan.data import HubVocabulary
from keras_flan.generation import generate
from keras_flan.models import (
    DecoderOnly,
    add_dora,
    add_ia3,
    add_lora,
    from_peft,
    load,
    to_huggingface,
    to_peft,
)
from keras_flan.models.adapters.base import adapter_of
from tests.conftest import LetterVocabulary
from tests.data import chats
from tests.models.decoders import FAMILIES, forward, make_hub, numpy, unpacked

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

PROMPTS = ["what is the time?", "a", "the quick brown fox"]
NEW = 10
NAMES = [name for name in FAMILIES if name != "palm"]


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def loaded(folder):
    model, told = transformers.AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True, attn_implementation="eager"
    )
    assert not any(told.values())
    return model.eval()


def logits_of(theirs, x):
    with torch.no_grad():
        return theirs(
            torch.tensor(x["token_ids"]),
            attention_mask=torch.tensor(x["padding_mask"]),
        ).logits.numpy()


def alike(theirs, ours, x):
    real = x["padding_mask"] > 0
    expected = forward(ours, x)[real]
    np.testing.assert_allclose(
        logits_of(theirs, x)[real], expected, rtol=1e-4, atol=1e-4
    )


def greedy(theirs, ids):
    with torch.no_grad():
        return theirs.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones((1, len(ids)), dtype=torch.int64),
            max_new_tokens=NEW,
            do_sample=False,
            eos_token_id=1,
            pad_token_id=0,
        )[0, len(ids) :].tolist()


@pytest.mark.parametrize("family", NAMES)
def test_an_exported_model_is_the_same(family, tmp_path):
    ours = DecoderOnly(make_hub(family, seed=1), LetterVocabulary())
    ours.vocabulary = None
    to_huggingface(ours, tmp_path / "out", shard_bytes=30_000)
    theirs = loaded(tmp_path / "out")
    x = unpacked(np.random.default_rng(0))
    alike(theirs, ours, x)
    letters = ours.vocabulary = LetterVocabulary()
    paths = generate(ours, PROMPTS, max_new_tokens=NEW)
    for prompt, [path] in zip(PROMPTS, paths, strict=True):
        expected = greedy(theirs, [*letters.encode(prompt), 1])
        assert path.token_ids + [1] * path.finished == expected
    # What it writes is ours again.
    theirs.save_pretrained(tmp_path / "theirs")
    for folder in ("out", "theirs"):
        again = load(tmp_path / folder)
        assert again.vocabulary is None
        np.testing.assert_allclose(
            forward(again, x), forward(ours, x), rtol=1e-5, atol=1e-5
        )


def small_bpe():
    """The same texts by SentencePiece's BPE, as Gemma's and Llama 2's are."""
    import io

    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(chats.TEXT * 3),
        model_writer=model,
        model_type="bpe",
        vocab_size=360,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        bos_piece="<bos>",
        eos_piece="<eos>",
        user_defined_symbols=["\n", "\u2581\u2581", "<start_of_turn>"],
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return HubVocabulary(keras_hub.models.GemmaTokenizer(model.getvalue()))


@pytest.mark.parametrize(
    ("tokens", "family"),
    [
        ("chatml", "qwen"),
        ("chatml", "qwen3_moe"),
        ("smollm3", "smollm3"),
        ("llama3", "llama3"),
        ("gemma", "gemma3"),
        ("mistral", "mistral"),
        ("bpe", "gemma"),
    ],
)
@pytest.mark.parametrize("separate", [True, False])
def test_an_exported_tokenizer_gives_the_same_ids(
    tokens, family, separate, tmp_path
):
    vocabulary = small_bpe() if tokens == "bpe" else chats.vocabulary(tokens)
    chat = "chatml" if tokens in ("chatml", "smollm3") else None
    ours = DecoderOnly(
        make_hub(family, vocabulary_size=500),
        vocabulary,
        separate=separate,
        chat=chat,
    )
    to_huggingface(ours, tmp_path / "out")
    # AutoTokenizer would split as the published Qwens do.
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(
        tmp_path / "out"
    )
    rng = np.random.default_rng(0)
    letters = list("abc dE\n\t\u00e9\u00bd\ufb01\u65e5 1 2.,'s")
    texts = ["", " ", "  a  b ", *chats.TEXT]
    texts += ["".join(rng.choice(letters, 20)) for _ in range(200)]
    if tokens == "mistral":  # A blank in front is not told from its own.
        texts = [text.lstrip() for text in texts]
    for text in texts:
        ids = vocabulary.encode(text)
        assert theirs.encode(text, add_special_tokens=False) == ids, text
        if ids:
            framed = ours.decoding.frame(ids, 1000)
            assert theirs.encode(text) == framed
            kept = vocabulary.decode(ids)
            assert theirs.decode(ids, skip_special_tokens=True) == kept
    assert theirs.eos_token_id == vocabulary.eos_id
    again = load(tmp_path / "out")
    assert again.separate == separate
    assert again.vocabulary.bos_id == vocabulary.bos_id
    assert again.vocabulary.encode_batch(texts) == vocabulary.encode_batch(
        texts
    )
    generation = theirs_config(tmp_path / "out")
    if chat:
        end = vocabulary.token_id("<|im_end|>")
        assert generation.eos_token_id == [vocabulary.eos_id, end]
        assert theirs.encode("<|im_end|>")[0] == end


def theirs_config(folder):
    return transformers.GenerationConfig.from_pretrained(folder)


def stirred(model, seed=3):
    """Gives an adapter that changes something."""
    rng = np.random.default_rng(seed)
    for variable in adapter_of(model).state().values():
        noise = rng.normal(scale=0.2, size=variable.shape)
        variable.assign(numpy(variable) + noise.astype("float32"))


@pytest.mark.parametrize("family", ["qwen", "smollm3", "gemma3"])
@pytest.mark.parametrize("targets", ["default", ["0.feedforward.*", "key"]])
def test_peft_computes_the_same_with_an_exported_adapter(
    family, targets, tmp_path
):
    peft = pytest.importorskip("peft")
    ours = DecoderOnly(make_hub(family, seed=2))
    to_huggingface(ours, tmp_path / "base")
    add_lora(ours, rank=3, alpha=5, targets=targets)
    stirred(ours)
    to_peft(ours, tmp_path / "adapter", base=str(tmp_path / "base"))
    x = unpacked(np.random.default_rng(3))
    base = loaded(tmp_path / "base")
    before = logits_of(base, x)
    theirs = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter")
    alike(theirs.eval(), ours, x)
    assert np.abs(before - logits_of(theirs, x)).max() > 1e-2
    # And merged.
    to_huggingface(ours, tmp_path / "merged")
    alike(loaded(tmp_path / "merged"), ours, x)


@pytest.mark.parametrize("family", ["qwen", "gemma3"])
@pytest.mark.parametrize(
    ("add", "settings"),
    [
        (add_lora, {"rank": 3, "alpha": 5, "targets": "all"}),
        (add_dora, {"rank": 3, "alpha": 5, "targets": "all"}),
        (add_ia3, {}),
        (add_ia3, {"targets": "all"}),
    ],
)
def test_gradients_are_those_of_peft(family, add, settings, tmp_path):
    """To 1e-5, and what peft writes is read to the bit."""
    peft = pytest.importorskip("peft")
    ours = DecoderOnly(make_hub(family, seed=2))
    to_huggingface(ours, tmp_path / "base")
    add(ours, **settings)
    stirred(ours)
    to_peft(ours, tmp_path / "adapter", base=str(tmp_path / "base"))
    theirs = peft.AutoPeftModelForCausalLM.from_pretrained(
        tmp_path / "adapter", is_trainable=True
    ).eval()
    x = unpacked(np.random.default_rng(3))
    alike(theirs, ours, x)
    theirs_by_name = gradients_of(theirs, x)
    # Our gradients take the way of our values through the files.
    values = [numpy(v) for v in ours.trainable_variables]
    for variable, value in zip(
        ours.trainable_variables, our_gradients(ours, x), strict=True
    ):
        variable.assign(value)
    to_peft(ours, tmp_path / "gradients")
    found = load_file(tmp_path / "gradients" / "adapter_model.safetensors")
    assert set(found) == set(theirs_by_name)
    for name, gradient in found.items():
        wanted = theirs_by_name[name]
        assert np.abs(wanted).max() > 0
        np.testing.assert_allclose(
            gradient, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max()
        )
    theirs.save_pretrained(tmp_path / "again")
    again = DecoderOnly(make_hub(family, seed=2))
    from_peft(again, tmp_path / "again")
    for variable, value in zip(again.trainable_variables, values, strict=True):
        np.testing.assert_array_equal(numpy(variable), value)


def gradients_of(theirs, x):
    """The gradients of a sum of squares in torch, by the names in files."""
    mask = torch.tensor(x["padding_mask"])
    logits = theirs(
        input_ids=torch.tensor(x["token_ids"]), attention_mask=mask
    ).logits
    (logits.square() * mask[..., None]).mean().backward()
    return {
        name.replace(".default", "").replace(
            "magnitude_vector.weight", "magnitude_vector"
        ): p.grad.numpy()
        for name, p in theirs.named_parameters()
        if p.grad is not None
    }


def our_gradients(ours, x):
    import jax
    from jax import numpy as jnp

    mask = jnp.asarray(x["padding_mask"])[..., None]

    def loss(values):
        logits, _ = ours.stateless_call(
            values, [v.value for v in ours.non_trainable_variables], x
        )
        return (jnp.square(logits) * mask).mean()

    return jax.grad(loss)([v.value for v in ours.trainable_variables])
