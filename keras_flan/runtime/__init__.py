"""What is set in the process: memory, XLA's flags, TensorFlow's start.

Imports no other room.
"""
