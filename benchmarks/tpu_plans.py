"""Compiles the paper's jobs with the TPU's own compiler, without a TPU.

    python benchmarks/tpu_plans.py            # all, an hour or two
    python benchmarks/tpu_plans.py flan_t5_small flan_palm_8b
    python benchmarks/tpu_plans.py flan_t5_small --part decode

Each job is a training step that `fit` runs, on the smallest slice that the
planner finds and the compiler accepts (PaLM 540B also on the paper's own 512
chips); rows of 2,048 + 512 tokens, the paper's batch. The parts: `train`, with
the kernels of attention; `einsum`, the same without; `smaller`, the next
smaller slice, which has to refuse it; `decode`, the round of decoding that
`generate` runs: 32 prompts, 8 paths each; `experts`, T5-XL with 32 experts. The
tables go to `docs/tpu_plans.md`, the numbers to `docs/tpu_plans.json`, which
keeps what other runs have found. Needs the extra [tpu] and a Linux machine of
8 GiB, for experts of 12.
"""

import argparse
import json
import sys
from pathlib import Path

from keras_flan.files import atomic_write, write_json
from keras_flan.planning.compiler import compile_job
from keras_flan.planning.kernels import kernel_cost
from keras_flan.planning.planner import JobPlan, plan
from keras_flan.planning.seconds import step_parts

DOCS = Path(__file__).parents[1] / "docs"
# The smallest slices that the planner finds; PaLM 540B also on the paper's own.
JOBS = {
    "flan_t5_small": ("v4:2x2x1", "batch=4"),
    "flan_t5_base": ("v4:2x2x1", "batch=4"),
    "flan_t5_large": ("v4:2x2x1", "batch=4"),
    "flan_t5_xl": ("v4:2x2x1", "batch=4"),
    "flan_t5_xxl": ("v4:2x2x2", "batch=8"),
    "flan_palm_8b": ("v4:2x2x1", "batch=4"),
    "flan_palm_62b": ("v4:2x4x4", "batch=16,model=2"),
    "flan_palm_540b": ("v4:8x8x8", "batch=32,model=16"),
    "flan_palm_540b_on_256": ("v4:4x8x8", "batch=32,model=8"),
}
# The next smaller ones; of four chips there is none.
SMALLER = {
    "flan_t5_xxl": "v4:2x2x1",
    "flan_palm_62b": "v4:2x2x4",
    "flan_palm_540b_on_256": "v4:4x4x8",
}
# Upcycled, every other feed-forward block; such layers are not stacked.
WITH_EXPERTS = {"flan_t5_xl": ("v4:2x2x4", "batch=4,model=4")}
EXPERTS = {"experts": {"experts": 32, "top_k": 2}, "scan": False}
PARTS = ("train", "einsum", "smaller", "decode", "experts")
MARKER = "<!-- The rest is written by benchmarks/tpu_plans.py. -->"
COLUMNS = (
    "| job | slice | mesh | fits | GiB, compiler | GiB, estimate | FLOPs | "
    "FLOPs, paper | s per step: compiler | roofline | old rule | hours | "
    "compiling: wall, CPU, GiB | next smaller slice |",
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
)
ATTENTION_TITLE = """
## Attention with kernels, and without

The same steps with the scores of attention written to memory
(`model.attention=einsum`, T5 in chunks of 256 queries) and with the kernels
that write none. GB are what a device reads and writes in a step and s its
seconds, by the compiler's count of one layer and of what surrounds the layers,
with what the kernels do added by hand; a roofline's where there is no count.
"""
ATTENTION_COLUMNS = (
    "| job | kernel | GiB: einsum | kernel | GB per step: einsum | kernel | "
    "ratio | s per step: einsum | kernel | ratio |",
    "|---|---|---|---|---|---|---|---|---|---|",
)
SHARE_TITLE = """
What attention can gain at most is its share, here by the roofline: of the bytes
and seconds of a step with `einsum`, and what would be left of the step if
attention took nothing at all. PaLM's steps are mostly products of weights: no
form of attention can halve their seconds. T5's long encoder rows are mostly
scores.

For PaLM 8B keeping the kernel's results for the backward pass, instead of
computing them twice, and blocks of 1,280 queries were tried too: 0.60 of the
bytes, but 0.16 GiB per layer more, which the slice does not have.
"""
SHARE_COLUMNS = (
    "| job | slice | GB per step: einsum | kernel | of einsum's GB attention "
    "is | s per step: einsum | kernel | of einsum's s attention is | left "
    "without attention: GB, s |",
    "|---|---|---|---|---|---|---|---|---|",
)
DECODE_TITLE = """
## Decoding

What `generate` compiles: reading a prompt of 2,048 tokens, then 512 steps of
8 paths per prompt; weights and caches in bfloat16, on
the slice of the training step.
"""
DECODE_COLUMNS = (
    "| job | slice | mesh | prompts x paths | fits | GiB, compiler | "
    "GiB, estimate | of that caches | compiling: wall, CPU, GiB |",
    "|---|---|---|---|---|---|---|---|---|",
)
EXPERTS_TITLE = """
## Experts

The same step of a model whose every other feed-forward block has 32 experts, of
which a token takes two. Experts are split over the axis `model`.
"""
EXPERTS_COLUMNS = (
    "| job | parameters | slice | mesh | fits | GiB, compiler | GiB, estimate "
    "| compiling: wall, CPU, GiB |",
    "|---|---|---|---|---|---|---|---|",
)
PROMPTS = 32
GIB = 2**30
# What is allowed: of the estimate, of seconds, and of this machine's memory.
CLOSE = 0.2
SECONDS = 900
# A machine that does other work too needs more than it may.
PATIENCE = 4 * 3600
HOST_BYTES = 8 * GIB
# Of layers that are not stacked, each is compiled by itself.
UNSTACKED_BYTES = 12 * GIB


def compiled(made, count=False):
    """Returns what the compiler says of a plan, and the plan."""
    said = compile_job(made.job, count=count, seconds=PATIENCE)
    values = JobPlan(**{**vars(made), "compiler": said}).as_dict()
    kept = (
        "fits", "bytes_per_device", "seconds", "cpu_seconds", "host_bytes",
        "message", "cost",
    )  # fmt: skip
    values["compiler"] = {k: said[k] for k in kept if k in said}
    # Its list of the largest buffers fills pages.
    values["compiler"]["message"] = said["message"][:400]
    if "cost" in said:
        parts = made.job.optimizer.accumulate
        moved = said["cost"]["bytes"] * parts + kernel_cost(made.job)[1]
        values["moved_bytes_per_step"] = moved
    return values


def measure(name, part, before):
    """Compiles one part of a job.

    Args:
        name: Of `JOBS`.
        part: Of `PARTS`.
        before: What other parts gave.

    Returns:
        The plan of the training step and the compiler's word as a
        dictionary, the same of the other parts in it.
    """
    preset = name.partition("_on_")[0]
    if part == "train":
        others = {k: before[k] for k in PARTS[1:] if k in before}
        return compiled(plan(preset, *JOBS[name]), count=True) | others
    if part == "einsum":
        made = plan(preset, *JOBS[name], model={"attention": part})
        return {**before, part: compiled(made, count=True)}
    if part == "decode":
        rows = {"batch_size": PROMPTS}
        made = plan(preset, *JOBS[name], side="decode", data=rows)
        return {**before, part: compiled(made)}
    if part == "experts" and name in WITH_EXPERTS:
        made = plan(preset, *WITH_EXPERTS[name], model=EXPERTS)
        return {**before, part: compiled(made)}
    if part == "experts" or name not in SMALLER:
        return {k: v for k, v in before.items() if k != part}
    return {**before, part: compiled(plan(preset, SMALLER[name]))}


def both(values):
    """Returns the compiler's GiB and the estimate, as two columns."""
    held = values["compiler"]["bytes_per_device"]["total"]
    estimate = values["bytes_per_device"]["total"]
    return (
        f"{held / GIB:.2f} | "
        f"{estimate / GIB:.2f} ({100 * (estimate / held - 1):+.0f}%)"
    )


def cost(said):
    """Returns what compiling took, as a column."""
    return (
        f"{said['seconds']:.0f} s, {said['cpu_seconds']:.0f} s, "
        f"{said['host_bytes'] / GIB:.1f}"
    )


def row(values):
    """Returns a line of the table of training."""
    job, said = values["job"], values["compiler"]
    published = values["published"]
    hours = published.get("hours")
    smaller = "there is none" if values["chips"] == 4 else "the next row"
    seconds = values["seconds"]
    if "smaller" in values:
        less = values["smaller"]
        verdict = "fits" if less["compiler"]["fits"] else "refused"
        estimate = less["bytes_per_device"]["total"]
        smaller = (
            f"{less['job']['topology']}, "
            f"{less['job']['distribution']['mesh']}: {verdict} "
            f"(estimate {estimate / GIB:.1f} GiB)"
        )
    return (
        f"| {values['preset']} | {job['topology']} | "
        f"{job['distribution']['mesh']} | "
        f"{'yes' if said['fits'] else 'no'} | {both(values)} | "
        f"{values['total_flops']:.2g} | {published['finetuning_flops']:.2g} | "
        f"{number(seconds['compiler'])} | {seconds['roofline']:.2f} | "
        f"{seconds['rule']:.2f} | {values['hours']:.1f}"
        + (f" (paper: {hours:.0f})" if hours else "")
        + f" | {cost(said)} | {smaller} |"
    )


def number(value):
    """Returns seconds as a column."""
    return "-" if value is None else f"{value:.2f}"


def attention_row(values):
    """Returns a line of the table of kernels."""
    without = values["einsum"]
    held = [
        f"{said['bytes_per_device']['total'] / GIB:.2f}"
        if said["fits"]
        else "refused"
        for said in (without["compiler"], values["compiler"])
    ]
    moved = [p.get("moved_bytes_per_step") for p in (without, values)]
    seconds = [part["seconds_per_step"] for part in (without, values)]
    row = [values["preset"], values["attention"]]
    row += held
    row += ["-" if part is None else f"{part / 1e9:,.0f}" for part in moved]
    row.append("-" if None in moved else f"{moved[1] / moved[0]:.2f}")
    row += [f"{part:.2f}" for part in seconds]
    row.append(f"{seconds[1] / seconds[0]:.2f}")
    return f"| {' | '.join(row)} |"


def share_row(name):
    """Returns a line on what attention is of a step, by the roofline."""
    preset, (slice, mesh) = name.partition("_on_")[0], JOBS[name]
    moved, took = [], []
    for form in ("einsum", "auto"):
        made = plan(preset, slice, mesh, model={"attention": form})
        chip = made.job.slice.chip
        parts = step_parts(made.job, made.memory)
        seconds = {
            part: max(done / chip.flops, many / chip.bandwidth)
            for part, (done, many) in parts.items()
        }
        moved.append((sum(p[1] for p in parts.values()), parts["attention"][1]))
        took.append((sum(seconds.values()), seconds["attention"]))
    (before, its), (after, _) = moved
    (long, wait), (short, _) = took
    return (
        f"| {preset} | {slice} | {before / 1e9:,.0f} | {after / 1e9:,.0f} | "
        f"{its / before:.0%} | {long:.2f} | {short:.2f} | {wait / long:.0%} | "
        f"{1 - its / before:.2f}, {1 - wait / long:.2f} |"
    )


def place(job):
    """Returns slice and mesh, as two columns."""
    return f"{job['topology']} | {job['distribution']['mesh']}"


def decode_row(values):
    """Returns a line of the table of decoding."""
    job, said = values["job"], values["compiler"]
    return (
        f"| {values['preset']} | {place(job)} | "
        f"{job['data']['batch_size']} x {job['paths']} | "
        f"{'yes' if said['fits'] else 'no'} | {both(values)} | "
        f"{values['bytes_per_device']['cache'] / GIB:.2f} | {cost(said)} |"
    )


def experts_row(values):
    """Returns a line of the table of experts."""
    said, weights = values["compiler"], values["parameters"] / 1e9
    cells = [values["preset"], f"{weights:.1f}e9", place(values["job"])]
    cells += ["yes" if said["fits"] else "no", both(values), cost(said)]
    return f"| {' | '.join(cells)} |"


def page(measured):
    """Returns the page, its tables made anew."""
    head, marker, _ = (
        (DOCS / "tpu_plans.md").read_text("utf-8").partition(MARKER)
    )
    found = [measured[name] for name in JOBS if name in measured]
    return "\n".join(
        [
            head + marker,
            "",
            *COLUMNS,
            *map(row, found),
            ATTENTION_TITLE,
            *ATTENTION_COLUMNS,
            *(attention_row(v) for v in found if "einsum" in v),
            SHARE_TITLE,
            *SHARE_COLUMNS,
            *map(share_row, JOBS),
            DECODE_TITLE,
            *DECODE_COLUMNS,
            *(decode_row(v["decode"]) for v in found if "decode" in v),
            EXPERTS_TITLE,
            *EXPERTS_COLUMNS,
            *(experts_row(v["experts"]) for v in found if "experts" in v),
            "",
        ]
    )


def check(values):
    """Yields what isn't as it should be."""
    name = values["preset"]
    sides = {"": values}
    sides |= {
        f" {part}": values.get(part) for part in ("einsum", "decode", "experts")
    }
    for side, program in sides.items():
        if program is None:
            continue
        said = program["compiler"]
        held = said["bytes_per_device"]["total"]
        estimate = program["bytes_per_device"]["total"]
        if not said["fits"]:
            if side == " einsum":
                continue  # Only the kernel lets it fit.
            yield f"{name}{side}: does not fit: {said['message']}"
        elif abs(estimate / held - 1) > CLOSE:
            yield f"{name}{side}: estimate {estimate / held - 1:+.0%} off"
        if said["cpu_seconds"] > SECONDS:
            yield f"{name}{side}: compiling took {said['cpu_seconds']:.0f} s"
        most = UNSTACKED_BYTES if side == " experts" else HOST_BYTES
        if said["host_bytes"] > most:
            yield (
                f"{name}{side}: compiling took "
                f"{said['host_bytes'] / GIB:.1f} GiB"
            )
    if "smaller" in values and values["smaller"]["compiler"]["fits"]:
        job = values["smaller"]["job"]
        mesh = job["distribution"]["mesh"]
        yield f"{name}: fits {job['topology']}, {mesh} too"


def main():
    """Measures, writes, and fails if something isn't as it should be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(JOBS))
    parser.add_argument("--part", action="append", choices=PARTS)
    options = parser.parse_args()
    names = options.names
    parts = [p for p in PARTS if p in (options.part or PARTS)]
    path = DOCS / "tpu_plans.json"
    measured = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    problems = []
    for name in names:
        if name not in JOBS:
            sys.exit(f"{name}: choose from {', '.join(JOBS)}")
        for part in parts:
            measured[name] = measure(name, part, measured.get(name, {}))
            write_json(path, measured)
            with atomic_write(DOCS / "tpu_plans.md") as file:
                file.write(page(measured))
        print(row(measured[name]), flush=True)
        problems += check(measured[name])
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
