"""keras-hub backbones, wired for packed batches.

A folder per family; imports `data` (for vocabularies) and what that imports.
"""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "DecoderOnly": ".decoder_only.model",
        "PaLMBackbone": ".decoder_only.palm",
        "PaLMCausalLM": ".decoder_only.palm_causal_lm",
        "T5": ".t5.model",
        "T5Gemma": ".t5gemma.model",
        "add_dora": ".adapters.dora",
        "add_houlsby": ".adapters.houlsby",
        "add_ia3": ".adapters.ia3",
        "add_lora": ".adapters.lora",
        "from_peft": ".huggingface.peft",
        "from_huggingface": ".t5.huggingface.convert",
        "load": ".loading",
        "load_adapter": ".adapters.saving",
        "merge_adapter": ".adapters.base",
        "prune": ".compression.pruning",
        "remove_adapter": ".adapters.base",
        "save": ".loading",
        "save_adapter": ".adapters.saving",
        "smollm2": ".gguf.packaged",
        "to_huggingface": ".huggingface.writing",
        "to_peft": ".huggingface.peft",
        "upcycle": ".experts.upcycling",
    },
)
