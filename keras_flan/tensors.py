"""The types of tensors, in annotations."""

from typing import Any, TypeAlias

# A tensor as `keras.ops` takes and returns it: of JAX, TensorFlow or PyTorch,
# symbolic while a model is built, or a NumPy array. No backend's class covers
# them all, so the docstrings give shape and dtype.
Tensor: TypeAlias = Any
# A `tf.RaggedTensor` and a `tf.data.Dataset`: TensorFlow has no types, and must
# not be imported for an annotation.
Ragged: TypeAlias = Any
Dataset: TypeAlias = Any
# By name: the inputs of a model, the weights of a layer.
Tensors: TypeAlias = dict[str, Any]
