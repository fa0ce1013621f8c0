"""Attention that does not write its scores: kernels, and which one serves.

Imports what all models share; JAX and its kernels only when one is run.
"""
