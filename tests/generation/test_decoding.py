"""How prompts are grouped into few compiled programs."""

import jax
import keras
import pytest

from keras_flan.generation import (
    buckets,
    compilations,
    decoding,
    generate,
    rounds,
)
from keras_flan.generation.buckets import groups
from keras_flan.generation.engine import stream
from keras_flan.generation.rounds import _zeros
from keras_flan.models.programs import forget_programs
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
    assert list(groups(prompts, most)) == expected


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


@pytest.mark.skipif(
    keras.backend.backend() != "jax" or jax.device_count() > 1,
    reason="where JAX has a CPU, one core does most of a program",
)
def test_programs_side_by_side_make_what_one_makes(monkeypatch):
    """The same paths, in the same order every time; one compilation."""
    model = make_t5(seed=7)
    prompts = [f"question {n}" for n in range(12)]
    settings = dict(
        samples=3, temperature=1.0, max_new_tokens=12, batch_paths=12
    )
    alone = generate(model, prompts, **settings)
    monkeypatch.setattr(decoding, "_CREW_PATHS", 6)
    monkeypatch.setattr(decoding.os, "cpu_count", lambda: 2)
    forget_programs(model)
    orders = []
    for _ in range(2):
        found = list(stream(model, prompts, **settings))
        texts = {(row, number): path.text for row, number, path in found}
        assert texts == {
            (row, number): path.text
            for row, paths in enumerate(alone)
            for number, path in enumerate(paths)
        }
        orders.append([(row, number) for row, number, _ in found])
    assert orders[0] == orders[1]
    assert list(compilations(model).values()) == [1]


def test_a_program_with_room_is_used_before_one_is_compiled(monkeypatch):
    def found(slots, places, most=64):
        wanted = rounds.Bucket(slots, 8, places, 32)
        return buckets.compiled_bucket(None, wanted, most)

    large = rounds.Bucket(16, 8, 128, 32)
    monkeypatch.setattr(buckets, "programs", lambda _: {large: None})
    assert found(4, 64) == found(16, 128) == large
    for slots, places, most in [(1, 128, 64), (4, 32, 64), (4, 256, 64)]:
        assert found(slots, places, most) != large
    # More paths at a time than the caller has room for.
    assert found(4, 64, most=8) != large
