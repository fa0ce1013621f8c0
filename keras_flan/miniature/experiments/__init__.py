"""The paper's experiments as a resumable plan, and their page.

Imports `universe` and `pretraining`.
"""
