"""Small trainable parts beside a frozen model, and their files.

Imports what all models share.
"""
