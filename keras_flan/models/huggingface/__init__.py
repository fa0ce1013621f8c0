"""Models in the files of Hugging Face: weights, configs, tokenizers, adapters.

Imports `models/t5`, `models/decoder_only` and `models/adapters`.
"""
