"""Runs: benchmarks asked of a model, kept in a journal, scored and written.

Imports `scores`, `benchmarks`, `generation` and what these may import.
"""
