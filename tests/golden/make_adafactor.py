"""Remakes `adafactor.npz` with the Adafactor of transformers.

python -m tests.golden.make_adafactor
"""

from pathlib import Path

import numpy as np

FILE = Path(__file__).parent / "adafactor.npz"
STEPS, RATE = 50, 0.01
# A wide and a tall matrix, an embedding of which some rows are never used, a
# weight below the smallest scale, vectors, and a matrix of one row.
WEIGHTS = {
    "wide": ((6, 20), 1.0),
    "tall": ((30, 4), 0.3),
    "embedding": ((16, 5), 2.0),
    "tiny": ((5, 8), 1e-4),
    "vector": ((9,), 1.0),
    "one": ((1,), 0.5),
    "row": ((1, 12), 1.0),
}


def gradients(name, seed=0):
    """float32 `(STEPS, *shape)`, of sizes from 1e-4 to 1e2."""
    shape, _ = WEIGHTS[name]
    rng = np.random.default_rng([seed, list(WEIGHTS).index(name)])
    values = rng.normal(size=(STEPS, *shape))
    values *= 10 ** rng.uniform(-4, 2, (STEPS, *[1] * len(shape)))
    if name == "embedding":
        values *= rng.random((STEPS, shape[0], 1)) < 0.3
        values[:, -3:] = 0
    return values.astype("float32")


def start(name, seed=0):
    """The weight before the first step."""
    shape, scale = WEIGHTS[name]
    rng = np.random.default_rng([seed, 99, list(WEIGHTS).index(name)])
    return rng.normal(scale=scale, size=shape).astype("float32")


def trajectory(name, seed=0, momentum=None):
    """What transformers makes of it: float32 `(STEPS, *shape)`."""
    import torch
    from transformers.optimization import Adafactor

    weight = torch.nn.Parameter(torch.tensor(start(name, seed)))
    optimizer = Adafactor(
        [weight],
        lr=RATE,
        beta1=momentum,
        scale_parameter=True,
        relative_step=False,
        warmup_init=False,
    )
    made = []
    for gradient in gradients(name, seed):
        weight.grad = torch.tensor(gradient)
        optimizer.step()
        made.append(weight.detach().numpy().copy())
    return np.stack(made)


def main():
    """Writes the weights after every tenth step."""
    np.savez_compressed(
        FILE, **{name: trajectory(name)[9::10] for name in WEIGHTS}
    )


if __name__ == "__main__":
    main()
