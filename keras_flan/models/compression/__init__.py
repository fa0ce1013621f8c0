"""Smaller models: weights in few bits, and weights that are 0.

Imports what all models share, and where adapters find projections.
"""
