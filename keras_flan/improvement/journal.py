"""What was sampled and judged: groups of paths, and their journal."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_flan.data.mixtures.questions import Question
from keras_flan.errors import InputError
from keras_flan.files import atomic_write, parse_json
from keras_flan.storage import append

PATHS_FILE = "paths.jsonl"


@dataclasses.dataclass
class JudgedPath:
    """A path, or a text of a pair, and what became of it.

    Args:
        text: What was written.
        token_ids: Its tokens, with the end token if it ended.
        log_probabilities: Of each token when it was sampled; empty if
            somebody else wrote it.
        finished: Whether it ended.
        reward: What the judges gave; `None` if they abstained.
        weight: What it weighs: an advantage, 1 or 0 for what is kept or not;
            of pairs 1 for the chosen one and -1 for the rejected one.
        reference: Log-probabilities of the model at the start, if needed.
    """

    text: str
    token_ids: list[int]
    log_probabilities: list[float] = dataclasses.field(default_factory=list)
    finished: bool = True
    reward: float | None = None
    weight: float = 0.0
    reference: list[float] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Group:
    """A question and its paths.

    Args:
        question: The question.
        paths: The paths.
        answer: What the judges took for the answer, where texts are learnt
            in several formats.
        unaided: The rewards of the paths before these, if these were written
            with the answer as a hint.
    """

    question: Question
    paths: list[JudgedPath]
    answer: str = ""
    unaided: list[float | None] = dataclasses.field(default_factory=list)

    @property
    def rewards(self) -> list[float | None]:
        """The rewards of what the model wrote by itself."""
        return self.unaided or [path.reward for path in self.paths]


class Journal:
    """Every path of a run, a line per group, on disk before it is trained on.

    Whoever was killed later trains on the same; a torn round is cut off.

    Args:
        path: The file.
        resume: Whether to go on with it.

    Attributes:
        seconds: Of each round that is there: what it took, by use.

    Raises:
        InputError: If it is broken before its end.
    """

    def __init__(self, path: Path, resume: bool):
        self._path = path
        self._rounds: dict[int, list[Group]] = {}
        self.seconds: dict[int, dict[str, float]] = {}
        if resume and path.is_file():
            self._read()

    def groups(self, number: int) -> list[Group] | None:
        """Returns the groups of a round; `None` if it is not there whole."""
        return self._rounds.get(number)

    def add(
        self, number: int, groups: Sequence[Group], seconds: Mapping[str, float]
    ) -> None:
        """Appends a round, and what it took."""
        head = {"round": number, "groups": len(groups), "seconds": {**seconds}}
        lines = [_line(head, group) for group in groups]
        append(self._path, "".join(f"{line}\n" for line in lines).encode())
        # The page shows the first round and the last one.
        first = self._rounds.get(0, groups)
        self._rounds = {0: list(first), number: list(groups)}

    def _read(self) -> None:
        data = self._path.read_bytes()
        lines = data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]
        found: dict[int, list[Group]] = {}
        kept: list[bytes] = []
        own: list[bytes] = []
        for place, line in enumerate(lines, 1):
            try:
                row: Any = parse_json(line)
                number, count = row["round"], row["groups"]
                groups = found.setdefault(number, [])
                groups.append(_group(row))
                self.seconds[number] = row.get("seconds", {})
            except (ValueError, KeyError, TypeError):
                if place < len(lines):
                    raise InputError(
                        f"{self._path}:{place}: not a line of a journal of "
                        "paths; give another output to begin anew"
                    ) from None
                break
            own.append(line)
            if len(groups) == count:
                self._rounds[number] = groups
                kept, own = [*kept, *own], []
        if own or len(kept) < len(lines) or not data.endswith(b"\n"):
            with atomic_write(self._path, "wb") as f:
                f.write(b"".join(line + b"\n" for line in kept))


def _line(head: Mapping[str, Any], group: Group) -> str:
    row = {**head, **dataclasses.asdict(group)}
    return json.dumps(row, ensure_ascii=False, allow_nan=False)


def _group(row: Mapping[str, Any]) -> Group:
    options = tuple(row["question"]["options"])
    return Group(
        Question(**{**row["question"], "options": options}),
        [JudgedPath(**path) for path in row["paths"]],
        row["answer"],
        row.get("unaided", []),
    )
