"""The one way to make an HTML page, a table and a plot.

Imports `files`.
"""
