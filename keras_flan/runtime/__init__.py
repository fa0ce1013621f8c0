"""What is set in the process: memory, XLA's flags and products, TensorFlow.

`prepare_process` sets what speed needs, where the user has set nothing; an
import sets nothing. Imports no other room.
"""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__, {"bfloat16_products": ".products", "prepare_process": ".start"}
)
