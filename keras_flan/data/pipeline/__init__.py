"""From a mixture to packed batches, without Python per example.

Imports `mixtures` and `vocabularies`, and what these may import.
"""
