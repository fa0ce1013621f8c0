"""Algebra for programs: what they use of `sympy`, small and bounded.

In layers, each of which knows those before it only: `terms`, `magnitudes`,
`arithmetic`, `notation`, `operations`, `polynomials`, `roots`, `rewriting`,
`unknowns`, `systems`, `equations`, `names`.

Imports the standard library alone, and `language` and `operators` beside it:
in the sandbox this folder is the package `symbols`.
"""
