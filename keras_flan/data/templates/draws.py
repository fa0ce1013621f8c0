"""Random numbers that depend on their arguments alone.

Python, NumPy and TensorFlow give the same ones, so that a prompt previewed in
Python is the prompt that the input pipeline makes.
"""

import numpy as np

from keras_flan.runtime.tensorflow import tf
from keras_flan.tensors import Tensor

_MASK = (1 << 64) - 1
# The increment and the multipliers of SplitMix64: Steele, Lea and Flood,
# "Fast splittable pseudorandom number generators" (OOPSLA 2014).
STEP = 0x9E3779B97F4A7C15
MULTIPLIERS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
LAST_SHIFT = 31


def choose(count: int, *parts: int) -> int:
    """Returns a number in [0, count), drawn evenly by integers.

    Example:
        >>> choose(10, 7, 0) == choose(10, 7, 0)
        True
    """
    state = 0
    for part in parts:
        state = ((state ^ (part & _MASK)) + STEP) & _MASK
        for shift, multiplier in MULTIPLIERS:
            state = ((state ^ (state >> shift)) * multiplier) & _MASK
        state ^= state >> LAST_SHIFT
    return state % count


def mix(*parts: int | np.ndarray) -> np.ndarray:
    """Returns numbers in [0, 2**64), drawn evenly by integers; uint64.

    The parts' shapes broadcast.

    Example:
        >>> int(mix(7, 0) % 10) == choose(10, 7, 0)
        True
    """
    state = np.zeros([], np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:
            if isinstance(part, int):
                part = np.array(part & _MASK, np.uint64)
            state = (state ^ part.astype(np.uint64)) + np.uint64(STEP)
            for shift, multiplier in MULTIPLIERS:
                state = state ^ (state >> np.uint64(shift))
                state = state * np.uint64(multiplier)
            state = state ^ (state >> np.uint64(LAST_SHIFT))
    return state


def choose_tf(count: int | Tensor, *parts: int | Tensor) -> Tensor:
    """Returns what `choose` returns, int32; int64 parts' shapes broadcast."""
    tf_ = tf()

    def number(value: int | Tensor) -> Tensor:
        if isinstance(value, int):
            return tf_.constant(value & _MASK, tf_.uint64)
        return tf_.cast(value, tf_.uint64)

    def mixed(state: Tensor, shift: int) -> Tensor:
        shifted = tf_.bitwise.right_shift(state, number(shift))
        return tf_.bitwise.bitwise_xor(state, shifted)

    state = number(0)
    for part in parts:
        part = number(part)
        shape = tf_.broadcast_dynamic_shape(tf_.shape(state), tf_.shape(part))
        state = tf_.bitwise.bitwise_xor(
            tf_.broadcast_to(state, shape), tf_.broadcast_to(part, shape)
        ) + number(STEP)
        for shift, multiplier in MULTIPLIERS:
            state = mixed(state, shift) * number(multiplier)
        state = mixed(state, LAST_SHIFT)
    return tf_.cast(tf_.math.floormod(state, number(count)), tf_.int32)
