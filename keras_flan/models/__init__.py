"""keras-hub backbones, wired for packed batches."""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "DecoderOnly": ".decoder_only",
        "PaLMBackbone": ".palm",
        "PaLMCausalLM": ".palm_causal_lm",
        "T5": ".t5",
        "from_huggingface": ".huggingface.convert",
        "load": ".loading",
        "save": ".loading",
        "smollm2": ".smollm2_gguf",
        "to_huggingface": ".huggingface.convert",
    },
)
