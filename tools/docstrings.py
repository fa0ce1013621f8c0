"""Docstrings as mkdocstrings reads them: an extension of griffe.

It knows the section `Examples:` and not Keras's `Example:`, which would be
shown as text.
"""

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^( *)Example:$", re.M)


class Docstrings(griffe.Extension):
    """Names sections as griffe does."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Changes the docstring of a module, class or function.

        Args:
            obj: What has the docstring.
        """
        if obj.docstring:
            text = obj.docstring.value
            obj.docstring.value = _EXAMPLE.sub(r"\1Examples:", text)
