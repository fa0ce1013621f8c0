"""The table of layouts: variable, shape, layout, bytes per device."""

import re
import sys
from typing import TYPE_CHECKING, TextIO

from keras_flan.distribution.layouts import Layouts

if TYPE_CHECKING:
    from rich.table import Table

_NUMBER = re.compile(r"\d+")


def layout_table(layouts: Layouts) -> "Table":
    """Returns the layouts that were looked up, as a `rich.table.Table`.

    Weights whose paths differ in numbers only are one row, with their count.

    Args:
        layouts: What `layout_map` returned for a model.

    Example:

    ```python
    rich.print(layout_table(layout_map(model, "batch=8", "fsdp")))
    ```
    """
    from rich.table import Table

    groups: dict[tuple, list] = {}
    for layout in layouts.found.values():
        name = _NUMBER.sub("*", layout.path)
        key = (name, layout.shape, layout.axes, layout.note)
        groups.setdefault(key, []).append(layout)
    table = Table(
        title=f"preset {layouts.preset} on mesh {layouts.mesh}",
        caption=_summary(layouts),
    )
    table.add_column("variable", overflow="fold")
    table.add_column("")
    table.add_column("shape")
    table.add_column("layout")
    table.add_column("bytes/device", justify="right")
    table.add_column("not split")
    for (name, shape, axes, note), group in groups.items():
        held = sum(v.bytes_per_device(layouts.mesh) for v in group)
        table.add_row(
            group[0].path if len(group) == 1 else name,
            "" if len(group) == 1 else f"x{len(group)}",
            " x ".join(map(str, shape)),
            ", ".join(axis or "." for axis in axes),
            f"{held:,}",
            note,
        )
    return table


def print_layouts(layouts: Layouts, file: TextIO | None = None) -> None:
    """Prints `layout_table`.

    Args:
        layouts: What `layout_map` returned for a model.
        file: Where to; default stdout.

    Example:

    ```python
    run = keras_flan.distribution.setup("batch=4,model=2", "fsdp+model")
    model = keras_flan.models.load("flan_t5_small")
    print_layouts(run.layouts)
    ```
    """
    from rich.console import Console

    Console(file=file or sys.stdout, soft_wrap=False).print(
        layout_table(layouts)
    )


def _summary(layouts: Layouts) -> str:
    whole = sum(v.bytes() for v in layouts.found.values())
    held = sum(v.bytes_per_device(layouts.mesh) for v in layouts.found.values())
    copies = [v for v in layouts.found.values() if not any(v.axes)]
    lines = [
        f"{whole:,} bytes of weights, {held:,} on each of "
        f"{layouts.mesh.devices} devices",
        f"{sum(v.bytes() for v in copies):,} bytes in {len(copies)} weights "
        "are on every device",
    ]
    if layouts.unknown:
        lines.append(
            f"of unknown role, on every device: {', '.join(layouts.unknown)}"
        )
    unused = [
        f"{axis}={size}"
        for axis, size in layouts.mesh.items()
        if size > 1 and axis != "batch" and not layouts.uses(axis)
    ]
    if unused:
        lines.append(
            f"nothing is split over {', '.join(unused)} by this preset"
        )
    return "; ".join(lines)
