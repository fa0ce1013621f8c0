"""Finished runs side by side, on one offline page.

Imports `runs`, `scores` and `pages`.
"""
