"""Meshes of devices, layouts of weights, and runs on many hosts.

Imports `models` and what that may import.
"""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Layouts": ".layouts",
        "Mesh": ".mesh",
        "ModelParallel": ".parallel",
        "build_abstract": ".abstract",
        "Setup": ".start",
        "device_mesh": ".mesh",
        "ending_together": ".hosts",
        "gathered": ".hosts",
        "layout_map": ".layouts",
        "layout_table": ".table",
        "plan": "..planning.planner",
        "print_layouts": ".table",
        "suggest_plans": "..planning.planner",
        "setup": ".start",
    },
)
