"""The universe: small synthetic tasks that need no download.

Every task is a seeded generator (`TaskSpec.make`) whose answers are right by
construction. Tasks of one skill form a family; some families are held out,
so that what finetuning does to tasks it never saw can be measured.

A further task is a `make` function and a `TaskSpec` in the `TASKS` of one of
the modules; a further module is added to `catalogue.py`.

Programs with bugs (`DEBUGGING`) are tasks beside them, for who names them.

Imports `data/records` and `answers/programs`.
"""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "TASKS": ".catalogue",
        "ALL": ".catalogue",
        "DEBUGGING": ".catalogue",
        "CORE": ".catalogue",
        "HELD_OUT_FAMILIES": ".catalogue",
        "TaskSpec": ".specs",
        "Draws": ".specs",
        "generate": ".build",
        "build_records": ".build",
        "ensure_records": ".build",
        "GENERATOR_VERSION": ".build",
        "SAMPLE_SIZES": ".build",
        "SPLIT_SIZES": ".build",
    },
)
