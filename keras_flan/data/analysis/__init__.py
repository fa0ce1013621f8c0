"""What a mixture really gives: reports, inspection and contamination.

Imports all of `data`, and `pages`.
"""
