"""Which tasks are drawn how often: mixtures, also the paper's own.

Imports `records` and `templates`.
"""
