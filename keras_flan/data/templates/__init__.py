"""How an example is asked: templates, tasks that use them, and prompts.

Imports `records`.
"""
