"""The real models of a job."""

from keras_flan.planning.jobs import Job


def build(job: Job, dtype: str):
    """Returns the model that a job is about, as this package trains it.

    Args:
        job: The job.
        dtype: A dtype or the name of a dtype policy.
    """
    size = job.size
    if job.family == "palm":
        from keras_flan.models import DecoderOnly, PaLMBackbone

        backbone = PaLMBackbone(
            vocabulary_size=size.vocabulary_size,
            num_layers=size.num_layers,
            num_heads=size.num_heads,
            hidden_dim=size.hidden_dim,
            intermediate_dim=size.intermediate_dim,
            head_dim=size.head_dim,
            dropout=job.dropout,
            remat=job.remat,
            dtype=dtype,
        )
        return DecoderOnly(backbone)
    from keras_flan.models import T5

    return T5.from_config_values(
        vocabulary_size=size.vocabulary_size,
        num_layers=size.num_layers,
        num_heads=size.num_heads,
        hidden_dim=size.hidden_dim,
        intermediate_dim=size.intermediate_dim,
        key_value_dim=size.head_dim,
        dropout=job.dropout,
        scan=True,
        remat=job.remat,
        query_chunk=job.attention_chunk or None,
        dtype=dtype,
    )
