"""Runs a plan: cell after cell, each kept, then the results and the page."""

import concurrent.futures
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

from keras_flan.files import write_json
from keras_flan.miniature.experiments.cells import Bench, CellScores
from keras_flan.miniature.experiments.plan import (
    PLAN,
    Cell,
    ExperimentPlan,
    View,
    content_hash,
    load_plan,
)
from keras_flan.miniature.experiments.report import write_page
from keras_flan.miniature.experiments.results import collect_results
from keras_flan.outputs import Kind, output_folder, replace_files
from keras_flan.storage import local_path

RESULTS_FILE = "results.json"
PAGE_FILE = "report.html"

# That of a worker.
_bench: Bench


def run_miniature(
    output: str | os.PathLike = "runs/miniature",
    *,
    plan: str | os.PathLike = PLAN,
    quick: bool = False,
    only: list[str] | None = None,
    workers: int = 1,
    quiet: bool = False,
    overwrite: bool = False,
) -> dict:
    """Runs the paper's experiments in miniature and writes one report.

    Each finished run is kept in `cells/` under the hash of its settings:
    after a kill, the same call goes on with the next one, and a changed plan
    runs only what changed. The numbers do not depend on that.

    Args:
        output: The folder to write: `results.json`, `report.html` and what
            led to them.
        plan: The plan's YAML file; default: that of the package.
        quick: The plan's quick version.
        only: Names of experiments; default: all.
        workers: Processes, each with its share of the cores. Models as small
            as these gain little from a second core of their own.
        quiet: Whether to print nothing.
        overwrite: Whether to write among files of other kinds.

    Returns:
        The content of `results.json`, see `collect_results`.

    Raises:
        InputError: If the plan is wrong, the output holds something else, or
            another process writes there.

    Example:
        >>> results = run_miniature("runs/miniature", quick=True)
        >>> results["experiments"]["b_cot_data"]["checks"][0]["verdict"]
        'agrees'

    Source: arXiv:2210.11416; arXiv:2301.13688.
    """
    output = local_path(output)
    chosen = load_plan(plan, quick=quick).only(only)
    bench = Bench(output, chosen.bases, chosen.evaluation, quiet)
    with output_folder(output, MINIATURE, overwrite):
        scores = _run_cells(output, chosen, bench, workers, quiet)
        results = collect_results(chosen, scores, bench)
        with replace_files(output, RESULTS_FILE) as made:
            write_page(made / PAGE_FILE, results)
            write_json(made / RESULTS_FILE, results)
    return results


def _is_miniature(folder: Path) -> bool:
    names = {child.name for child in folder.iterdir()}
    return names <= {
        *("cells", "bases", "records", "mixtures"),
        *(RESULTS_FILE, PAGE_FILE),
    }


# What takes up the folder of these experiments.
MINIATURE = Kind("miniature", _is_miniature)


def _run_cells(
    output: Path, plan: ExperimentPlan, bench: Bench, workers: int, quiet: bool
) -> dict[tuple[str, str, int], CellScores]:
    """Returns the scores of each experiment, arm and seed, by view."""
    wanted = plan.cells()
    # Equal cells of several experiments are one, with the views of all; those
    # of one model stand together.
    views: dict[str, dict[str, View]] = {}
    cells: dict[str, Cell] = {}
    for cell, names in wanted.values():
        key = content_hash(cell)
        cells[key] = cell
        views.setdefault(key, {}).update({n: plan.views[n] for n in names})
    order = sorted(cells, key=lambda key: (cells[key].base, cells[key].method))
    work = [(cells[key], views[key]) for key in order]
    results: Iterable[CellScores]
    if workers == 1:
        results = (bench.scores(*one) for one in work)
    else:
        # Two workers must not make the same.
        bench.prepare(list(cells.values()))
        results = _run_in_workers(output, plan, work, workers)
    kept: dict[str, CellScores] = {}
    begin = time.monotonic()
    for number, (key, scores) in enumerate(zip(order, results, strict=True), 1):
        kept[key] = scores
        if not quiet:
            print(
                f"cell {number} of {len(order)}: "
                f"{time.monotonic() - begin:.1f} s in all",
                file=sys.stderr,
                flush=True,
            )
    return {
        place: {name: kept[content_hash(cell)][name] for name in names}
        for place, (cell, names) in wanted.items()
    }


def _run_in_workers(
    output: Path,
    plan: ExperimentPlan,
    work: list[tuple[Cell, dict[str, View]]],
    workers: int,
) -> Iterator[CellScores]:
    """Yields the scores of each cell, in order."""
    # Not forked: the threads of JAX and TensorFlow would not come along.
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(
        workers,
        context,
        initializer=_start_worker,
        initargs=(context.Value("i", 0), workers, output, plan),
    )
    try:
        yield from pool.map(_work, work)
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(
    number: "Synchronized[int]",
    workers: int,
    output: Path,
    plan: ExperimentPlan,
) -> None:
    """Takes this process's share of the cores; makes its bench."""
    global _bench
    with number.get_lock():
        mine, number.value = number.value, number.value + 1
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        # Threads that JAX and TensorFlow start later have the same cores.
        os.sched_setaffinity(0, cores[mine::workers] or cores)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _bench = Bench(output, plan.bases, plan.evaluation, True, prepared=True)


def _work(one: tuple[Cell, dict[str, View]]) -> CellScores:
    return _bench.scores(*one)


def _end_with_parent() -> None:
    """Ends this process when the one that started it is gone."""
    if parent := multiprocessing.parent_process():
        parent.join()
    os._exit(1)
