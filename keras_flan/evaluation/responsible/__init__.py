"""Responsible-AI checks: toxicity and its classifiers.

Imports `benchmarks`, `scores` and `generation`.
"""
