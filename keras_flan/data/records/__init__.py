"""Examples on disk: checksummed TFRecord sets.

Imports nothing of `data`.
"""
