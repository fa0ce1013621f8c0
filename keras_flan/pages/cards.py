"""Model cards: a model folder's `README.md`, as Hugging Face reads it."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

CARD_FILE = "README.md"
LOADS = """```python
import keras_flan

model = keras_flan.models.load("THIS_FOLDER")
paths = keras_flan.generation.generate(model, ["What is 2 + 2?"])
print(paths[0][0].text)
```"""
_LOADS = {
    "keras-hub": LOADS,
    "transformers": """```python
from transformers import pipeline

model = pipeline(model="THIS_FOLDER")
print(model("What is 2 + 2?"))
```""",
}
_FRONT = re.compile(r"---\n(.*?)---\n", re.S)


def model_card(
    title: str, metadata: Mapping[str, Any], sections: Mapping[str, str]
) -> str:
    """Returns a card: metadata in YAML, a title, sections.

    Args:
        title: The heading.
        metadata: Keys of Hugging Face's model cards; empty ones are left out.
        sections: Markdown by heading; empty ones are left out.

    Example:
        >>> print(model_card("mine", {"license": "mit"}, {"Limits": "Many."}))
        ---
        license: mit
        ---
        <BLANKLINE>
        # mine
        <BLANKLINE>
        ## Limits
        <BLANKLINE>
        Many.
        <BLANKLINE>
    """
    given = {key: value for key, value in metadata.items() if value}
    parts = [_front(given), f"# {title}"]
    parts += [f"## {name}\n\n{text}" for name, text in sections.items() if text]
    return "\n\n".join(parts) + "\n"


def of_library(card: str, library: str) -> str:
    """Returns a card whose model is now in the files of another library.

    Args:
        card: The card.
        library: Hugging Face's name of it, such as `transformers`.
    """
    front = _FRONT.match(card)
    if front is None:
        return card
    metadata = yaml.safe_load(front[1])
    text = card[front.end() :]
    for loads in _LOADS.values():
        text = text.replace(loads, _LOADS[library])
    return _front({**metadata, "library_name": library}) + f"\n{text}"


def _front(metadata: Mapping[str, Any]) -> str:
    text = yaml.safe_dump(dict(metadata), sort_keys=False, allow_unicode=True)
    return f"---\n{text}---"
