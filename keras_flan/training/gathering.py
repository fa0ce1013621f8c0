"""Losses of the positions that count alone, for JAX."""

from collections.abc import Callable
from typing import Any

from keras_flan.tensors import Tensor


def gathered_losses(
    losses: Callable[[Tensor, Tensor], Tensor],
    hidden: Tensor,
    targets: Tensor,
    counts: Tensor,
    part: int,
) -> Tensor:
    """Returns losses where they count, and 0 elsewhere.

    The positions that count are put in front, and taken in parts: as many as
    there are, so nothing is left out, whatever their number, and one program
    serves all. The gradients are exact. Where what projects is not trained
    itself (LoRA, a frozen embedding), each part is projected once, and its
    gradients are made with it; else the backward pass projects again.

    Args:
        losses: A function of `(part, hidden_dim)` and ids `(part,)` to
            float32 `(part,)`, each of which is of its own position.
        hidden: `(positions, hidden_dim)`.
        targets: int `(positions,)`.
        counts: bool `(positions,)`.
        part: Positions that are projected at a time.

    Returns:
        float32 `(positions,)`.
    """
    import jax
    import jax.numpy as jnp

    positions = hidden.shape[0]
    part = min(part, positions)
    order = jnp.argsort(~counts, stable=True)
    # The last part may reach beyond the end.
    rows = jnp.pad(order, (0, -positions % part), constant_values=positions)
    x = jnp.take(hidden, rows, axis=0, mode="fill", fill_value=0)
    ids = jnp.take(targets, rows, mode="fill", fill_value=0)
    number = (jnp.sum(counts) + part - 1) // part
    # What is projected with is given by hand, to be differentiated.
    of_part, weights = jax.closure_convert(losses, x[:part], ids[:part])
    made = _in_parts(of_part, part)(x, ids, number, weights)
    out = jnp.zeros(positions, made.dtype).at[rows].set(made, mode="drop")
    # The last part is filled up with others.
    return jnp.where(counts, out, 0.0)


def _in_parts(of_part: Callable[..., Tensor], part: int) -> Any:
    """Returns a function of all positions, of which it takes some parts.

    Its arguments are hidden states, ids, the number of parts, and the weights
    that `of_part` takes behind the first two.
    """
    import jax
    import jax.numpy as jnp
    from jax import lax

    def piece(array: Tensor, i: Tensor) -> Tensor:
        return lax.dynamic_slice_in_dim(array, i * part, part)

    def put(whole: Tensor, array: Tensor, i: Tensor) -> Tensor:
        return lax.dynamic_update_slice_in_dim(whole, array, i * part, 0)

    @jax.custom_vjp
    def run(x: Tensor, ids: Tensor, number: Tensor, weights: Any) -> Tensor:
        def step(i: Tensor, made: Tensor) -> Tensor:
            return put(made, of_part(piece(x, i), piece(ids, i), *weights), i)

        return lax.fori_loop(0, number, step, jnp.zeros(len(x), jnp.float32))

    def forward(x: Any, ids: Any, number: Any, weights: Any) -> Any:
        trained = [w.value if w.perturbed else None for w in weights]
        fixed = [None if w.perturbed else w.value for w in weights]
        x, ids, number = x.value, ids.value, number.value
        if any(w.perturbed for w in weights):
            out = run(x, ids, number, [w.value for w in weights])
            return out, (x, ids, number, trained, fixed)

        def step(i: Tensor, made: Any) -> Any:
            losses, back = jax.vjp(
                lambda part: of_part(part, piece(ids, i), *fixed), piece(x, i)
            )
            (slope,) = back(jnp.ones_like(losses))
            return put(made[0], losses, i), put(made[1], slope, i)

        start = jnp.zeros(len(x), jnp.float32), jnp.zeros_like(x)
        out, slopes = lax.fori_loop(0, number, step, start)
        return out, (slopes, None, None, trained, None)

    def backward(kept: Any, g: Tensor) -> Any:
        x, ids, number, trained, fixed = kept
        if fixed is None:
            # Each loss is of its own position, so its slope scales.
            dx = (x * g[:, None].astype(x.dtype)).astype(x.dtype)
            return dx, None, None, [None] * len(trained)
        known = [i for i, w in enumerate(trained) if w is not None]

        def step(i: Tensor, made: Any) -> Any:
            def losses(part: Tensor, own: Any) -> Tensor:
                weights = list(fixed)
                for place, weight in zip(known, own, strict=True):
                    weights[place] = weight
                return of_part(part, piece(ids, i), *weights)

            own = [trained[place] for place in known]
            _, back = jax.vjp(losses, piece(x, i), own)
            dx, added = back(piece(g, i))
            total = [a + b for a, b in zip(made[1], added, strict=True)]
            return put(made[0], dx, i), total

        start = jnp.zeros_like(x), [jnp.zeros_like(trained[i]) for i in known]
        dx, totals = lax.fori_loop(0, number, step, start)
        dweights: list[Any] = [None] * len(trained)
        for place, total in zip(known, totals, strict=True):
            dweights[place] = total
        return dx, None, None, dweights

    run.defvjp(forward, backward, symbolic_zeros=True)
    return run
