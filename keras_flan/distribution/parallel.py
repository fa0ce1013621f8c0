"""Keras's `ModelParallel`, with layouts that look at shapes."""

import keras

from keras_flan.distribution.layouts import Layouts
from keras_flan.errors import InputError


class ModelParallel(keras.distribution.ModelParallel):
    """A distribution by `Layouts`, looked up as the weights are made.

    Keras looks up a layout by the path alone. This class also shows it the
    shape, so that a family's layouts are checked against each weight, and
    LoRA weights find the weight that they are for.

    Args:
        layouts: What `layout_map` returned for real devices.
        auto_shard_dataset: Whether Keras splits the batches of a dataset
            over the hosts. `keras_flan.data.Pipeline` splits its files.

    Example:

    ```python
    layouts = layout_map("t5", device_mesh("batch=4,model=2"), "fsdp+model")
    keras.distribution.set_distribution(ModelParallel(layouts))
    model = T5.from_config_values(**sizes)
    ```
    """

    def __init__(self, layouts: Layouts, auto_shard_dataset: bool = False):
        if layouts.device_mesh is None:
            raise InputError(
                f"mesh '{layouts.mesh}': these layouts have no devices; make "
                "them with device_mesh(...)"
            )
        super().__init__(
            layout_map=layouts,
            batch_dim_name=layouts.device_mesh.axis_names[0],
            auto_shard_dataset=auto_shard_dataset,
        )
        self.layouts = layouts

    def get_variable_layout(
        self, variable: keras.Variable
    ) -> keras.distribution.TensorLayout:
        self.layouts.layout_of(variable.path, variable.shape, variable.dtype)
        return super().get_variable_layout(variable)
