"""The options of the public multiple-choice questions."""

import csv
import gzip
import io
import json
from pathlib import Path


def public_options(data: Path) -> dict[str, list[list[str]]]:
    """Returns the options of every question of MMLU and AQuA."""
    mmlu = []
    for path in sorted((data / "mmlu").glob("*/*.csv.gz")):
        text = gzip.decompress(path.read_bytes()).decode()
        rows = csv.reader(io.StringIO(text, newline=""))
        mmlu += [row[1:5] for row in rows]
    aqua = []
    for line in (data / "nlp/aqua/test.json").read_text().split("\n"):
        if line.strip():
            options = json.loads(line)["options"]
            aqua.append([option.partition(")")[2] for option in options])
    return {"mmlu": mmlu, "aqua": aqua}
