"""How prompts are grouped into few compiled programs."""

import pytest

from keras_flan.generation import compilations, generate
from keras_flan.generation.decoding import _groups
from tests.conftest import make_t5


@pytest.mark.parametrize(
    ("lengths", "most", "expected"),
    [
        ([], 4, []),
        ([3], 4, [(64, [0])]),
        # A full group stands alone, and too few join the next longer ones.
        ([70, 3, 4], 2, [(64, [1, 2]), (128, [0])]),
        ([70, 3, 4], 4, [(128, [1, 2, 0])]),
        ([3, 200, 70], 4, [(256, [0, 2, 1])]),
        # Not those that are far longer: reading would cost more.
        ([3, 300], 4, [(64, [0]), (512, [1])]),
        ([3, 200, 300], 8, [(256, [0, 1]), (512, [2])]),
    ],
)
def test_short_prompts_join_longer_ones(lengths, most, expected):
    prompts = [[1] * length for length in lengths]
    assert list(_groups(prompts, most)) == expected


def test_a_full_program_serves_what_is_left():
    model = make_t5(seed=5)
    settings = dict(max_new_tokens=4, batch_paths=4)
    whole = generate(model, list("abcde"), **settings)
    [bucket] = compilations(model)
    assert bucket.slots == 4
    again = generate(model, ["e"], **settings)
    assert list(compilations(model)) == [bucket]
    assert again[0][0].token_ids == whole[4][0].token_ids
