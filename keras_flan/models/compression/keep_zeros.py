"""Weights that training leaves at 0."""

import keras
import numpy as np
from keras import ops

from keras_flan.tensors import Tensor


class KeepZeros(keras.constraints.Constraint):
    """Makes the weights 0 that a mask leaves out, after each step.

    Args:
        mask: bool, in the shape of the weights.
    """

    def __init__(self, mask: np.ndarray):
        self.mask = mask

    def __call__(self, w: Tensor) -> Tensor:
        w = ops.convert_to_tensor(w)
        return ops.where(self.mask, w, ops.zeros_like(w))
