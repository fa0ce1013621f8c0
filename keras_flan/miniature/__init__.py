"""The paper in miniature: a pretrained nano, and the paper's experiments."""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "documents": ".corpus",
        "load_plan": ".plan",
        "pretrain": ".pretrain",
        "run_miniature": ".runner",
        "PretrainConfig": ".pretrain",
    },
)
