"""The real models of a job."""

from typing import TYPE_CHECKING

from keras_flan.planning.jobs import PlannedJob

if TYPE_CHECKING:
    from keras_flan.models.language_model import LanguageModel


def build(job: PlannedJob, dtype: str) -> "LanguageModel":
    """Returns the model that a job is about, as this package trains it.

    Args:
        job: The job.
        dtype: A dtype or the name of a dtype policy.
    """
    from keras_flan.models import T5, DecoderOnly, PaLMBackbone

    settings = {**job.size.model_dump(), **job.model.settings()}
    if job.family == "t5":
        return T5.from_config_values(**settings, dtype=dtype)
    settings["head_dim"] = settings.pop("key_value_dim")
    return DecoderOnly(PaLMBackbone(**settings, dtype=dtype))
