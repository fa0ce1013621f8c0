"""Sampled paths: tokens per second beside the libraries that are fastest.

    python benchmarks/self_consistency.py [--model t5_small smollm2_135m]
        [--samples 16 40] [--prompts 8] [--input-tokens 256]
        [--new-tokens 128] [--repeats 1] [--sides keras_flan transformers]
        [--patience 1200] [--results FILE.json]

Each side samples k paths for each of 8 prompts of 256 tokens, at temperature
0.7 from the 40 most probable tokens, in float32 (those with `bf16`, `int8` or
`q8_0` in their names with weights of that kind), without an end token, so that
every path has 128 new tokens. One path is greedy.
`t5_small` has the size of T5 v1.1 Small and random weights; `smollm2_135m` is
SmolLM2-135M (for transformers, random weights of its size: the work is the
same).

Every run is a process of its own, one after the other, in turns. Time counts
without loading and compiling; transformers gets `num_return_sequences`,
keras-hub each prompt k times, which is how it draws several paths. The peak
is the largest resident memory of the process, whatever it did. A side that
needs more than `--memory` GiB is reported as not fitting; one that is not
done after `--patience` seconds is stopped, and its ratio is the least that it
can be.

Needs the extra `[parity]`, for SmolLM2 `[smollm2]`, for CTranslate2 (T5 alone)
`pip install ctranslate2`, for llama.cpp (SmolLM2 alone) see
`llama_cpp_side.py`. A side whose library is missing is left out, by name.
"""

import argparse
import importlib.util
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

# The library of each side.
SIDES = {
    "keras_flan": "keras_flan",
    "keras_flan_bf16": "keras_flan",
    "transformers": "transformers",
    "keras_hub": "keras_hub",
    "ctranslate2": "ctranslate2",
    "ctranslate2_int8": "ctranslate2",
    "llama_cpp_q8_0": "llama_cpp",
    "llama_cpp_bf16": "llama_cpp",
    "llama_cpp_f32": "llama_cpp",
}
# The sides that the others are compared with.
OURS = ("keras_flan", "keras_flan_bf16")
MODELS = ("t5_small", "smollm2_135m")
# What a process says that had no room.
_NO_ROOM = re.compile(
    "MemoryError|RESOURCE_EXHAUSTED|bad_alloc|nable to allocate|annot allocate"
)
# Libraries that know one of the models alone.
ONLY = {"ctranslate2": "t5_small", "llama_cpp": "smollm2_135m"}
TEMPERATURE, TOP_K = 0.7, 40
T5_SMALL = {
    "vocabulary_size": 32128,
    "num_layers": 8,
    "num_heads": 6,
    "hidden_dim": 512,
    "intermediate_dim": 1024,
    "key_value_dim": 64,
}


def prompts(plan: dict) -> np.ndarray:
    """Random token ids, int32 `(prompts, input_tokens)`."""
    shape = (plan["prompts"], plan["input_tokens"])
    return np.random.default_rng(0).integers(3, 30_000, shape, "int32")


def temperature(plan: dict) -> float:
    """One path is greedy, several are sampled."""
    return TEMPERATURE if plan["samples"] > 1 else 0.0


def keras_model(plan: dict):
    """Returns the keras_flan model; its backbone is keras-hub's."""
    dtype = "bfloat16" if plan["side"].endswith("bf16") else "float32"
    if plan["model"] == "smollm2_135m":
        from keras_flan.models import load

        return load("smollm2_135m", dtype=dtype)
    import keras

    from keras_flan.models import T5

    keras.config.set_dtype_policy(dtype)
    return T5.from_config_values(**T5_SMALL, dropout=0.0)


def keras_flan_side(plan: dict):
    """Returns a function that samples, and facts to report after it ran."""
    from keras_flan.generation import compilations
    from keras_flan.generation.decoding import decode
    from keras_flan.generation.sampling import uniforms
    from keras_flan.generation.sampling_settings import Sampling

    model = keras_model(plan)
    rows = prompts(plan).tolist()

    def run(new_tokens):
        sampling = Sampling(
            samples=plan["samples"],
            temperature=temperature(plan),
            top_k=TOP_K,
            max_new_tokens=new_tokens,
        )
        paths = decode(
            model,
            rows,
            sampling,
            ends=(-1,),
            batch_paths=plan["batch_paths"],
            uniforms=lambda row, n: uniforms(f"{row}", n, new_tokens, 0),
        )
        return sum(len(path.token_ids) for _, _, path in paths)

    # The same bucket, so the same program.
    run(plan["new_tokens"] // 2 + 1)
    return lambda: run(plan["new_tokens"]), lambda: {
        "compilations": list(compilations(model).values())
    }


keras_flan_bf16_side = keras_flan_side


def transformers_model(plan: dict):
    """Returns a model of transformers with random weights."""
    import torch
    import transformers

    torch.manual_seed(0)
    if plan["model"] == "smollm2_135m":
        config = transformers.LlamaConfig(
            vocab_size=49152,
            hidden_size=576,
            intermediate_size=1536,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            tie_word_embeddings=True,
            eos_token_id=None,
        )
        model = transformers.LlamaForCausalLM(config)
    else:
        config = transformers.T5Config(
            vocab_size=T5_SMALL["vocabulary_size"],
            d_model=T5_SMALL["hidden_dim"],
            d_kv=T5_SMALL["key_value_dim"],
            d_ff=T5_SMALL["intermediate_dim"],
            num_layers=T5_SMALL["num_layers"],
            num_heads=T5_SMALL["num_heads"],
            feed_forward_proj="gated-gelu",
            tie_word_embeddings=False,
            decoder_start_token_id=0,
            eos_token_id=None,
        )
        model = transformers.T5ForConditionalGeneration(config)
    model.eval()
    # The default of a configuration without an end token is another one.
    model.generation_config.eos_token_id = None
    return model


def transformers_side(plan: dict):
    """See `keras_flan_side`."""
    import torch

    torch.set_num_threads(os.cpu_count())
    model = transformers_model(plan)
    ids = torch.from_numpy(prompts(plan)).long()
    sampled = {"do_sample": False}
    if plan["samples"] > 1:
        sampled = {
            "do_sample": True,
            "temperature": TEMPERATURE,
            "top_k": TOP_K,
            "num_return_sequences": plan["samples"],
        }

    def run(new_tokens):
        with torch.no_grad():
            made = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                **sampled,
                max_new_tokens=new_tokens,
                pad_token_id=0,
            )
        before = 1 if model.config.is_encoder_decoder else ids.shape[1]
        return made.shape[0] * (made.shape[1] - before)

    run(1)
    return lambda: run(plan["new_tokens"]), dict


def keras_hub_side(plan: dict):
    """See `keras_flan_side`."""
    import keras
    import keras_hub

    backbone = keras_model(plan).backbone
    sampler = keras_hub.samplers.GreedySampler()
    if plan["samples"] > 1:
        sampler = keras_hub.samplers.TopKSampler(
            k=TOP_K, temperature=TEMPERATURE
        )
    ids = np.repeat(prompts(plan), plan["samples"], axis=0)
    rows, new = len(ids), plan["new_tokens"]
    if plan["model"] == "smollm2_135m":
        task = keras_hub.models.Llama3CausalLM(backbone, preprocessor=None)
        name, first = "token_ids", ids.shape[1]
        fixed = {}
    else:
        task = keras_hub.models.T5Seq2SeqLM(backbone)
        name, first = "decoder_token_ids", 1
        fixed = {
            "encoder_token_ids": ids,
            "encoder_padding_mask": np.ones_like(ids),
        }
    tokens = np.zeros((rows, first + new), "int32")
    if not fixed:
        tokens[:, :first] = ids
    mask_name = name.replace("token_ids", "padding_mask")
    task.compile(sampler=sampler)
    function = task.make_generate_function()

    def run(start):
        mask = np.zeros_like(tokens)
        mask[:, :start] = 1
        inputs = {**fixed, name: tokens, mask_name: mask}
        made = function(inputs, stop_token_ids=None)[name]
        return np.asarray(keras.ops.convert_to_numpy(made)).size - rows * start

    # All but one token are given: the same program, one step.
    run(first + new - 1)
    return lambda: run(first), dict


def ctranslate2_side(plan: dict):
    """See `keras_flan_side`; it is of T5 alone."""
    import ctranslate2
    import tokenizers
    import transformers

    with tempfile.TemporaryDirectory() as folder:
        plain, converted = f"{folder}/plain", f"{folder}/converted"
        model = transformers_model(plan)
        model.config.eos_token_id = 1
        model.save_pretrained(plain)
        # It takes texts of tokens; here a token's text is its number.
        size = T5_SMALL["vocabulary_size"]
        words = {"<pad>": 0, "</s>": 1, "<unk>": 2}
        words |= {f"{i}": i for i in range(3, size)}
        transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizers.Tokenizer(
                tokenizers.models.WordLevel(words, unk_token="<unk>")
            ),
            pad_token="<pad>",
            eos_token="</s>",
            unk_token="<unk>",
        ).save_pretrained(plain)
        ctranslate2.converters.TransformersConverter(plain).convert(converted)
        translator = ctranslate2.Translator(
            converted,
            compute_type="int8" if plan["side"].endswith("int8") else "float32",
            inter_threads=1,
            intra_threads=os.cpu_count(),
        )
    rows = [[f"{i}" for i in row] for row in prompts(plan).tolist()]

    def run(new_tokens):
        made = translator.translate_batch(
            rows,
            beam_size=1,
            num_hypotheses=plan["samples"],
            sampling_topk=TOP_K if plan["samples"] > 1 else 1,
            sampling_temperature=TEMPERATURE,
            max_decoding_length=new_tokens,
            min_decoding_length=new_tokens,
        )
        return sum(len(path) for one in made for path in one.hypotheses)

    run(1)
    return lambda: run(plan["new_tokens"]), dict


ctranslate2_int8_side = ctranslate2_side


def llama_cpp_side(plan: dict):
    """See `keras_flan_side`; it is of SmolLM2 alone."""
    from llama_cpp_side import llama_cpp_runner, quantised

    from keras_flan.models.gguf.packaged import PACKAGED

    kind = plan["side"].removeprefix("llama_cpp_")
    with (
        tempfile.TemporaryDirectory() as folder,
        PACKAGED["smollm2_135m"]() as source,
    ):
        run = llama_cpp_runner(
            quantised(source, kind, folder),
            prompts(plan),
            plan["samples"],
            plan["new_tokens"],
            temperature(plan),
            TOP_K,
        )
    run(2)
    return lambda: run(plan["new_tokens"]), dict


llama_cpp_q8_0_side = llama_cpp_bf16_side = llama_cpp_side
llama_cpp_f32_side = llama_cpp_side


def measure(plan: dict) -> dict:
    """Runs one side once, in this process."""
    limit = int(plan["memory"] * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    begin = time.perf_counter()
    run, facts = globals()[plan["side"] + "_side"](plan)
    ready = time.perf_counter()
    tokens = run()
    end = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "tokens": tokens,
        "seconds": end - ready,
        "start_seconds": ready - begin,
        "rate": tokens / (end - ready),
        "peak_gib": peak,
        **facts(),
    }


def child(plan: dict) -> dict | str:
    """Runs one side in a process of its own; returns why it failed, if so.

    Of a side that was stopped, the rate is what it had at most: all tokens in
    the time that it was given, with loading and compiling.
    """
    try:
        made = subprocess.run(
            [sys.executable, __file__, "--plan", json.dumps(plan)],
            capture_output=True,
            text=True,
            timeout=plan["patience"],
            env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        )
    except subprocess.TimeoutExpired:
        tokens = plan["prompts"] * plan["samples"] * plan["new_tokens"]
        return {"stopped": True, "rate": tokens / plan["patience"]}
    if made.returncode == 0:
        return json.loads(made.stdout.splitlines()[-1])
    last = "\n".join(made.stderr.splitlines()[-3:])
    if made.returncode == -9 or _NO_ROOM.search(last):
        return f"needs more than {plan['memory']:.0f} GiB"
    return f"failed: {made.stderr[-1000:]}"


def compare(plan: dict, sides: list[str], repeats: int) -> dict[str, dict]:
    """Prints the rate and memory of each side, and the ratios.

    Returns:
        Of each side that could run its median `rate` and the facts of its
        last run.
    """
    print(
        f"{plan['model']}: {plan['prompts']} prompts of "
        f"{plan['input_tokens']} tokens, k = {plan['samples']}, "
        f"{plan['new_tokens']} new tokens",
        flush=True,
    )
    runs: dict[str, list] = {
        side: []
        for side in sides
        if ONLY.get(SIDES[side], plan["model"]) == plan["model"]
    }
    for side in [s for s in runs if not importlib.util.find_spec(SIDES[s])]:
        print(f"  {side:15} left out: {SIDES[side]} is not installed")
        del runs[side]
    for _ in range(repeats):
        for side, made in runs.items():
            if not made or _done(made[-1]):
                made.append(child({**plan, "side": side}))
                print(f"  {side:15} {_said(made[-1])}", flush=True)
    rates = {
        side: statistics.median(run["rate"] for run in made)
        for side, made in runs.items()
        if isinstance(made[-1], dict)
    }
    for own in OURS:
        if own not in rates or not _done(runs[own][-1]):
            continue
        for side in [side for side in rates if side not in OURS]:
            ratio = rates[own] / rates[side]
            least = "at least " if "stopped" in runs[side][-1] else ""
            print(f"  {own} / {side}: {least}{ratio:.2f}", flush=True)
    return {side: {**runs[side][-1], "rate": rates[side]} for side in rates}


def add(path: Path, plan: dict, found: dict[str, dict]) -> None:
    """Adds what was found to a file, by model and shape."""
    kept = json.loads(path.read_text()) if path.is_file() else {}
    shape = f"{plan['prompts']} x {plan['samples']}"
    shapes = kept.setdefault(plan["model"], {})
    sides = shapes.get(shape, {}).get("sides", {})
    shapes[shape] = {"plan": plan, "sides": {**sides, **found}}
    path.write_text(json.dumps(kept, indent=1) + "\n")


def _done(run: dict | str) -> bool:
    return isinstance(run, dict) and "stopped" not in run


def _said(run: dict | str) -> str:
    if isinstance(run, str):
        return run
    if "stopped" in run:
        return f"stopped: fewer than {run['rate']:.0f} tokens/s"
    line = f"{run['rate']:7.0f} tokens/s, peak {run['peak_gib']:.2f} GiB"
    line += f", ready after {run['start_seconds']:.0f} s"
    if "compilations" in run:
        line += f", compilations a bucket {run['compilations']}"
    return line


def main() -> None:
    """Compares the sides for each model and k."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--samples", nargs="+", type=int, default=[16, 40])
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--input-tokens", type=int, default=256)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--batch-paths", type=int, help="default: all paths")
    parser.add_argument("--memory", type=float, default=18, help="GiB")
    parser.add_argument("--patience", type=float, default=1200, help="seconds")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    parser.add_argument("--results", type=Path, help="JSON, which is added to")
    parser.add_argument("--plan", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.plan:
        print(json.dumps(measure(json.loads(given.plan))))
        return
    for model in given.model:
        for samples in given.samples:
            plan = {
                "model": model,
                "samples": samples,
                "prompts": given.prompts,
                "input_tokens": given.input_tokens,
                "new_tokens": given.new_tokens,
                "batch_paths": given.batch_paths or samples * given.prompts,
                "memory": given.memory,
                "patience": given.patience,
            }
            found = compare(plan, list(given.sides), given.repeats)
            if given.results:
                add(given.results, plan, found)


if __name__ == "__main__":
    main()
