"""Whether an answer follows from the reasoning that is given for it.

Imports `generation`, `evaluation/scores` and what these may import.
"""
