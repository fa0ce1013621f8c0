"""Turns as chat files spell them: lists of messages, tool calls, pairs."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from keras_flan.data.importers.base import Number, parse_exact_json
from keras_flan.data.records.turns import Role, Turn, order_fault

# How OpenAI and ShareGPT name the speakers.
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}
_KEYS = (("role", "content"), ("from", "value"))

# The turns of a row, or why it can't be used.
Turns = list[Turn] | str


def read_messages(value: Any, place: str) -> Turns:
    """Returns the turns of a list of messages, or what is wrong and where.

    Args:
        value: Messages of OpenAI (`role` and `content`, `tool_calls`) or of
            ShareGPT (`from` and `value`).
        place: The key that they are under.
    """
    if not isinstance(value, list):
        return f"{place}: expected a list of messages, found {value!r:.40}"
    turns = []
    for number, message in enumerate(value):
        turn = _turn(message, f"{place}[{number}]")
        if isinstance(turn, str):
            return turn
        turns.append(turn)
    return turns


def conversation(turns: Turns, place: str, answered: bool = True) -> Turns:
    """Returns turns that make a conversation, or what is wrong."""
    if isinstance(turns, str):
        return turns
    fault = order_fault(turns, answered)
    return f"{place}: {fault}" if fault else turns


def with_system(turns: Turns, system: Any, place: str) -> Turns:
    """Puts what a row says under `system` in front of its turns."""
    if isinstance(turns, str) or system in (None, ""):
        return turns
    if not isinstance(system, str):
        return f"system: expected a text, found {system!r:.40}"
    if turns and turns[0].role == "system":
        return f"system: {place} begins with a system turn too"
    return [Turn("system", system), *turns] if system.strip() else turns


def _turn(message: Any, place: str) -> Turn | str:
    if not isinstance(message, dict):
        return f"{place}: expected a message, found {message!r:.40}"
    keys = next((pair for pair in _KEYS if pair[0] in message), None)
    if keys is None:
        return f"{place}: no 'role' (or 'from'), found {sorted(message)!r:.60}"
    role = _ROLES.get(str(message[keys[0]]).lower())
    if role is None:
        known = "system, user, assistant or tool"
        found = message[keys[0]]
        return f"{place}.{keys[0]}: expected {known}, found {found!r:.40}"
    if message.get("weight", 1) != 1:
        return (
            f"{place}.weight: found {message['weight']!r:.20}; a turn that is "
            "not to be learnt can't be marked, leave out the conversation"
        )
    try:
        content = _content(message.get(keys[1]), f"{place}.{keys[1]}")
        calls = _calls(message, f"{place}.tool_calls")
    except ValueError as error:
        return str(error)
    text = with_calls(content, calls)
    if not text.strip() and role in ("user", "assistant"):
        return f"{place}.{keys[1]}: the text is empty"
    return Turn(role, text)


def with_calls(content: str, calls: Sequence[Mapping[str, Any]]) -> str:
    r"""Returns an assistant's text with its calls of tools.

    Each call is a JSON object between `<tool_call>` and `</tool_call>`, as
    Qwen and Hermes write them.

    Example:
        >>> with_calls("", [{"name": "add", "arguments": {"a": 1}}])
        '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
    """
    texts = [content] if content else []
    for call in calls:
        text = json.dumps(call, ensure_ascii=False)
        texts.append(f"<tool_call>\n{text}\n</tool_call>")
    return "\n".join(texts)


def _content(value: Any, place: str) -> str:
    """Returns a message's text; of a list of parts those of all."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise ValueError(f"{place}: expected a text, found {value!r:.40}")
    texts = []
    for number, part in enumerate(value):
        text = part.get("text") if isinstance(part, dict) else part
        if not isinstance(text, str):
            kind = part.get("type") if isinstance(part, dict) else part
            raise ValueError(
                f"{place}[{number}]: expected a part of text, found "
                f"{kind!r:.40}"
            )
        texts.append(text)
    return "".join(texts)


def _calls(message: Mapping[str, Any], place: str) -> list[dict[str, Any]]:
    """Returns an OpenAI message's calls: `name` and `arguments` of each."""
    value = message.get("tool_calls")
    if value is None and message.get("function_call") is not None:
        value = [{"function": message["function_call"]}]
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError(f"{place}: expected a list, found {value!r:.40}")
    calls = []
    for number, item in enumerate(value):
        call = item.get("function") if isinstance(item, dict) else None
        name = call.get("name") if isinstance(call, dict) else None
        if not isinstance(call, dict) or not isinstance(name, str):
            raise ValueError(
                f"{place}[{number}]: expected a function with a name, found "
                f"{item!r:.40}"
            )
        arguments = call.get("arguments", {})
        if isinstance(arguments, str):
            try:
                arguments = parse_exact_json(arguments)
            except ValueError:
                raise ValueError(
                    f"{place}[{number}].function.arguments: not JSON"
                ) from None
        calls.append({"name": name, "arguments": _plain(arguments)})
    return calls


def _plain(value: Any) -> Any:
    """Returns exact JSON as what `json.dumps` takes."""
    if isinstance(value, Number):
        return float(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return list(map(_plain, value)) if isinstance(value, list) else value
