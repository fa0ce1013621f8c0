"""Conversations, instructions, prompts with completions, and preferences.

The files of chat fine-tuning: JSON Lines, or one JSON list. Each row becomes
a record with the turns of a conversation; its fields `question` and `answer`
say the same as one prompt: the assistant's last turn, and what came before.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from keras_flan.data.importers import base
from keras_flan.data.importers.messages import (
    Turns,
    conversation,
    read_messages,
    with_system,
)
from keras_flan.data.importers.texts import read_source
from keras_flan.data.records.turns import Turn, flatten, question_and_answer
from keras_flan.errors import InputError, did_you_mean

# The fields and the turns of a row, or why it can't be used.
_Found: TypeAlias = tuple[dict[str, str], list[Turn]] | str
# By what each part of a row is called: the part.
_Row: TypeAlias = Mapping[str, Any]


def _messages(row: _Row) -> _Found:
    turns = read_messages(row.get("messages"), "messages")
    turns = with_system(turns, row.get("system"), "messages")
    return _asked(conversation(turns, "messages"))


def _sharegpt(row: _Row) -> _Found:
    turns = read_messages(row.get("conversations"), "conversations")
    turns = with_system(turns, row.get("system"), "conversations")
    return _asked(conversation(turns, "conversations"))


def _alpaca(row: _Row) -> _Found:
    reason = base.missing_text(row, ("instruction", "output"))
    for name in ("input", "system"):
        if not isinstance(row.get(name) or "", str):
            reason = (
                reason or f"{name}: expected a text, found {row[name]!r:.40}"
            )
    history = row.get("history") or []
    pairs = history if isinstance(history, list) else [history]
    for number, pair in enumerate(pairs):
        two = isinstance(pair, list) and len(pair) == 2
        if not two or not all(isinstance(text, str) for text in pair):
            reason = reason or (
                f"history[{number}]: expected an instruction and its output, "
                f"found {pair!r:.40}"
            )
    if reason:
        return reason
    more = row.get("input") or ""
    asked = [row["instruction"], *([more] if more.strip() else [])]
    turns = [
        turn
        for question, answer in pairs
        for turn in (Turn("user", question), Turn("assistant", answer))
    ]
    turns += [Turn("user", "\n\n".join(asked))]
    turns += [Turn("assistant", row["output"])]
    found = _asked(with_system(turns, row.get("system"), "history"))
    if isinstance(found, str):
        return found
    own = {"instruction": row["instruction"], "input": more}
    return {**own, **found[0]}, found[1]


def _prompt_completion(row: _Row) -> _Found:
    prompt, completion = _prompt(row), _answer(row, "completion")
    if isinstance(prompt, str):
        return prompt
    if isinstance(completion, str):
        return completion
    return _asked(conversation([*prompt, *completion], "prompt"))


def _preference(row: _Row) -> _Found:
    sides: dict[str, list[Turn]] = {}
    for name in ("chosen", "rejected"):
        side = _answer(row, name)
        if isinstance(side, str):
            return side
        sides[name] = side
    chosen, rejected = sides.values()
    if row.get("prompt") is not None:
        prompt = _prompt(row)
    else:
        # What both begin with.
        same = 0
        while chosen[same : same + 1] == rejected[same : same + 1] != []:
            same += 1
        prompt = conversation(chosen[:same], "chosen", answered=False)
        chosen, rejected = chosen[same:], rejected[same:]
    if isinstance(prompt, str):
        return prompt
    if chosen == rejected:
        return "'chosen' and 'rejected' are the same"
    for name, side in (("chosen", chosen), ("rejected", rejected)):
        if [turn.role for turn in side] != ["assistant"]:
            return f"{name}: expected one turn of the assistant, the answer"
    fields = {
        "question": flatten(prompt),
        "chosen": chosen[0].content,
        "rejected": rejected[0].content,
    }
    return fields, prompt


def _prompt(row: _Row) -> Turns:
    """Returns a row's prompt, which may be a text or messages."""
    value = row.get("prompt")
    if isinstance(value, str):
        reason = base.missing_text(row, ("prompt",))
        turns: Turns = reason or [Turn("user", value)]
    else:
        turns = read_messages(value, "prompt")
    turns = with_system(turns, row.get("system"), "prompt")
    return conversation(turns, "prompt", answered=False)


def _answer(row: _Row, name: str) -> Turns:
    """Returns an answer, which may be a text or messages."""
    if isinstance(row.get(name), list):
        return read_messages(row[name], name)
    return base.missing_text(row, (name,)) or [Turn("assistant", row[name])]


def _asked(turns: Turns) -> _Found:
    if isinstance(turns, str):
        return turns
    question, answer = question_and_answer(turns)
    return {"question": question, "answer": answer}, turns


def _importer(
    format: str,
    summary: str,
    found: Callable[[_Row], _Found],
    keys: tuple[str, ...],
    templates: str | None,
    kind: str = "conversation",
) -> base.Importer:
    """Returns the importer of a format.

    Args:
        format: Its name.
        summary: One line.
        found: Returns what is in a row.
        keys: What a row may have; the user may map others to them.
        templates: The family that asks the fields.
        kind: What a record is: `conversation` or `preference`.
    """
    # Not a closure: other processes are sent it.
    read = functools.partial(
        _read,
        format=format,
        found=found,
        keys=keys,
        templates=templates,
        kind=kind,
    )
    return base.Importer(
        format=format,
        summary=summary,
        read=read,
        has_columns=True,
        takes=("encoding",),
    )


def _read(
    path: Path,
    options: base.Options,
    *,
    format: str,
    found: Callable[[_Row], _Found],
    keys: tuple[str, ...],
    templates: str | None,
    kind: str,
) -> base.Source:
    """Returns the conversations of a file; as `_importer`."""
    columns = options.columns or {}
    for field in columns:
        if field not in keys:
            raise InputError(
                f"--map: the format {format!r} has no {field!r}."
                + did_you_mean(field, keys)
            )
    return base.Source(
        _rows(path, read_source(path, options.encoding), found, columns),
        base.folder_name(path, format),
        templates=templates,
        answer_kind="text" if templates else None,
        extra={"record_type": kind},
    )


def _rows(
    path: Path, text: str, found: Callable[[_Row], _Found], columns: _Row
) -> Iterator[base.Row | base.Reject]:
    """Yields the rows of JSON Lines, or of a JSON list."""
    for number, line, value in _objects(path, text):
        if isinstance(value, base.Reject):
            yield value
            continue
        lacking = [key for key in columns.values() if key not in value]
        row = {**value, **{f: value.get(key) for f, key in columns.items()}}
        result: _Found = (
            f"no {lacking[0]!r}." + did_you_mean(lacking[0], value)
            if lacking
            else found(row)
        )
        if isinstance(result, str):
            yield base.Reject(path, number, result, line)
        else:
            fields, turns = result
            source_id = value.get("id") or value.get("prompt_id") or ""
            source_id = source_id if isinstance(source_id, str) else ""
            yield base.Row(path, number, fields, source_id, tuple(turns))


def _objects(
    path: Path, text: str
) -> Iterator[tuple[int, str, dict[str, Any] | base.Reject]]:
    if not text.lstrip().startswith("["):
        yield from base.read_objects(path, text)
        return
    for number, item in enumerate(base.read_exact_json(path, text), 1):
        line = base.as_json(item)
        reason = base.missing_text(item, ())
        reject = base.Reject(path, number, reason, line)
        yield number, line, reject if reason else item


MESSAGES = _importer(
    "messages",
    "OpenAI chat files: `messages` of system, user, assistant and tools",
    _messages,
    ("messages", "system"),
    "conversation",
)
SHAREGPT = _importer(
    "sharegpt",
    "ShareGPT chat files: `conversations` with `from` and `value`",
    _sharegpt,
    ("conversations", "system"),
    "conversation",
)
ALPACA = _importer(
    "alpaca",
    "`instruction`, `input` (may be empty) and `output`; also `history`",
    _alpaca,
    ("instruction", "input", "output", "system", "history"),
    "instruction",
)
PROMPT_COMPLETION = _importer(
    "prompt-completion",
    "`prompt` and `completion`: texts, or lists of messages",
    _prompt_completion,
    ("prompt", "completion", "system"),
    "instruction",
)
PREFERENCE = _importer(
    "preference",
    "`chosen` and `rejected` answers to a `prompt`: texts, or messages",
    _preference,
    ("prompt", "chosen", "rejected", "system"),
    None,
    kind="preference",
)
