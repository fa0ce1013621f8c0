"""All tasks of the universe, by name."""

from keras_flan.data.universe import (
    arithmetic,
    comparison,
    lists,
    logic,
    meaning,
    state,
)

TASKS = {
    spec.name: spec
    for module in (arithmetic, comparison, lists, state, logic, meaning)
    for spec in module.TASKS
}
