"""Judging, scoring, intervals, and the paper's own numbers.

Imports `benchmarks` and `answers`.
"""
