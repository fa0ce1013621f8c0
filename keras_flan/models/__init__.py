"""keras-hub backbones, wired for packed batches."""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "DecoderOnly": ".decoder_only",
        "PaLMBackbone": ".palm",
        "PaLMCausalLM": ".palm_causal_lm",
        "T5": ".t5",
        "add_houlsby": ".houlsby",
        "add_lora": ".lora",
        "from_huggingface": ".huggingface.convert",
        "load": ".loading",
        "load_adapter": ".adapters",
        "merge_adapter": ".adapters",
        "remove_adapter": ".adapters",
        "save": ".loading",
        "save_adapter": ".adapters",
        "smollm2": ".smollm2_gguf",
        "to_huggingface": ".huggingface.convert",
    },
)
