"""Counting the operations of a model, one multiply-add as two.

Two counts: the paper's rule, which its tables use, and one of every matrix
product, split by what it is for. They differ by what the rule leaves out
(attention over positions) and by what T5's decoder doesn't see (most tokens
are inputs); the second is what a chip has to do.
"""

from keras_flan.planning.jobs import PlannedJob
from keras_flan.planning.weights import ModelShape

# How each part grows with the length n of a row and the width d of a model
# whose heads and feed-forward block grow with it.
GROWTH = {
    "attention_projections": "n d^2",
    "attention_products": "n^2 d",
    "feedforward": "n d^2",
    "adapter": "n d",
    "embedding": "0 (a lookup)",
    "logits": "n d vocabulary",
}
_PARTS = {
    "attention": "attention_projections",
    "feedforward": "feedforward",
    "adapter": "adapter",
    "logits": "logits",
}
# The backward pass takes the gradient of a product's input, and that of its
# weight if it is trained; attention has two inputs.
_ATTENTION_TRAIN = 3


def rule_flops(decoder_only: bool, numbers: float, tokens: float) -> float:
    """Returns the paper's count for training on tokens.

    6 N per token; 3 N for an encoder-decoder, where a token crosses about half
    of the weights.

    Args:
        decoder_only: Whether inputs and targets share a row.
        numbers: N, parameters.
        tokens: Inputs and targets.

    Source: arXiv:2210.11416, table 2, which it reproduces within 2%.
    """
    return (6 if decoder_only else 3) * numbers * tokens


def forward_flops(
    shape: ModelShape, inputs: int, targets: int
) -> dict[str, float]:
    """Returns the operations of one row's forward pass, by what they are for.

    Masked positions are counted, as the chip computes them.

    Args:
        shape: The model's.
        inputs: Tokens of inputs in the row.
        targets: Tokens of targets.
    """
    return _flops(shape, inputs, targets, train=False)


def train_flops(
    shape: ModelShape, inputs: int, targets: int
) -> dict[str, float]:
    """Returns the operations of training on one row, as `forward_flops`.

    What is frozen has no gradient of its own.
    """
    return _flops(shape, inputs, targets, train=True)


def _flops(
    shape: ModelShape, inputs: int, targets: int, train: bool
) -> dict[str, float]:
    tokens = {"inputs": inputs, "targets": targets}
    found = dict.fromkeys(GROWTH, 0.0)
    for weight in shape.weights:
        crossing = sum(tokens[name] for name in weight.tokens)
        if weight.part in _PARTS and crossing:
            passes = (2 + weight.trained) if train else 1
            done = 2 * passes * crossing * weight.numbers * weight.share
            found[_PARTS[weight.part]] += done
    pairs = (inputs + targets) ** 2
    if not shape.decoder_only:
        pairs = inputs**2 + targets**2 + targets * inputs
    passes = _ATTENTION_TRAIN if train else 1
    products = 4 * pairs * shape.attention_dim * shape.num_layers
    found["attention_products"] = float(passes * products)
    if not found["adapter"]:
        del found["adapter"]
    return found


def step_flops(job: PlannedJob) -> dict[str, float]:
    """Returns the operations of one training step, by what they are for."""
    data = job.data
    row = train_flops(job.shape, data.input_length, data.target_length)
    return {part: data.batch_size * n for part, n in row.items()}


def done_flops(job: PlannedJob) -> float:
    """Returns what the chips do in a step, with what is computed twice."""
    return sum(done_parts(job).values())


def done_parts(job: PlannedJob) -> dict[str, float]:
    """Returns `done_flops` by what they are for."""
    data, done = job.data, step_flops(job)
    again = forward_flops(job.shape, data.input_length, data.target_length)
    for part, flops in again.items():
        if job.optimizer.loss_chunk if part == "logits" else job.model.remat:
            done[part] += data.batch_size * flops
    return done
