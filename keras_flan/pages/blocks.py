"""Blocks of a Markdown page that results fill; what stands around them stays.

A block stands between the page's own lines `<!-- NAME -->` and
`<!-- end -->`.
"""

import os
import re
from collections.abc import Callable, Collection

from keras_flan.errors import InputError
from keras_flan.files import atomic_write, read_json, read_text

_BLOCK = re.compile(r"(<!-- (\w+) -->\n)(.*?)(<!-- end -->)", re.S)


def fill_blocks(
    text: str,
    names: Collection[str],
    content: Callable[[str], str],
    *,
    what: str,
    source: str = "page",
) -> str:
    r"""Returns a page with its blocks filled.

    Args:
        text: The page.
        names: What a block may be called.
        content: The name of a block to its new content, in Markdown.
        what: What errors call a block's subject, such as `"experiment"`.
        source: What errors call the page.

    Raises:
        InputError: If the page names what there is not.

    Example:
        >>> page = "Results\n<!-- one -->\n<!-- end -->\n"
        >>> fill_blocks(page, ["one"], lambda name: "1", what="table")
        'Results\n<!-- one -->\n\n1\n<!-- end -->\n'
    """

    def fill(block: re.Match) -> str:
        begin, name, _, end = block.groups()
        if name not in names:
            raise InputError(
                f"{source}: no {what} {name!r} in the results; there are "
                + ", ".join(names)
            )
        return f"{begin}\n{content(name)}\n{end}"

    return _BLOCK.sub(fill, text)


def fill_page(
    filled: Callable[[str, dict, str], str],
    results: str | os.PathLike,
    page: str | os.PathLike,
) -> None:
    """Puts results into a page, which is replaced as a whole.

    Args:
        filled: The text of the page, the results and the page's name for
            errors to the new text.
        results: A JSON file.
        page: A Markdown file.

    Raises:
        InputError: If a file can't be read, or as `filled`.
    """
    values = read_json(results, allow_nan=True)
    text = filled(read_text(page), values, str(page))
    with atomic_write(page) as f:
        f.write(text)
