"""The TPU planner: what a training job takes, before it runs.

Imports `training`, `distribution` and what these may import.
"""
