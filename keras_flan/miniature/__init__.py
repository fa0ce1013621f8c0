"""The paper in miniature: a pretrained nano, and the paper's experiments.

Imports every room but `cli`.
"""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "documents": ".pretraining.corpus",
        "load_plan": ".experiments.plan",
        "pretrain": ".pretraining.pretrain",
        "run_miniature": ".experiments.execute",
        "PretrainConfig": ".pretraining.pretrain",
    },
)
