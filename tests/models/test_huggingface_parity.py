"""T5 against transformers in the same run, on models made on the spot."""

import keras
import numpy as np
import pytest

from keras_flan.generation import generate
from keras_flan.models import T5, from_huggingface, to_huggingface
from tests.golden import make_t5
from tests.models.test_huggingface import Numbers, four_inputs, tensors

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


@pytest.mark.parametrize("name", make_t5.NAMES)
def test_t5(name, tmp_path):
    # Two threads are slower on matrices as small as these.
    torch.set_num_threads(1)
    theirs, values = make_t5.interesting(name, first_seed=1000)
    theirs.save_pretrained(tmp_path / "in", max_shard_size="40KB")
    ours = from_huggingface(tmp_path / "in")
    logits = keras.ops.convert_to_numpy(ours(four_inputs(values)))
    np.testing.assert_allclose(logits, values["logits"], rtol=0, atol=2e-4)

    prompts = [
        " ".join(str(i) for i in row if i > 1)
        for row in values["encoder_token_ids"]
    ]
    paths = generate(
        T5(ours.backbone, vocabulary=Numbers()),
        prompts,
        max_new_tokens=make_t5.NEW_TOKENS,
    )
    assert [path.token_ids for [path] in paths] == values["greedy"].tolist()

    to_huggingface(ours, tmp_path / "out", shard_bytes=30_000)
    assert tensors(tmp_path / "out") == tensors(tmp_path / "in")
    again, loading = transformers.T5ForConditionalGeneration.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not any(loading.values())
    result = make_t5.expected(again.eval(), values)
    np.testing.assert_array_equal(result["logits"], values["logits"])
    np.testing.assert_array_equal(result["greedy"], values["greedy"])


def test_exported_tokenizer(tmp_path):
    """transformers reads the same ids as SentencePiece, also for ours."""
    from keras_flan.data.vocabularies.sentencepiece import Vocabulary
    from keras_flan.data.vocabularies.training import train_vocabulary

    text = (make_t5.FOLDER.parent / "make_t5.py").read_text()
    train_vocabulary(text.split("\n\n"), 400, tmp_path / "ours.model")
    like_t5 = make_t5.sentencepiece_model(150)
    rng = np.random.default_rng(0)
    letters = list("abc dE\n\t\u00e9\u00bd\ufb01\u65e5 1 2.,")
    texts = ["", " ", "  a  b ", text[:2000]]
    texts += ["".join(rng.choice(letters, 20)) for _ in range(200)]
    for proto in (like_t5, (tmp_path / "ours.model").read_bytes()):
        vocabulary = Vocabulary(proto)
        model = T5.from_config_values(
            vocabulary_size=vocabulary.size + 128,
            num_layers=1,
            num_heads=1,
            hidden_dim=8,
            intermediate_dim=8,
            vocabulary=vocabulary,
        )
        to_huggingface(model, tmp_path / "m")
        tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "m")
        assert len(tokenizer) == vocabulary.size + 100
        last = tokenizer.convert_tokens_to_ids("<extra_id_0>")
        assert last == vocabulary.size + 99
        for text in texts:
            ids = vocabulary.encode(text)
            assert tokenizer(text).input_ids == [*ids, 1], text
            if vocabulary.unk_id not in ids:
                assert tokenizer.decode(ids) == vocabulary.decode(ids)
