"""Finetune a T5 to answer questions about a passage (SQuAD format).

    python examples/finetune_squad.py train-v1.1.json --model my_t5_preset

Any file in the SQuAD layout will do (SQuAD, XQuAD, TyDiQA-GoldP, your own):
{"data": [{"paragraphs": [{"context": "...", "qas": [{"id": "...",
"question": "...", "answers": [{"text": "...", "answer_start": 0}]}]}]}]}.
"""

import argparse
import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras

from keras_flan.data import (
    Mixture,
    Task,
    build_dataset,
    import_file,
    train_vocabulary,
)
from keras_flan.data.mixtures.mixture import MixtureGroup
from keras_flan.generation import generate
from keras_flan.models import T5, load, save
from keras_flan.training import Adafactor, TokenCrossentropy

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("file", help="a SQuAD-format JSON file")
parser.add_argument("--model", help="a preset to start from")
parser.add_argument("--output", default="runs/finetune_squad")
parser.add_argument("--steps", type=int, default=1000)
parser.add_argument("--batch-size", type=int, default=8)
parser.add_argument("--input-length", type=int, default=512)
parser.add_argument("--target-length", type=int, default=64)
parser.add_argument("--learning-rate", type=float, default=1e-2)
parser.add_argument("--vocabulary-size", type=int, default=4000)
args = parser.parse_args()

# === Records ===
records = os.path.join(args.output, "records")
import_file("squad", args.file, records, name="squad")
task = Task.from_directory(records)
examples = list(task.read())

# === Model ===
keras.utils.set_random_seed(0)
if args.model:
    model = load(args.model)
else:
    texts = (text for e in examples for text in e.fields.values())
    vocabulary = train_vocabulary(
        texts,
        args.vocabulary_size,
        os.path.join(args.output, "vocabulary.model"),
    )
    model = T5.from_config_values(
        vocabulary_size=vocabulary.size,
        num_layers=2,
        num_heads=4,
        hidden_dim=128,
        intermediate_dim=256,
        vocabulary=vocabulary,
    )

# === Training: question and passage in, answer out ===
mixture = Mixture(
    "squad", [MixtureGroup("squad", [task], formats={"zero_shot_direct": 1})]
)
dataset = build_dataset(
    mixture,
    model.vocabulary,
    input_length=args.input_length,
    target_length=args.target_length,
    batch_size=args.batch_size,
)
model.compile(optimizer=Adafactor(args.learning_rate), loss=TokenCrossentropy())
model.fit(dataset, steps_per_epoch=args.steps, shuffle=False)
save(model, os.path.join(args.output, "model"))

# === Answers ===
template = task.family.zero_shot_direct[0].input
shown = examples[:3]
prompts = [template.render(example.fields) for example in shown]
for example, [path] in zip(
    shown, generate(model, prompts, max_new_tokens=32), strict=True
):
    print("question:", example.fields["question"])
    print("expected:", example.fields["answer"], "| answered:", path.text)
