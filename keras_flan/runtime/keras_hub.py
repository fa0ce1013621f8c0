"""keras-hub, after TensorFlow, which it imports, has started quietly.

Who needs it imports `keras_hub` from here.
"""

from keras_flan.runtime.tensorflow import tf

tf()

import keras_hub  # noqa: E402

__all__ = ["keras_hub"]
