"""Real tokens a second of finetuning, beside keras-hub and transformers.

    python benchmarks/finetune_throughput.py [--data DIR] [--size small]
        [--seconds 60] [--sides keras_flan keras_flan-bf16 transformers ...]
        [--results FILE.json]

All finetune a T5 v1.1 with random weights in float32 on the same
examples of FLAN's chain-of-thought files, each in its own, idiomatic way, in
a process of its own, one after the other; "-bf16" multiplies in bfloat16:

- keras_flan: its packed pipeline, `T5`, Adafactor, `fit`; rows of 512 + 208,
  which these examples fill on both sides (`keras-flan mixture --report` says
  so), and which cut fewer of them than 128 would;
- keras-hub: `T5Seq2SeqLM` with its own preprocessor on batches of text, all
  padded to 512 + 128, AdamW, `fit` on JAX;
- transformers: `Seq2SeqTrainer` on tokens made before, grouped by length and
  padded to the longest of a batch, Adafactor, on PyTorch;
- transformers-bf16: the same with bfloat16 autocast (`bf16=True`);
- transformers-compile: the same with `torch_compile=True`, on which the first
  steps of each length of a batch compile.

A token is real if it is not padding. Time counts from the end of the second
step. The utilisation of keras_flan is that of its `Telemetry`: the matrix
products that the real tokens need, attention's own left out, over the FLOP/s
of a large matrix product of the type that is used, measured before and after.
A side whose library is missing is left out, by name.

`--data` names a folder with `flan_cot/`; without it, the shipped records are
used, whose texts are shorter.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SIDES = (
    "keras_flan",
    "keras_flan-bf16",
    "keras-hub",
    "transformers",
    "transformers-bf16",
    "transformers-compile",
)
# T5 v1.1: layers, heads, width, width inside the feed-forward block.
SIZES = {"test": (2, 2, 32, 64), "small": (8, 6, 512, 1024)}
PIECES, ROWS = 8000, 32128
LENGTHS = (512, 128)
PACKED = (512, 208)
# transformers sees as many tokens a step as its padding lets it; more rows
# were not faster.
BATCH, TRAINER_BATCH = 8, 32
EXAMPLES = 16_384
FORMATS = {"zero_shot_direct": 1, "zero_shot_cot": 1}


class Meter:
    """Counts real tokens and seconds after the second step."""

    def __init__(self, seconds: float):
        self.limit, self.steps = seconds, 0
        self.inputs = self.targets = 0

    def step(self, inputs: int, targets: int) -> bool:
        """Adds a step that has ended; returns whether time is up."""
        self.steps += 1
        if self.steps <= 2:
            self.begin = time.perf_counter()
            return False
        self.inputs += int(inputs)
        self.targets += int(targets)
        self.seconds = time.perf_counter() - self.begin
        return self.seconds > self.limit

    def found(self, **more) -> dict:
        """Returns what a side prints."""
        tokens = self.inputs + self.targets
        return {
            "tokens_per_second": tokens / self.seconds,
            "step": self.seconds / (self.steps - 2),
            **more,
        }


def sizes(args) -> dict:
    """Returns the arguments of a Keras T5 backbone."""
    layers, heads, width, inner = SIZES[args.size]
    return {
        "vocabulary_size": ROWS,
        "num_layers": layers,
        "num_heads": heads,
        "hidden_dim": width,
        "intermediate_dim": inner,
        "key_value_dim": 64,
        "dropout": 0.05,
    }


def fit(model, batches, meter: Meter, counts) -> None:
    """Runs `fit` until time is up; `counts` are those of the batches."""
    import keras

    class Stop(keras.callbacks.Callback):
        async_safe = False

        def on_train_batch_end(self, batch, logs=None):
            float(logs["loss"])  # waits for the step
            if meter.step(*counts(batch)):
                raise TimeoutError

    try:
        model.fit(batches, verbose=0, callbacks=[Stop()], shuffle=False)
    except TimeoutError:
        return
    raise RuntimeError("too few examples for the time given")


def run_keras_flan(args, meter):
    """Packed rows, the package's model, loss and optimizer."""
    from keras_flan.data import Mixture, Vocabulary, build_dataset
    from keras_flan.models import T5
    from keras_flan.runtime.products import products_in
    from keras_flan.training import Adafactor, TokenCrossentropy
    from keras_flan.training.peak import measure_peak, model_flops

    vocabulary = Vocabulary(args.folder / "vocabulary.model")
    dataset = build_dataset(
        Mixture.from_yaml(args.folder / "mixture.yaml"),
        vocabulary,
        input_length=PACKED[0],
        target_length=PACKED[1],
        batch_size=BATCH,
    )
    model = T5.from_config_values(**sizes(args))
    model.compile(Adafactor(1e-3), TokenCrossentropy(chunk=args.chunk))
    tokens = []

    def batches():
        for batch in dataset.as_numpy_iterator():
            x = batch[0]
            tokens.append(
                [
                    np.count_nonzero(x[f"{side}_segment_ids"])
                    for side in ("encoder", "decoder")
                ]
            )
            yield batch

    dtype = "bfloat16" if args.side.endswith("bf16") else "float32"
    before = measure_peak(dtype)
    with products_in(dtype):
        fit(model, batches(), meter, lambda batch: tokens[batch])
    peak = max(before, measure_peak(dtype))
    flops = model_flops(model, meter.inputs, meter.targets) / meter.seconds
    return meter.found(peak=peak, utilisation=flops / peak)


def run_keras_hub(args, meter):
    """Texts, keras-hub's preprocessor, task and `fit`."""
    import keras
    import keras_hub
    import tensorflow as tf

    texts = json.loads((args.folder / "texts.json").read_text())
    counts = np.load(args.folder / "counts.npy")
    proto = str(args.folder / "vocabulary.model")
    preprocessor = keras_hub.models.T5Seq2SeqLMPreprocessor(
        keras_hub.models.T5Tokenizer(proto),
        encoder_sequence_length=LENGTHS[0],
        decoder_sequence_length=LENGTHS[1],
    )
    backbone = keras_hub.models.T5Backbone(
        **sizes(args), activation="gelu", tie_embedding_weights=False
    )
    model = keras_hub.models.T5Seq2SeqLM(backbone, preprocessor=preprocessor)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(1e-4), loss)
    rows = BATCH
    dataset = tf.data.Dataset.from_tensor_slices(texts).batch(rows)

    def tokens(batch):
        return counts[batch * rows : (batch + 1) * rows].sum(0)

    fit(model, dataset, meter, tokens)
    return meter.found()


def run_transformers(args, meter):
    """Tokens grouped by length, dynamic padding, `Seq2SeqTrainer`."""
    import torch
    import transformers

    layers, heads, width, inner = SIZES[args.size]
    examples = np.load(args.folder / "tokens.npz")
    counts = examples["counts"]
    ends = counts.cumsum(0)
    rows = [
        {
            "input_ids": examples["inputs"][i - n : i].tolist(),
            "labels": examples["targets"][j - m : j].tolist(),
        }
        for (i, j), (n, m) in zip(ends, counts, strict=True)
    ]
    model = transformers.T5ForConditionalGeneration(
        transformers.T5Config(
            vocab_size=ROWS,
            num_layers=layers,
            num_heads=heads,
            d_model=width,
            d_ff=inner,
            d_kv=64,
            dropout_rate=0.05,
            feed_forward_proj="gated-gelu",
            tie_word_embeddings=False,
            decoder_start_token_id=0,
        )
    )
    seen = []

    def collate(batch):
        longest = [max(len(row[k]) for row in batch) for k in batch[0]]
        ids = np.zeros((len(batch), longest[0]), "int64")
        labels = np.full((len(batch), longest[1]), -100, "int64")
        for i, row in enumerate(batch):
            ids[i, : len(row["input_ids"])] = row["input_ids"]
            labels[i, : len(row["labels"])] = row["labels"]
        seen.append(((ids > 0).sum(), (labels > 0).sum()))
        return {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy((ids > 0).astype("int64")),
            "labels": torch.from_numpy(labels),
        }

    class Stop(transformers.TrainerCallback):
        def on_step_end(self, arguments, state, control, **_):
            # The trainer collates one batch ahead.
            if meter.step(*seen[state.global_step - 1]):
                control.should_training_stop = True

    trainer = transformers.Seq2SeqTrainer(
        model,
        transformers.Seq2SeqTrainingArguments(
            output_dir=str(args.folder / "trainer"),
            per_device_train_batch_size=TRAINER_BATCH,
            train_sampling_strategy="group_by_length",
            optim="adafactor",
            learning_rate=1e-3,
            lr_scheduler_type="constant",
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            remove_unused_columns=False,
            use_cpu=True,
            bf16=args.side.endswith("bf16"),
            torch_compile=args.side.endswith("compile"),
        ),
        train_dataset=rows,
        data_collator=collate,
        callbacks=[Stop()],
    )
    trainer.train()
    return meter.found()


RUN = {
    "keras_flan": run_keras_flan,
    "keras-hub": run_keras_hub,
    "transformers": run_transformers,
}


def missing_library(side: str) -> str | None:
    """Returns the library that a side needs and that is not there."""
    needed = {"keras-hub": ["keras_hub"], "transformers": ["transformers"]}
    needed["transformers"] += ["torch", "accelerate"]
    library = side.removesuffix("-bf16").removesuffix("-compile")
    names = needed.get(library, [])
    return next((n for n in names if not importlib.util.find_spec(n)), None)


# === The same examples for all ===


def prepare(data: Path | None, folder: Path) -> None:
    """Writes mixture, vocabulary, and examples as texts and as tokens."""
    from keras_flan.data import Mixture, build_dataset, train_vocabulary_from
    from keras_flan.data.importers import import_source

    if data is None:
        records = Path(__file__).parents[1] / "tf_records" / "quickstart"
        tasks = "*"
    else:
        records = folder / "records"
        for path in sorted((data / "flan_cot").iterdir()):
            name = path.name.split("_")[0]
            import_source("flan-cot", path, records / name)
        tasks = sorted(path.name for path in records.iterdir())
    mixture = folder / "mixture.yaml"
    group = {"tasks": tasks, "formats": FORMATS}
    # JSON is YAML.
    mixture.write_text(
        json.dumps(
            {"name": "cot", "records": str(records), "groups": {"cot": group}}
        )
    )
    vocabulary = train_vocabulary_from(
        [mixture], PIECES if data else 700, folder / "vocabulary.model"
    )
    dataset = build_dataset(
        Mixture.from_yaml(mixture),
        vocabulary,
        input_length=LENGTHS[0],
        target_length=LENGTHS[1],
        batch_size=64,
        pack=False,
    )
    inputs, targets = [], []
    for x, y, _ in dataset.as_numpy_iterator():
        inputs += [row[row > 0] for row in x["encoder_token_ids"]]
        targets += [row[row > 0] for row in y]
        if len(inputs) >= EXAMPLES:
            break
    counts = np.array(
        [(len(i), len(t)) for i, t in zip(inputs, targets, strict=True)]
    )
    np.save(folder / "counts.npy", counts)
    np.savez(
        folder / "tokens.npz",
        inputs=np.concatenate(inputs),
        targets=np.concatenate(targets),
        counts=counts,
    )
    texts = {
        f"{side}_text": [vocabulary.decode(row[:-1].tolist()) for row in rows]
        for side, rows in (("encoder", inputs), ("decoder", targets))
    }
    (folder / "texts.json").write_text(json.dumps(texts))
    print(
        f"{len(inputs):,} examples, {counts[:, 0].mean():.0f} + "
        f"{counts[:, 1].mean():.0f} tokens on average"
    )


def main() -> None:
    """Prints tokens a second of each side, and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    parser.add_argument(
        "--chunk", type=int, help="target positions a chunk of our loss"
    )
    parser.add_argument("--results", type=Path, help="JSON to write")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        library = args.side.removesuffix("-bf16").removesuffix("-compile")
        print(json.dumps(RUN[library](args, Meter(args.seconds))))
        return
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        prepare(args.data, Path(folder))
        for side in args.sides:
            missing = missing_library(side)
            if missing:
                print(f"{side:20} left out: {missing} is not installed")
                continue
            made = subprocess.run(
                [
                    sys.executable,
                    __file__,
                    *sys.argv[1:],
                    *("--side", side, "--folder", folder),
                ],
                env={
                    **os.environ,
                    "KERAS_BACKEND": "jax",
                    "JAX_PLATFORMS": "cpu",
                    "TF_CPP_MIN_LOG_LEVEL": "3",
                },
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            found[side] = row = json.loads(made.stdout.splitlines()[-1])
            print(
                f"{side:20} {row['tokens_per_second']:8.0f} real tokens/s, "
                f"{row['step']:.2f} s a step",
                flush=True,
            )
    if args.results:
        plan = {"size": args.size, "seconds": args.seconds}
        args.results.write_text(json.dumps({"plan": plan, "sides": found}))
    for name in [side for side in found if side.startswith("keras_flan")]:
        ours = found.pop(name)
        print(
            f"{name}: utilisation {ours['utilisation']:.0%} of "
            f"{ours['peak'] / 1e9:.0f} GFLOP/s"
        )
        for side, row in found.items():
            if not side.startswith("keras_flan"):
                ratio = ours["tokens_per_second"] / row["tokens_per_second"]
                print(f"{name} / {side}: {ratio:.2f}")


if __name__ == "__main__":
    main()
