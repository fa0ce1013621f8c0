"""Sets of math word problems: SVAMP, the MAWPS family and ASDiv.

SVAMP and ASDiv have a body and a question, which are joined by a blank. A
whole number is written without `.0`, and without thousands commas.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_flan.data.importers import base
from keras_flan.errors import InputError
from keras_flan.files import read_text

_NUMBER = re.compile(r"-?(\d{1,3}(,\d{3})+|\d+)(\.\d+)?")
_UNIT = re.compile(r"\s*\(([^()]*)\)")


def _number(value: Any) -> str | None:
    """Returns a number of the file in its plain form; None if it is none."""
    if isinstance(value, base.Number):
        value = value.text
    elif type(value) is int:
        value = str(value)
    if not isinstance(value, str) or not _NUMBER.fullmatch(value.strip()):
        return None
    return re.sub(r"\.0+$", "", value.strip().replace(",", ""))


def _problem(value: Any) -> tuple[str, Any] | str:
    """Returns question and answer, or why there are none."""
    if isinstance(value, dict) and "sQuestion" in value:
        reason = base.missing_text(value, ["sQuestion"])
        solutions: Any = value.get("lSolutions")
        if reason:
            return reason
        if not isinstance(solutions, list) or len(solutions) != 1:
            return f"expected one solution, found {solutions!r:.40}"
        return value["sQuestion"].strip(), solutions[0]
    if reason := base.missing_text(value, ("Body", "Question")):
        return reason
    question = f"{value['Body'].strip()} {value['Question'].strip()}"
    return question, value.get("Answer")


def _rows(path: Path, items: list) -> Iterator[base.Row | base.Reject]:
    for number, item in enumerate(items, 1):
        found = _problem(item)
        if isinstance(found, str):
            yield base.Reject(path, number, found, base.as_json(item))
        elif answer := _number(found[1]):
            fields = {"question": found[0], "answer": answer}
            yield base.Row(path, number, fields | _equation(item), _id(item))
        else:
            yield _no_number(path, number, found[1], base.as_json(item))


def _no_number(path: Path, number: int, answer: Any, text: str) -> base.Reject:
    reason = f"expected a number as answer, found {answer!r:.40}"
    return base.Reject(path, number, reason, text, base.RejectCode.NO_NUMBER)


def _equation(item: dict) -> dict[str, str]:
    """Returns the field `equation`, if there is one."""
    found = item.get("Equation", item.get("lEquations"))
    found = found[0] if isinstance(found, list) and found else found
    text = base.text_or_empty(found).strip()
    return {"equation": text} if text else {}


def _id(item: dict) -> str:
    found = item.get("ID", item.get("iIndex", ""))
    return str(found) if isinstance(found, str | int) else ""


def _read(path: Path, options: base.Options) -> base.Source:
    items = base.read_exact_json(path)
    if not isinstance(items, list):
        raise InputError(
            f"{path}: expected a JSON list of problems, found "
            f"{type(items).__name__}"
        )
    name = base.task_name(path, "math-problems")
    return base.Source(_rows(path, items), name, "word_problems", "number")


def _asdiv_rows(path: Path, problems: list) -> Iterator[base.Row | base.Reject]:
    for number, problem in enumerate(problems, 1):
        parts = _texts(problem)
        if isinstance(parts, str):
            text = ElementTree.tostring(problem, encoding="unicode")
            yield base.Reject(path, number, parts, text)
            continue
        body, question, solution = parts
        unit = _UNIT.search(solution)
        answer = _number(solution[: unit.start()] if unit else solution)
        if answer is None or (unit and unit.end() < len(solution)):
            yield _no_number(path, number, solution, " | ".join(parts))
            continue
        fields = {
            "question": f"{body} {question}",
            "answer": answer,
            "unit": unit[1].strip() if unit else "",
            **_equation({"Equation": problem.findtext("Formula")}),
        }
        yield base.Row(path, number, fields, problem.get("ID", ""))


def _texts(problem: ElementTree.Element) -> list[str] | str:
    """Returns body, question and answer, or why they can't be had."""
    strays = [problem.text, *(child.tail for child in problem)]
    if any(stray and not stray.isspace() for stray in strays):
        return "text stands between the elements of the Problem"
    texts = []
    for tag in ("Body", "Question", "Answer"):
        found = problem.findall(tag)
        if len(found) != 1 or len(found[0]):
            return f"expected one {tag} without elements inside"
        texts.append((found[0].text or "").strip())
        if not texts[-1]:
            return f"the {tag} is empty"
    return texts


def _read_asdiv(path: Path, options: base.Options) -> base.Source:
    text = read_text(path)
    if "<!" in text:
        # Entities can expand to gigabytes and comments cut a text in two;
        # the data set has neither.
        raise InputError(
            f"{path}: XML with comments, CDATA or a DOCTYPE is not read; "
            "remove them"
        )
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(
            f"{path}: not XML ({error}); download the file again"
        ) from None
    rows = _asdiv_rows(path, list(root.iter("Problem")))
    name = base.task_name(path, "asdiv")
    return base.Source(rows, name, "word_problems", "number")


MATH_PROBLEMS = base.Importer(
    format="math-problems",
    summary="Word problems JSON: SVAMP, MultiArith, SingleEq, AddSub",
    read=_read,
)
ASDIV = base.Importer(
    format="asdiv",
    summary="ASDiv XML: Problem with Body, Question and Answer",
    read=_read_asdiv,
    origin="https://github.com/chaochun/nlu-asdiv-dataset",
    license="CC-BY-NC-4.0",
)
