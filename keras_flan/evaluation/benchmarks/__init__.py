"""Benchmarks: their files, their protocols as data, and their questions.

Imports `data` and `answers`.
"""
