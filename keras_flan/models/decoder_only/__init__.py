"""Decoder-only models: keras-hub's families, PaLM and SmolLM2.

Imports what all models share.
"""
