"""The type of a tensor, in annotations."""

from typing import Any, TypeAlias

# A tensor as `keras.ops` takes and returns it: of JAX, TensorFlow or PyTorch,
# symbolic while a model is built, or a NumPy array. No backend's class covers
# them all, so the docstrings give shape and dtype.
Tensor: TypeAlias = Any
