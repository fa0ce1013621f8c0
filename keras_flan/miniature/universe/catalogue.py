"""All tasks of the universe, by name."""

from keras_flan.miniature.universe import (
    arithmetic,
    comparison,
    composition,
    debugging,
    kinds,
    language,
    lists,
    logic,
    meaning,
    measures,
    numbers,
    quantities,
    rules,
    state,
    stories,
    strings,
)

# Those of the quickstart from scratch, few and broad.
CORE = {
    spec.name: spec
    for module in (arithmetic, comparison, lists, state, logic, meaning)
    for spec in module.TASKS
}
_MODULES = (
    numbers,
    measures,
    strings,
    kinds,
    language,
    stories,
    quantities,
    rules,
    composition,
)
_SPECS = (
    *CORE.values(),
    *(spec for module in _MODULES for spec in module.TASKS),
)
TASKS = {spec.name: spec for spec in _SPECS}
if len(TASKS) < len(_SPECS):
    raise AssertionError("two tasks of the universe have one name")

# Beside them, in no plan that does not name them: what pretraining practises
# and the published experiments draw from stays as it was.
DEBUGGING = {spec.name: spec for spec in debugging.TASKS}
ALL = {**TASKS, **DEBUGGING}

# Families of which no task is trained on.
HELD_OUT_FAMILIES = frozenset(spec.family for spec in _SPECS) - frozenset(
    spec.family for spec in _SPECS if not spec.held_out
)
