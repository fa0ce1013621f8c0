"""llama.cpp as a side of `self_consistency.py`.

Needs `pip install llama-cpp-python`, which builds llama.cpp for this CPU, in
some ten minutes. Every prompt is read once, and its cache copied to its paths.
"""

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

# How weights are held: llama.cpp's number of it, a `llama_ftype`.
FORMATS = {"q8_0": 7, "bf16": 32, "f32": 0}
# Sequences of a context, at most; more paths take turns.
MOST_PATHS = 256


def quantised(source: Path, kind: str, folder: str) -> Path:
    """Writes a model file with weights of a kind of `FORMATS`."""
    import llama_cpp as lib

    settings = lib.llama_model_quantize_default_params()
    settings.ftype = FORMATS[kind]
    settings.allow_requantize = True
    settings.nthread = os.cpu_count()
    made = Path(folder) / f"{kind}.gguf"
    failed = lib.llama_model_quantize(
        bytes(source), bytes(made), ctypes.byref(settings)
    )
    if failed:
        raise RuntimeError(f"llama.cpp could not write {made}")
    return made


def sampler(temperature: float, top_k: int, seed: int):
    """Returns llama.cpp's own sampler; temperature 0 is greedy."""
    import llama_cpp as lib

    chain = lib.llama_sampler_chain_init(
        lib.llama_sampler_chain_default_params()
    )
    links = (
        [
            lib.llama_sampler_init_top_k(top_k),
            lib.llama_sampler_init_temp(temperature),
            lib.llama_sampler_init_dist(seed),
        ]
        if temperature
        else [lib.llama_sampler_init_greedy()]
    )
    for link in links:
        lib.llama_sampler_chain_add(chain, link)
    return chain


class Batch:
    """Tokens, one for each of some sequences, as llama.cpp takes them."""

    def __init__(self, places: int):
        import llama_cpp as lib

        self.lib, self.raw = lib, lib.llama_batch_init(places, 0, 1)
        view = {
            name: np.ctypeslib.as_array(getattr(self.raw, name), (places,))
            for name in ("token", "pos", "n_seq_id", "logits")
        }
        self.tokens, self.places = view["token"], view["pos"]
        self.asked = view["logits"]
        view["n_seq_id"][:] = 1

    def owners(self, sequences) -> None:
        """Says which sequence each token is of."""
        for i, sequence in enumerate(sequences):
            self.raw.seq_id[i][0] = int(sequence)
        self.raw.n_tokens = len(sequences)

    def decode(self, context) -> None:
        """Reads the tokens."""
        if failed := self.lib.llama_decode(context, self.raw):
            raise RuntimeError(f"llama.cpp could not decode: {failed}")


def llama_cpp_runner(
    path: Path,
    rows: np.ndarray,
    samples: int,
    new_tokens: int,
    temperature: float,
    top_k: int,
) -> Callable[[int], int]:
    """Returns a function that samples so many tokens of each path.

    Args:
        path: A model file.
        rows: The prompts, int32 `(prompts, input_tokens)`.
        samples: Paths of each prompt.
        new_tokens: The most that are asked for.
        temperature: Of sampling; 0 is greedy.
        top_k: From how many tokens.
    """
    import llama_cpp as lib

    lib.llama_backend_init()
    model = lib.llama_model_load_from_file(
        bytes(path), lib.llama_model_default_params()
    )
    turn = max(1, MOST_PATHS // samples)
    width = rows.shape[1]
    paths = min(turn, len(rows)) * samples
    settings = lib.llama_context_default_params()
    # Room for every path by itself: with one room for all (`kv_unified`),
    # each path looks at the places of all others too.
    settings.n_ctx = paths * -(-(width + new_tokens) // 256) * 256
    settings.n_seq_max = paths
    settings.n_batch = max(turn * width, paths)
    settings.n_outputs_max = paths
    settings.n_threads = settings.n_threads_batch = os.cpu_count()
    context = lib.llama_init_from_model(model, settings)
    if not model or not context:
        raise RuntimeError(f"llama.cpp could not load {path}")
    memory = lib.llama_get_memory(context)
    chain = sampler(temperature, top_k, 0)

    def group(prompts: np.ndarray, new: int) -> int:
        lib.llama_memory_clear(memory, True)
        count = len(prompts) * samples
        reading = Batch(prompts.size)
        reading.owners(np.repeat(np.arange(0, count, samples), width))
        reading.tokens[:] = prompts.ravel()
        reading.places[:] = np.tile(np.arange(width), len(prompts))
        reading.asked[:] = 0
        reading.asked[width - 1 :: width] = 1
        reading.decode(context)
        for path in range(count):
            first = path - path % samples
            if path != first:
                lib.llama_memory_seq_cp(memory, first, path, -1, -1)
        last = np.arange(count) // samples * width + width - 1
        writing = Batch(count)
        writing.owners(range(count))
        writing.asked[:] = 1
        for step in range(new):
            writing.tokens[:] = [
                lib.llama_sampler_sample(chain, context, int(i)) for i in last
            ]
            if step + 1 == new:
                break
            writing.places[:] = width + step
            writing.decode(context)
            last = range(count)
        for batch in (reading, writing):
            lib.llama_batch_free(batch.raw)
        return count * new

    def run(new: int) -> int:
        starts = range(0, len(rows), turn)
        return sum(group(rows[i : i + turn], new) for i in starts)

    return run
