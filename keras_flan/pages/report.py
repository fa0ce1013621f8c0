"""The folder of a report, whatever it is about."""

from pathlib import Path

from keras_flan.outputs import Kind

PAGE_FILE = "report.html"
MARKDOWN_FILE = "tables.md"
LATEX_FILE = "tables.tex"


def _is_report(folder: Path) -> bool:
    names = (PAGE_FILE, MARKDOWN_FILE, LATEX_FILE)
    return all((folder / name).is_file() for name in names)


# A folder of its own, or that of what it is about.
REPORT = Kind("report", _is_report, joins=("run", "evaluation"))
