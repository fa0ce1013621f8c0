"""Running layers whose weights are stacked, `(num_layers, ...)`."""

import keras
from keras import ops, tree


def scan_layers(step, x, stacked):
    """Runs `step` once for each layer.

    Args:
        step: A function of x and a layer's tensors, to the next x and
            tensors to hand out.
        x: What goes through the layers.
        stacked: A nest of tensors `(num_layers, ...)`.

    Returns:
        The last x, and what the layers handed out, stacked.
    """
    if keras.backend.backend() == "jax":
        return ops.scan(step, x, stacked)
    # keras.ops.scan of the other backends can only hand out what looks like
    # x; their graphs are built fast anyway.
    return unroll_layers(step, x, stacked)


def unroll_layers(step, x, stacked):
    """Does what `scan_layers` does, by a loop that is traced whole."""
    outs = []
    for i in range(tree.flatten(stacked)[0].shape[0]):
        # `i` is called now, so the late binding is none.
        x, out = step(x, tree.map_structure(lambda w: w[i], stacked))  # noqa: B023
        outs.append(out)
    return x, tree.map_structure(lambda *parts: ops.stack(parts), *outs)
