"""Text to ids and back: SentencePiece models and keras-hub's tokenizers.

Imports `mixtures` and what that may import.
"""
