"""Attention of paths to a prompt and to what each of them has said."""

import keras
import numpy as np
import pytest
from keras import tree
from keras.ops import convert_to_numpy, convert_to_tensor, take

from keras_flan.models import path_attention
from keras_flan.models.path_attention import (
    attend_paths,
    block_length,
    cache_shapes,
    turn,
    write_past,
)

SLOTS, LANES, KEY_HEADS, GROUP, WIDTH, PROMPT = 2, 3, 2, 2, 4, 5


def plain(query, pairs, bias):
    """Attention of one query to keys and values, one after the other."""
    keys, values = (np.stack(part) for part in zip(*pairs, strict=True))
    scores = keys @ query + bias
    weights = np.exp(scores - scores.max())
    return weights @ values / weights.sum()


@pytest.mark.parametrize("behind_a_prompt", [True, False])
@pytest.mark.parametrize(("length", "blocks"), [(2, 1), (8, 4)])
def test_a_path_sees_its_prompt_and_its_own_past(
    monkeypatch, length, blocks, behind_a_prompt
):
    """Paths that begin at any time, while the ring turns several times.

    `behind_a_prompt` is how decoder-only models do it: the new token is not
    in the ring yet.
    """
    monkeypatch.setattr(path_attention, "_SHORTEST_BLOCK", 2)
    rng = np.random.default_rng(0)
    bias = rng.normal(size=length + PROMPT).astype("f")
    key = (1, KEY_HEADS, WIDTH, PROMPT)
    value = (1, KEY_HEADS, PROMPT, WIDTH)
    shapes = cache_shapes((key, value), SLOTS, LANES, length)
    assert len(shapes["past"]) == blocks
    # What was never written may be anything.
    past = [
        tuple(rng.normal(size=shape).astype("f") for shape in pair)
        for pair in shapes["past"]
    ]
    keys, values = (rng.normal(size=s).astype("f") for s in shapes["memory"])
    seen = rng.integers(1, PROMPT + 1, SLOTS).astype("int32")

    prompt = tuple(map(convert_to_tensor, (keys, values, seen)))

    def step(given):
        query, past, new, ages, clock = tree.map_structure(
            convert_to_tensor, given
        )
        written = write_past(past[0], new, clock)
        made = attend_paths(
            query,
            past if behind_a_prompt else [written, *past[1:]],
            ages,
            clock,
            adjust=lambda scores, distance: scores + take(bias, distance),
            prompt=prompt if behind_a_prompt else None,
            new=new if behind_a_prompt else None,
        )
        return made, written

    if keras.backend.backend() == "jax":
        import jax

        step = jax.jit(step)
    ages = np.zeros((SLOTS, LANES), "int32")
    said = [[[] for _ in range(LANES)] for _ in range(SLOTS)]
    for clock in map(np.int32, range(3 * length)):
        if clock % block_length(length) == 0:
            past = turn(past)
        for slot, lane in np.argwhere(
            (rng.random(ages.shape) < 0.2) | (ages == length)
        ):
            ages[slot, lane], said[slot][lane] = 0, []
        shape = (SLOTS, LANES, KEY_HEADS * GROUP, WIDTH)
        query = rng.normal(size=shape).astype("f")
        new = rng.normal(size=(2, SLOTS, LANES, KEY_HEADS, WIDTH)).astype("f")
        made, written = step((query, past, tuple(new), ages, clock))
        past = [tuple(map(convert_to_numpy, written)), *past[1:]]
        for slot, lane, head in np.ndindex(*shape[:3]):
            own = said[slot][lane]
            if head == 0:
                own.append(new[:, slot, lane])
            of = head // GROUP
            pairs = [tuple(pair[:, of]) for pair in own]
            if behind_a_prompt:
                memory = (keys[slot, of].T, values[slot, of])
                before = zip(*(m[: seen[slot]] for m in memory), strict=True)
                pairs = [*before, *pairs]
            expected = plain(
                query[slot, lane, head], pairs, bias[: len(pairs)][::-1]
            )
            np.testing.assert_allclose(
                convert_to_numpy(made)[slot, lane, head], expected, atol=1e-5
            )
        ages += 1


def test_prompts_are_read_as_they_lie():
    """To turn all keys at each step took a quarter of the time."""
    if keras.backend.backend() != "jax":
        pytest.skip("reads JAX's compiled program")
    import jax

    slots, places, width = 64, 128, 32
    query = np.ones((slots, 1, 1, 4, width), "float32")
    keys = np.ones((slots, 1, width, places), "float32")
    lowered = jax.jit(path_attention._by_prompt).lower(query, keys)
    program = lowered.compile().as_text()
    assert f"[{slots},{places},{width}]" not in program
