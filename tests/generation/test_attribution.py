"""What tokens add to an answer: gradients are those of the log-odds."""

import numpy as np
import pytest
from keras import ops

from keras_flan.generation import attribution
from keras_flan.models import DecoderOnly
from tests.conftest import LetterVocabulary
from tests.models.decoders import make_hub

PROMPT, REASONING = "is fire hot?", "it is hot. "
TEXTS = [REASONING + text for text in ("yes", "no", "maybe so")]


def log_odds(model, scales):
    decoding, vocabulary = model.decoding, model.vocabulary
    end = [vocabulary.eos_id] * decoding.ends_targets
    targets = [[*ids, *end] for ids in vocabulary.encode_batch(TEXTS)]
    framed = decoding.frame(vocabulary.encode(PROMPT), 99)
    rows = attribution._rows(decoding, framed, targets)
    each = np.ones(rows.mask[:, 0].shape, "float32")
    each[:, : len(scales)] = scales
    scores = ops.convert_to_numpy(decoding.score(rows, each))[:3, 0]
    return scores[0] - np.logaddexp(scores[1], scores[2])


@pytest.fixture(params=["t5", "llama"])
def model(request, tiny_t5):
    if request.param == "t5":
        return tiny_t5
    return DecoderOnly(make_hub("llama"), LetterVocabulary())


def test_gradients_are_those_of_the_log_odds(model):
    found = attribution.token_attributions(model, PROMPT, REASONING, TEXTS)
    assert len(found) > 1
    # Against scaling each token's embedding a little up and down.
    for place in range(1, len(found), 7):
        change = np.zeros(len(found), "float32")
        change[place] = 2e-2
        slope = (log_odds(model, 1 + change) - log_odds(model, 1 - change)) / (
            2 * change[place]
        )
        assert found[place] == pytest.approx(slope, abs=3e-3, rel=0.05)
