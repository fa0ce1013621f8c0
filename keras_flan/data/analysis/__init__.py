"""What a mixture really gives: statistics, reports and contamination.

Imports all of `data`, and `pages`.
"""
