"""Finetune a T5 on a mixture of templated tasks with plain `model.fit`.

From scratch, on the records that ship with the repository:

    python examples/finetune_t5.py --mixture examples/universe.yaml \
        --steps 400

From a checkpoint in keras-hub's preset format, with the paper's rate:

    python examples/finetune_t5.py --mixture my_mixture.yaml \
        --model my_t5_preset --learning-rate 5e-4 --steps 10000
"""

import argparse
import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras

from keras_flan.data import (
    Mixture,
    Vocabulary,
    build_dataset,
    train_vocabulary_from,
)
from keras_flan.generation import ask
from keras_flan.models import T5, load, save
from keras_flan.training import Adafactor, TokenCrossentropy

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--mixture", required=True)
parser.add_argument("--model", help="a preset to start from")
parser.add_argument("--output", default="runs/finetune_t5")
parser.add_argument("--steps", type=int, default=1000)
parser.add_argument("--batch-size", type=int, default=8)
parser.add_argument("--input-length", type=int, default=192)
parser.add_argument("--target-length", type=int, default=96)
parser.add_argument("--learning-rate", type=float, default=2e-2)
parser.add_argument("--vocabulary-size", type=int, default=700)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

# === Model ===
keras.utils.set_random_seed(args.seed)
if args.model:
    model = load(args.model)
else:
    path = os.path.join(args.output, "vocabulary.model")
    train_vocabulary_from([args.mixture], args.vocabulary_size, path)
    vocabulary = Vocabulary(path)
    model = T5.from_config_values(
        vocabulary_size=vocabulary.size,
        num_layers=2,
        num_heads=4,
        hidden_dim=128,
        intermediate_dim=256,
        dropout=0.0,
        vocabulary=vocabulary,
    )

# === Data: templates, exemplars, tokens and packing, all in tf.data ===
mixture = Mixture.from_yaml(args.mixture)
dataset = build_dataset(
    mixture,
    model.vocabulary,
    input_length=args.input_length,
    target_length=args.target_length,
    batch_size=args.batch_size,
    seed=args.seed,
)

# === Training ===
model.compile(optimizer=Adafactor(args.learning_rate), loss=TokenCrossentropy())
model.fit(dataset, steps_per_epoch=args.steps, shuffle=False)
save(model, os.path.join(args.output, "model"))

# === A question, reasoned about eight times and put to the vote ===
question = (
    "The cafeteria had 23 apples. If they used 20 for lunch and bought 6 "
    "more, how many apples do they have?"
)
[answered] = ask(model, [question], cot=True, samples=8)
for path in answered.paths:
    print(path.text)
print("votes:", answered.vote.counts)
