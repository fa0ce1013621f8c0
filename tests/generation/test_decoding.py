"""How prompts are grouped into few compiled programs."""

import jax
import keras
import pytest

from keras_flan.generation import compilations, generate, rounds
from keras_flan.generation.decoding import _groups
from keras_flan.generation.rounds import _zeros
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


@pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="JAX alone compiles ahead"
)
def test_compiles_once_and_before_there_are_caches(monkeypatch):
    """Both need memory: the peak is lower if one follows the other."""
    happened = []

    def compiled(event, _seconds, fun_name="", **_rest):
        if event.endswith("backend_compile_duration") and "(run)" in fun_name:
            happened.append("compiled")

    def zeros(*arguments):
        happened.append("caches")
        return _zeros(*arguments)

    monkeypatch.setattr(rounds, "_zeros", zeros)
    model = make_t5(seed=6)
    jax.monitoring.register_event_duration_secs_listener(compiled)
    try:
        generate(model, ["a"], samples=2, temperature=0.5, max_new_tokens=4)
    finally:
        jax.monitoring.unregister_event_duration_listener(compiled)
    assert happened[0] == "compiled"
    assert set(happened[1:]) == {"caches"}
