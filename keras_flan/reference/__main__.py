"""Writes the reference: `python -m keras_flan.reference docs/reference`."""

import sys
from pathlib import Path

from keras_flan.reference.pages import reference_files


def main(folder: str) -> None:
    """Writes the pages and schemas to a folder, in place of those there."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, text in reference_files().items():
        Path(folder, name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
