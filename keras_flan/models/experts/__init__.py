"""Feed-forward blocks of many experts, of which each token takes a few.

Imports what all models share.
"""
