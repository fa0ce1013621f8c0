"""e-SNLI (Camburu et al., 2018): parallel files of tokenised lines.

`s1.dev`, `s2.dev`, `labels.dev` and `preproc1_expl_1.dev` (of which there may
be more) belong together line by line. Besides premise, hypothesis and label
a record holds them as one question with the answers yes, no and "it is not
possible to tell", and the first explanation as the rationale.
"""

from collections.abc import Iterator
from pathlib import Path

from keras_flan.data.importers import base
from keras_flan.errors import InputError
from keras_flan.files import read_text

_ANSWERS = {
    "entailment": "yes",
    "contradiction": "no",
    "neutral": "it is not possible to tell",
}
_QUESTION = (
    "Premise: {}\nHypothesis: {}\nIf the premise is true, is the hypothesis "
    "true?\nOPTIONS:\n- " + "\n- ".join(_ANSWERS.values())
)


def _files(path: Path, split: str) -> list[Path]:
    """Returns the files for s1, s2, labels and explanations."""
    if path.is_dir():
        found = sorted(path.glob("labels.*"))
        if len(found) > 1:
            wanted = [p for p in found if p.name.split(".")[1] == split]
            found = wanted or found
        if len(found) != 1:
            raise InputError(
                f"{path}: expected one file labels.{split}, found "
                f"{[p.name for p in found]}; choose with --split, or name the "
                "file of labels"
            )
        path = found[0]
    stem, dot, suffix = path.name.partition(".")
    known = ("s1", "s2", "labels")
    if not dot or not (stem in known or stem.startswith("preproc1_expl_")):
        raise InputError(
            f"{path}: expected a folder, or one of its files, such as "
            "labels.dev"
        )
    files = [path.with_name(f"{name}.{suffix}") for name in known]
    explanations = sorted(path.parent.glob(f"preproc1_expl_*.{suffix}"))
    if not explanations:
        raise InputError(
            f"{path.parent}: no file preproc1_expl_1.{suffix}; download the "
            "explanations too"
        )
    return files + explanations


def _lines(path: Path) -> list[str]:
    """Returns all lines, blank ones too: their numbers matter."""
    lines = read_text(path).split("\n")
    return [line.strip() for line in lines[: -1 if not lines[-1] else None]]


def _rows(files: list[Path]) -> Iterator[base.Row | base.Reject]:
    columns = [_lines(path) for path in files]
    for path, lines in zip(files, columns, strict=True):
        if len(lines) != len(columns[0]):
            raise InputError(
                f"{path}: expected {len(columns[0])} lines as in "
                f"{files[0].name}, found {len(lines)}; the files must belong "
                "together"
            )
    labels = files[2]
    for number, cells in enumerate(zip(*columns, strict=True), 1):
        premise, hypothesis, label, *explanations = cells
        rationale = next(filter(None, explanations), "")
        found: base.Found
        if label not in _ANSWERS:
            found = f"expected {', '.join(_ANSWERS)}, found {label!r:.40}"
        elif not (premise and hypothesis and rationale):
            found = "the premise, the hypothesis or the explanation is empty"
        else:
            found = {
                "premise": premise,
                "hypothesis": hypothesis,
                "label": label,
                "question": _QUESTION.format(premise, hypothesis),
                "answer": _ANSWERS[label],
                "rationale": rationale,
            }
        yield base.row_or_reject(labels, number, found, "\t".join(cells))


def _read(path: Path, options: base.Options) -> base.Source:
    files = _files(path, options.split)
    return base.Source(_rows(files), "esnli", "esnli", "text")


IMPORTER = base.Importer(
    format="esnli",
    summary="e-SNLI: a folder of s1.*, s2.*, labels.*, preproc1_expl_*.*",
    read=_read,
    origin="https://github.com/OanaMariaCamburu/e-SNLI",
    license="MIT; SNLI: CC-BY-SA-4.0",
)
