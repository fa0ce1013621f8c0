"""Prompts in the language of the records, beside those in English."""

import dataclasses
import re
from typing import Any

from keras_flan.data.templates.families import LOCALISED_FORMATS, TemplateFamily
from keras_flan.data.templates.library import (
    languages,
    library_families,
    load_family,
)

# Families whose records another one asks in other languages.
_ASKED_AS = {"gsm8k": "mgsm", "word_problems": "mgsm", "intent": "topic"}


def localised(family: TemplateFamily, language: str | None) -> TemplateFamily:
    r"""Returns a family with the formats that ask in a language.

    The templates are those of the library's family for the language, such as
    `nli_ko` of `nli`. A family that has none there stays as it is.

    Args:
        family: The family.
        language: The code of the records' language.

    Example:
        >>> family = localised(load_family("nli"), "de")
        >>> str(family.few_shot_localised[0].input).split("\n")[0]
        'Aussage: {premise}'
    """
    if language not in languages():
        return family
    base = re.sub(rf"_({'|'.join(languages())})$", "", family.name)
    name = f"{_ASKED_AS.get(base, base)}_{language}"
    if name not in library_families():
        return family
    own = load_family(name)
    lists: dict[str, Any] = {
        format.value: own.templates(of)
        for format, of in LOCALISED_FORMATS.items()
    }
    return dataclasses.replace(family, **lists)
