"""Blocks of a Markdown page that results fill; what stands around them stays.

A block stands between the page's own lines `<!-- NAME -->` and
`<!-- end -->`.
"""

import re
from collections.abc import Callable, Collection

from keras_flan.errors import InputError

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
