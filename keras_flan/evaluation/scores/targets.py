"""The right answers of rows, in the form that answers are compared in."""

from collections.abc import Mapping, Sequence

from keras_flan.answers import normalise_answer
from keras_flan.answers.option_texts import OptionTexts, option_names
from keras_flan.errors import InputError
from keras_flan.evaluation.scores.predictions import Prediction

# Free text has no form that it could lack: an empty one is never met.
_FREE = ("text", "span", "whole")


def canonical_targets(
    rows: Sequence[Prediction],
    kinds: Sequence[str],
    languages: Sequence[str | None],
    *,
    letters: str | None = None,
    rules: str | None = None,
    source: str = "rows",
) -> list[list[str]]:
    """Returns the right answers of each row, canonical.

    An option may be named by its letter or by its text; or by its place, as
    Hugging Face's MMLU does, where the places of all rows show whether they
    count from 0 or from 1.

    Args:
        rows: The rows.
        kinds: The kind of answers of each.
        languages: The language of each, where it is known.
        letters: The letters of the options, where rows have none.
        rules: A name in `keras_flan.answers.RULE_SETS`.
        source: What errors call the rows.

    Raises:
        InputError: If a row has no right answer of its kind; it names the
            row.
    """
    first = _first_place(rows, kinds, letters)
    targets = []
    for number, (row, kind, language) in enumerate(
        zip(rows, kinds, languages, strict=True), 1
    ):
        found = []
        for answer in row.right_answers:
            value = normalise_answer(answer, kind, rules, language)
            if kind == "option" and not _is_letter(value, row, letters):
                value = _option(answer, row, letters, first)
            if value:
                found.append(value)
        if not found and kind not in _FREE:
            raise InputError(
                f"{source}:{number}: expected a right answer of the kind "
                f"{kind!r} under 'target', found {row.target!r:.60}"
                + _remedy(kind, first)
            )
        targets.append(found)
    return targets


def _is_letter(value: str | None, row: Prediction, letters: str | None) -> bool:
    names = _names(row, letters)
    return value is not None and (not names or value in names)


def _names(row: Prediction, letters: str | None) -> list[str]:
    return option_names(len(row.options)) or list(letters or "")


def _option(
    answer: str, row: Prediction, letters: str | None, first: int | None
) -> str | None:
    """Returns the name of the option of a place or text."""
    names = _names(row, letters)
    if answer.strip().isdecimal() and first is not None:
        place = int(answer) - first
        return names[place] if 0 <= place < len(names) else None
    texts = OptionTexts.of(row.options)
    found = texts.whole(answer, 0, len(answer))
    return found and found[0]


def _first_place(
    rows: Sequence[Prediction], kinds: Sequence[str], letters: str | None
) -> int | None:
    """Returns the place of the first option; None if targets don't show it."""
    places, sizes = set(), set()
    for row, kind in zip(rows, kinds, strict=True):
        for answer in row.right_answers if kind == "option" else ():
            if answer.strip().isdecimal():
                places.add(int(answer))
                sizes.add(len(_names(row, letters)))
    if not places or 0 in sizes:
        return None
    if 0 in places:
        # What no place can be may be the text of an option.
        fits = max(places) < max(sizes) or not any(r.options for r in rows)
        return 0 if fits else None
    return 1 if max(places) == max(sizes) else None


def _remedy(kind: str, first: int | None) -> str:
    remedies: Mapping[str, str] = {
        "option": "; write a letter, such as B, or the text of an option"
        + ("" if first is not None else ". Places don't show where they begin"),
        "number": "; write a number, or give the row an 'answer_kind'",
    }
    return remedies.get(kind, "; mend the row, or give it an 'answer_kind'")
