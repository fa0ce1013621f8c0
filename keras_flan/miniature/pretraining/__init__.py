"""The text and the run that the shipped nano was pretrained on.

Imports `universe`.
"""
