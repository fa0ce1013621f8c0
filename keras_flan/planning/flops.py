"""Counting the operations of a model, one multiply-add as two.

Two counts: the paper's rule, which its tables use, and one of every matrix
product, split by what it is for. They differ by what the rule leaves out
(attention over positions) and by what T5's decoder doesn't see (most tokens
are inputs); the second is what a chip has to do.
"""

from keras_flan.planning.jobs import ModelSize, PlannedJob
from keras_flan.planning.weights import weights

# How each part grows with the length n of a row and the width d of a model
# whose heads and feed-forward block grow with it.
GROWTH = {
    "attention_projections": "n d^2",
    "attention_products": "n^2 d",
    "feedforward": "n d^2",
    "embedding": "0 (a lookup)",
    "logits": "n d vocabulary",
}
# A training step is a forward pass, and a backward one of twice as much.
TRAIN = 3


def rule_flops(family: str, numbers: float, tokens: float) -> float:
    """Returns the paper's count for training on tokens.

    6 N per token; 3 N for an encoder-decoder, where a token crosses about half
    of the weights.

    Args:
        family: `t5` or `palm`.
        numbers: N, parameters.
        tokens: Inputs and targets.

    Source: arXiv:2210.11416, table 2, which it reproduces within 2%.
    """
    return (3 if family == "t5" else 6) * numbers * tokens


def forward_flops(
    family: str, size: ModelSize, inputs: int, targets: int
) -> dict[str, float]:
    """Returns the operations of one row's forward pass, by what they are for.

    Masked positions are counted, as the chip computes them.

    Args:
        family: `t5` or `palm`.
        size: The model's size.
        inputs: Tokens of inputs in the row.
        targets: Tokens of targets.
    """
    width, heads = size.hidden_dim, size.attention_dim
    layers = size.num_layers
    if family == "palm":
        length = inputs + targets
        projections = 2 * length * width * (2 * heads + 2 * size.key_value_dim)
        products = 4 * length**2 * heads
        feedforward = 2 * length * 3 * width * size.intermediate_dim
        logits = 2 * length * width * size.vocabulary_size
    else:
        # Query and output for each token, and key and value; the decoder's
        # cross attention has those of the inputs.
        own = 4 * (inputs + targets)
        cross = 2 * targets + 2 * inputs
        projections = 2 * (own + cross) * width * heads
        products = 4 * (inputs**2 + targets**2 + targets * inputs) * heads
        feedforward = 2 * (inputs + targets) * 3 * width * size.intermediate_dim
        logits = 2 * targets * width * size.vocabulary_size
    return {
        "attention_projections": float(layers * projections),
        "attention_products": float(layers * products),
        "feedforward": float(layers * feedforward),
        "embedding": 0.0,
        "logits": float(logits),
    }


def step_flops(job: PlannedJob) -> dict[str, float]:
    """Returns the operations of one training step, by what they are for."""
    data = job.data
    row = forward_flops(
        job.family, job.size, data.input_length, data.target_length
    )
    return {part: TRAIN * data.batch_size * n for part, n in row.items()}


def done_flops(job: PlannedJob) -> float:
    """Returns what the chips do in a step, with what is computed twice."""
    parts = step_flops(job)
    done = sum(parts.values())
    if job.model.remat:
        done += (done - parts["logits"]) / TRAIN
    if job.optimizer.loss_chunk:
        done += parts["logits"] / TRAIN
    return done


def parameters(family: str, size: ModelSize) -> int:
    """Returns the number of parameters."""
    return sum(weight.numbers for weight in weights(family, size))
