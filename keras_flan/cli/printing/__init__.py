"""What the commands print: JSON for programs, tables and lines for a person.

Most functions print what one function of the package returned. Rich, and what
only printing needs, is imported when something is printed.
Imports `data` and `evaluation`.
"""
