import numpy as np
import pytest

from keras_flan.errors import InputError
from keras_flan.generation.likelihood import log_likelihoods
from tests.conftest import LetterVocabulary

# Each forward pass by hand compiles for its own lengths.
pytestmark = pytest.mark.slow

PROMPTS = [
    "is fire hot?",
    "which of the two is the longer one, a or b, and why is that so?",
]
CHOICES = [["yes", "no"], ["a", "b", "neither of them"]]


def by_hand(logits, targets):
    """Sum of log softmax at the targets; float64."""
    logits = np.asarray(logits, "float64")
    logits -= logits.max(-1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return sum(row[t] for row, t in zip(log_p, targets, strict=True))


def test_a_t5_scores_as_its_forward_pass(tiny_t5):
    vocabulary = tiny_t5.vocabulary
    found = log_likelihoods(tiny_t5, PROMPTS, CHOICES)
    for prompt, choices, scores in zip(PROMPTS, CHOICES, found, strict=True):
        read = [*vocabulary.encode(prompt), vocabulary.eos_id]
        for choice, score in zip(choices, scores, strict=True):
            target = [*vocabulary.encode(choice), vocabulary.eos_id]
            logits = tiny_t5(
                {
                    "encoder_token_ids": np.array([read]),
                    "encoder_padding_mask": np.ones((1, len(read)), int),
                    "decoder_token_ids": np.array([[0, *target[:-1]]]),
                    "decoder_padding_mask": np.ones((1, len(target)), int),
                }
            )
            assert score.token_count == len(target)
            assert score.log_probability == pytest.approx(
                by_hand(logits[0], target), abs=1e-3
            )


@pytest.fixture(scope="module")
def causal():
    import keras

    from keras_flan.models import DecoderOnly, PaLMBackbone

    keras.utils.set_random_seed(0)
    backbone = PaLMBackbone(
        vocabulary_size=64,
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        head_dim=8,
        intermediate_dim=32,
    )
    return DecoderOnly(backbone, vocabulary=LetterVocabulary(), separate=False)


def test_a_decoder_only_model_scores_as_its_forward_pass(causal):
    vocabulary = causal.vocabulary
    choices = [[f" {c}" for c in of_prompt] for of_prompt in CHOICES]
    found = log_likelihoods(causal, PROMPTS, choices)
    for prompt, of_prompt, scores in zip(PROMPTS, choices, found, strict=True):
        read = vocabulary.encode(prompt)
        for choice, score in zip(of_prompt, scores, strict=True):
            target = vocabulary.encode(choice)
            ids = np.array([[*read, *target]])
            logits = causal(
                {"token_ids": ids, "padding_mask": np.ones_like(ids)}
            )
            made = by_hand(logits[0][len(read) - 1 : -1], target)
            assert score.token_count == len(target)
            assert score.log_probability == pytest.approx(made, abs=1e-3)


def test_a_model_that_separates_ends_its_targets(causal):
    ending = type(causal)(
        causal.backbone, vocabulary=causal.vocabulary, separate=True
    )
    [[score]] = log_likelihoods(ending, ["is fire hot?"], [["yes"]])
    read = [*ending.vocabulary.encode("is fire hot?"), 1]
    target = [*ending.vocabulary.encode("yes"), 1]
    ids = np.array([[*read, *target]])
    logits = ending({"token_ids": ids, "padding_mask": np.ones_like(ids)})
    assert score.token_count == 4
    assert score.log_probability == pytest.approx(
        by_hand(logits[0][len(read) - 1 : -1], target), abs=1e-3
    )


def test_scores_do_not_depend_on_company(tiny_t5):
    [alone] = log_likelihoods(tiny_t5, PROMPTS[:1], CHOICES[:1])
    among = log_likelihoods(tiny_t5, PROMPTS, CHOICES)[0]
    for one, other in zip(alone, among, strict=True):
        assert one.log_probability == pytest.approx(
            other.log_probability, abs=1e-4
        )


def test_what_can_not_be_scored(tiny_t5):
    with pytest.raises(InputError, match="with a vocabulary"):
        log_likelihoods(object(), PROMPTS, CHOICES)
    with pytest.raises(InputError, match=r"continuation ' ' of prompt 0"):
        log_likelihoods(make_causal_free(), ["a"], [[" "]])


def make_causal_free():
    """A T5 counts the end token, so any target has a token: a causal one."""
    import keras

    from keras_flan.models import DecoderOnly, PaLMBackbone

    class Blank(LetterVocabulary):
        def encode(self, text):
            return super().encode(text.strip())

    keras.utils.set_random_seed(0)
    backbone = PaLMBackbone(
        vocabulary_size=64,
        num_layers=1,
        num_heads=1,
        hidden_dim=8,
        head_dim=8,
        intermediate_dim=8,
    )
    return DecoderOnly(backbone, vocabulary=Blank(), separate=False)
