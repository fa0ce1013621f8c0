"""Which layers of a model an adapter joins, by family."""

import fnmatch
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from keras_flan.errors import InputError, did_you_mean
from keras_flan.schema import read_yaml

_TABLE = Path(__file__).with_name("targets.yaml")

# Names for what is chosen most, besides a kind's own default.
SETS = {
    "attention": ("*attention.*",),
    "feedforward": ("feedforward.*",),
    "all": ("*",),
}


@functools.cache
def _table() -> dict:
    return read_yaml(_TABLE)


def projections(backbone: Any) -> dict[str, Any]:
    """Returns the projections of a backbone, by name.

    Args:
        backbone: A keras-hub backbone.

    Returns:
        Layers with a kernel under names such as
        `"decoder.3.self_attention.query"`; without the number for layers
        that are stacked.

    Raises:
        InputError: If the family has no entry in `targets.yaml`.
    """
    return dict(_find(backbone, "projections"))


def norms(backbone: Any) -> dict[str, Any]:
    """Returns the norms of a backbone, or their variable, by name."""
    found = dict(_find(backbone, "norms"))
    for name, attribute in _entry(backbone)["final_norms"].items():
        found[name] = _follow(backbone, attribute)
    return found


def choose(
    backbone: Any, targets: str | Iterable[str], default: tuple[str, ...]
) -> dict[str, Any]:
    """Returns the chosen projections of a backbone, by name.

    Args:
        backbone: A keras-hub backbone.
        targets: `"default"`, a key of `SETS`, or patterns of names, or
            several of them: `"query"`, `"feedforward.*"` and
            `"decoder.*.self_attention.query"` match the end of a name from
            one of its dots on.
        default: What `"default"` stands for.

    Raises:
        InputError: If any of them matches nothing.
    """
    known = projections(backbone)
    wanted = [targets] if isinstance(targets, str) else list(targets)
    if not wanted:
        raise InputError("targets: found none, expected at least one")
    chosen = set()
    for target in wanted:
        patterns = {"default": default, **SETS}.get(target, (target,))
        matched = {
            key
            for key in known
            if any(_matches(key, pattern) for pattern in patterns)
        }
        if not matched:
            short = sorted(_short_names(known))
            hint = did_you_mean(str(target), ["default", *SETS, *short])
            raise InputError(
                f"targets: {target!r} matches no layer of a "
                f"{type(backbone).__name__}, which has {', '.join(short)}."
                + hint
            )
        chosen |= matched
    return {key: layer for key, layer in known.items() if key in chosen}


def _matches(key: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(key, pattern) or fnmatch.fnmatchcase(
        key, f"*.{pattern}"
    )


def _short_names(keys: Iterable[str]) -> set[str]:
    return {".".join(key.split(".")[-2:]) for key in keys}


def _entry(backbone: Any) -> dict[str, Any]:
    for cls in type(backbone).__mro__:
        if cls.__name__ in _table():
            return _table()[cls.__name__]
    raise InputError(
        f"{type(backbone).__name__}: no adapters are known for this family; "
        f"expected one of: {', '.join(sorted(_table()))}"
    )


def _find(backbone: Any, kind: str) -> Iterator[tuple[str, Any]]:
    entry = _entry(backbone)
    for stack, attribute in entry["stacks"].items():
        layers = getattr(backbone, attribute)
        # Stacked layers are one layer.
        numbered = enumerate(layers) if _is_list(layers) else [("", layers)]
        for number, layer in numbered:
            for name, path in entry[kind].items():
                found = _follow(layer, path)
                # What stands in for the projections of a block of experts
                # has no kernel.
                known = kind == "norms" or hasattr(found, "kernel")
                if found is not None and known:
                    parts = (stack, str(number), name)
                    yield ".".join(part for part in parts if part), found


def _is_list(value: object) -> bool:
    return hasattr(value, "__len__")


def _follow(owner: Any, path: str) -> Any:
    """Follows attributes and keys; `None` where an architecture has none."""
    for part in path.split("."):
        if hasattr(owner, "keys"):
            owner = owner[part]
        else:
            owner = getattr(owner, part, None)
    return owner
