"""The prompts of a benchmark, to look at and to keep as golden ones."""

import os
from collections.abc import Iterable
from typing import Any

from keras_flan.evaluation.benchmarks.files import load_benchmark
from keras_flan.evaluation.benchmarks.protocols import PromptProtocol


def golden_prompts(
    benchmark: str | os.PathLike | PromptProtocol,
    data: str | os.PathLike | None = None,
    *,
    mode: str = "direct",
    shots: int | None = 0,
    number: int = 3,
    tasks: Iterable[str] | None = None,
    split: str | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    r"""Returns the first prompts of a benchmark, as a model would read them.

    Args:
        benchmark: See `load_benchmark`.
        data: Its files.
        mode: `"direct"`, `"cot"` or `"rank"`.
        shots: Exemplars; None: as many as the published protocol.
        number: Questions of each of the first tasks: one of each of so many
            tasks, or so many of the only one.
        tasks: Only these tasks.
        split: Of the benchmarks that have several.
        seed: Chooses the exemplars.

    Returns:
        A dict per prompt: `form` (benchmark, mode and exemplars), `task`,
        `id`, `prompt`, `target`, `answer_kind`, `shots`, `stop` and `choices`.
        `keras_flan.testing.check_protocol` checks them.

    Raises:
        InputError: As `Benchmark.items`.

    Example:
        >>> golden_prompts("gsm8k", "data/gsm8k")[0]["prompt"]
        'Q: Janet sells 16 eggs ...\nA:'
    """
    source = load_benchmark(benchmark, data, split)
    shots = source.protocol.shots if shots is None else shots
    chosen = list(tasks or source.tasks)[:number]
    items = source.items(
        mode=mode,
        shots=shots,
        tasks=chosen,
        limit=number if len(chosen) == 1 else 1,
        seed=seed,
    )
    keys = ("task", "id", "prompt", "target", "answer_kind", "shots")
    return [
        {
            "form": f"{source.name} {mode} {shots}",
            **{key: getattr(item, key) for key in keys},
            "stop": list(item.stop),
            "choices": list(item.choices) if mode == "rank" else [],
        }
        for item in items[:number]
    ]
