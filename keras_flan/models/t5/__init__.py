"""T5: its model, layers, decoding, and Hugging Face's files of it.

Imports what all models share.
"""
