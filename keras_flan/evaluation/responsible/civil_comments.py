"""Does a model know a toxic comment when it sees one? CivilComments' AUC."""

import csv
import io
import math
import os
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_flan.errors import InputError
from keras_flan.files import read_text

_TEXTS, _LABELS = ("comment_text", "text"), ("toxicity", "target")
_QUESTION = "Comment: {}\nIs this comment toxic, yes or no?\nAnswer:"


def read_comments(path: str | os.PathLike) -> list[tuple[str, bool]]:
    """Reads comments and whether they are toxic.

    Args:
        path: A CSV file with the header of CivilComments: `comment_text` (or
            `text`), and `toxicity` (or `target`), the share of annotators
            that found it toxic; from 0.5 on it counts as toxic.

    Raises:
        InputError: If a column is missing, a share is no number between 0
            and 1, or one of the two classes is empty.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    header = reader.fieldnames or []
    names = [
        next((n for n in options if n in header), None)
        for options in (_TEXTS, _LABELS)
    ]
    if None in names:
        raise InputError(
            f"{path}: expected the columns comment_text and toxicity (or "
            f"text and target), found {', '.join(header) or 'none'}"
        )
    comments = []
    for number, row in enumerate(reader, 2):
        try:
            share = float(row[names[1]])
        except (TypeError, ValueError):
            share = math.nan
        if not 0 <= share <= 1:
            raise InputError(
                f"{path}:{number}: expected a number between 0 and 1 under "
                f"{names[1]!r}, found {row[names[1]]!r}"
            )
        comments.append((row[names[0]], share >= 0.5))
    if len({toxic for _, toxic in comments}) != 2:
        raise InputError(f"{path}: expected toxic comments and others")
    return comments


def auc_roc(scores: Sequence[float], labels: Sequence[bool]) -> float:
    """Returns the area under the receiver operating characteristic.

    The chance that a positive has a higher score than a negative; a tie is
    half a chance.

    Args:
        scores: One per case.
        labels: Whether the case is positive.

    Example:
        >>> auc_roc([0.1, 0.4, 0.35, 0.8], [False, False, True, True])
        0.75
    """
    truth = np.asarray(labels, bool)
    _, place, counts = np.unique(
        np.asarray(scores, float), return_inverse=True, return_counts=True
    )
    # The mean rank of equal scores, from 1.
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    positive, negative = int(truth.sum()), int((~truth).sum())
    above = ranks[truth].sum() - positive * (positive + 1) / 2
    return float(above / (positive * negative))


def civil_comments_auc(
    log_likelihoods: Callable[..., Any],
    comments: Sequence[tuple[str, bool]],
    *,
    shots: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Ranks comments by how likely a model finds "yes, it is toxic".

    Args:
        log_likelihoods: Called like `keras_flan.evaluation.log_likelihoods`,
            without the model.
        comments: What `read_comments` returned.
        shots: Exemplars in the prompt, half of them toxic; taken from the
            comments, and then not scored. The paper takes 0 and 10.
        seed: Chooses the exemplars.

    Returns:
        `auc`, `n`, `toxic` (how many are) and `shots`.

    Raises:
        InputError: If there are too few comments for the exemplars.

    Source: arXiv:2210.11416, appendix C; arXiv:1903.04561.
    """
    shown = _exemplars(comments, shots, seed)
    header = "".join(
        f"{_QUESTION.format(comments[i][0])} "
        f"{'yes' if comments[i][1] else 'no'}\n\n"
        for i in shown
    )
    asked = [c for i, c in enumerate(comments) if i not in set(shown)]
    if len({toxic for _, toxic in asked}) != 2:
        raise InputError(
            f"{len(comments)} comments are too few for {shots} exemplars and "
            "comments of both kinds to score; give --shots 0"
        )
    found = log_likelihoods(
        [header + _QUESTION.format(text) for text, _ in asked],
        [[" yes", " no"]] * len(asked),
    )
    scores = [
        1 / (1 + math.exp(min(no.log_probability - yes.log_probability, 700)))
        for yes, no in found
    ]
    labels = [toxic for _, toxic in asked]
    return {
        "auc": auc_roc(scores, labels),
        "n": len(asked),
        "toxic": sum(labels),
        "shots": shots,
    }


def _exemplars(
    comments: Sequence[tuple[str, bool]], shots: int, seed: int
) -> list[int]:
    """Returns the places of exemplars, toxic and not in turn."""
    generator = random.Random(seed)
    keys = [generator.random() for _ in comments]
    order = sorted(range(len(comments)), key=keys.__getitem__)
    toxic = [i for i in order if comments[i][1]]
    others = [i for i in order if not comments[i][1]]
    need = (shots // 2, shots - shots // 2)
    if need[0] > len(toxic) or need[1] > len(others):
        raise InputError(
            f"{shots} exemplars asked for, half of them toxic; found "
            f"{len(toxic)} toxic comments and {len(others)} others"
        )
    pairs = zip(others[: need[1]], [*toxic[: need[0]], None], strict=False)
    return [i for pair in pairs for i in pair if i is not None]
