"""Clusters of tasks, and which of them are held out: see clusters.yaml."""

import fnmatch
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pydantic

from keras_flan.data.mixtures.task_registry import (
    plain_name,
    registry_tasks,
    sub_mixtures,
)
from keras_flan.schema import Strict, read_yaml, validate

_FILE = Path(__file__).with_name("clusters.yaml")
# What the sub-mixtures of the paper are called here.
_SOURCES = {
    "muffin": "classification",
    "t0_sf": "t0",
    "niv2": "natural_instructions",
    "cot": "cot",
}


class _Members(Strict):
    tasks: list[str] = pydantic.Field(default_factory=list)
    categories: list[str] = pydantic.Field(default_factory=list)


class _Clusters(Strict):
    held_out: dict[str, _Members]
    trained: dict[str, _Members]


class Place(NamedTuple):
    """Where a task belongs."""

    source: str  # See `plan.SOURCES`.
    cluster: str
    held_out: bool


@functools.cache
def _clusters() -> _Clusters:
    return validate(_Clusters, read_yaml(_FILE), str(_FILE))


@functools.cache
def _registered() -> Mapping[str, tuple[str, str]]:
    """Returns source and category of the paper's tasks."""
    return {
        plain_name(task.name): (_SOURCES[mixture], task.category)
        for mixture in sub_mixtures()
        for task in registry_tasks(mixture)
    }


def place_of(name: str, source: str = "", category: str = "") -> Place:
    """Returns where a task belongs.

    Args:
        name: The task.
        source: Where it comes from; default: as the paper's tables say.
        category: The same.

    Example:
        >>> place_of("task1289_trec_classification")
        Place(source='natural_instructions', cluster='question classification',
        held_out=True)
    """
    listed = _registered().get(plain_name(name), ("classification", name))
    source, category = source or listed[0], category or listed[1]
    for held_out, clusters in (
        (True, _clusters().held_out),
        (False, _clusters().trained),
    ):
        for cluster, members in clusters.items():
            if (
                cluster == category
                or category in members.categories
                or any(fnmatch.fnmatchcase(name, p) for p in members.tasks)
            ):
                return Place(source, cluster, held_out)
    return Place(source, category.lower(), False)
