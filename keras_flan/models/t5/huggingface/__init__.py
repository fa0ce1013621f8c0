"""T5 checkpoints of Hugging Face: their files, configs and tokenizers.

Imports `models/t5`.
"""
