"""T5Gemma, an encoder-decoder made of Gemma 2's layers.

Imports what all models share, and decodes as `models/t5` does.
"""
