"""The journal of a run: nothing that was generated is lost or repeated."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_flan.errors import InputError
from keras_flan.evaluation.scores.predictions import Prediction
from keras_flan.files import atomic_write, parse_json
from keras_flan.storage import append

# The key of a line's digest.
_RUN = "run_digest"
_ANEW = "give another --output, or --fresh to begin anew"


class Journal:
    """A file of finished examples that only grows.

    The first line says what run it is; then comes a line per example. Lines
    are on disk (fsync), or in the bucket, before `add` returns. After a crash
    the last line may be torn: it is cut off, and its example is generated
    again. Each line holds a digest of the run's identity, so that lines of
    another run, whoever wrote them there, are never taken for its own.

    Args:
        path: The file.
        identity: What the run is, JSON-able. Only a run with the same
            identity goes on with a journal.
        resume: Whether to go on with a journal; else it is replaced when
            the first example is done.

    Raises:
        InputError: If the journal, or a line of it, is of another run, or
            it is broken before its last line.

    Example:
        >>> journal = Journal(Path("run/journal.jsonl"), {"seed": 0}, True)
        >>> journal.add({0: Prediction(target="4", outputs=["4"])})
        >>> Journal(journal.path, {"seed": 0}, True).rows[0].outputs
        ['4']
    """

    def __init__(self, path: Path, identity: Mapping[str, Any], resume: bool):
        self.path = path
        self._identity = json.loads(json.dumps(identity))
        text = json.dumps(self._identity, sort_keys=True)
        self._digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.rows: dict[int, Prediction] = {}
        self._begun = False
        if resume and path.is_file():
            self._read()

    def add(self, rows: Mapping[int, Prediction]) -> None:
        """Appends examples by their index in the run."""
        new = {i: row for i, row in rows.items() if i not in self.rows}
        lines = [
            json.dumps(
                {_RUN: self._digest, **row.to_row(i)}, ensure_ascii=False
            )
            for i, row in new.items()
        ]
        if not self._begun:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.unlink(missing_ok=True)
            head = {"run": self._identity}
            lines.insert(0, json.dumps(head, ensure_ascii=False))
            self._begun = True
        data = "".join(f"{line}\n" for line in lines).encode()
        append(self.path, data)
        self.rows |= new

    def _read(self) -> None:
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        lines = data[:whole].split(b"\n")[:-1]
        parsed = []
        for number, line in enumerate(lines, 1):
            try:
                parsed.append(parse_json(line, allow_nan=True))
                _check_row(parsed[-1], number)
            except ValueError:
                # A block of the last write may be missing on disk.
                if number < len(lines):
                    raise InputError(
                        f"{self.path}:{number}: not JSON of a row; remove "
                        "the file to begin anew"
                    ) from None
                whole -= len(line) + 1
                del parsed[number - 1 :]
        if not parsed:
            return
        self._check(parsed[0].get("run"))
        if whole < len(data):
            with atomic_write(self.path, "wb") as f:
                f.write(data[:whole])
        self._begun = True
        for number, row in enumerate(parsed[1:], 2):
            if not isinstance(row, dict):
                raise InputError(
                    f"{self.path}:{number}: expected a JSON object, found "
                    f"{type(row).__name__}; remove the file to begin anew"
                )
            # Those of earlier versions don't say it.
            if row.pop(_RUN, self._digest) != self._digest:
                raise InputError(
                    f"{self.path}:{number}: a line of another run, which "
                    f"wrote there too; {_ANEW}"
                )
            found = Prediction.from_row(row, f"{self.path}:{number}")
            self.rows.setdefault(row["index"], found)

    def _check(self, found: Any) -> None:
        if found == self._identity:
            return
        found = found if isinstance(found, dict) else {}
        differing = [
            f"{key} {found.get(key)!r:.40} -> {self._identity.get(key)!r:.40}"
            for key in {**found, **self._identity}
            if found.get(key) != self._identity.get(key)
        ]
        raise InputError(
            f"{self.path}: the journal of another run ("
            f"{', '.join(differing[:4])}); {_ANEW}"
        )


def _check_row(row: Any, number: int) -> None:
    """Refuses what is no object, or has no index, with a ValueError."""
    index = row.get("index") if isinstance(row, dict) else None
    if number == 1 and isinstance(row, dict):
        return
    if type(index) is not int or index < 0:
        raise ValueError("expected an object with an 'index'")
