"""Examples on disk: checksummed TFRecord sets.

Imports nothing of `data`.
"""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Example": ".example",
        "write_records": ".shards",
        "read_records": ".shards",
        "RecordInfo": ".info",
        "read_info": ".info",
    },
)
