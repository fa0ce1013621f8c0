"""What every key of every file means: commented examples, pages, schemas.

All of it is made from the pydantic models and docstrings, and from nothing
else. `python -m keras_flan.reference docs/reference` writes the pages and the
schemas for editors.
Imports `training`, `evaluation`, `data` and what these may import.
"""
