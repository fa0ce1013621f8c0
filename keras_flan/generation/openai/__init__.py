"""OpenAI's interface, for tools that speak it: what is asked and answered.

Imports what `generation` may import.
"""
