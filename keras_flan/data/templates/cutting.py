"""A family of templates, cut to fewer wordings."""

from typing import Any

from keras_flan.data.templates.library import LIBRARY
from keras_flan.schema import read_yaml

# Lists of a family that are no templates.
_OTHERS = ("fields", "shorten")


def few_templates(family: str, number: int) -> dict[str, Any]:
    """Returns a family of the library with the first templates of each list.

    Args:
        family: Its name.
        number: How many templates of each list are kept.

    Returns:
        What `load_family` takes. Templates that the family includes from
        elsewhere are left out.

    Example:
        >>> len(few_templates("gsm8k", 1)["zero_shot_direct"])
        1
    """
    content = read_yaml(LIBRARY / f"{family}.yaml")
    content.pop("include", None)
    return {
        key: value[:number]
        if isinstance(value, list) and key not in _OTHERS
        else value
        for key, value in content.items()
    }
