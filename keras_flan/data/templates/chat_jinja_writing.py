"""A chat template as a program in Jinja, for Hugging Face's files."""

import json
import re

from keras_flan.data.templates.chat import (
    END,
    LAST,
    REPLY,
    START,
    ChatTemplate,
    Pattern,
)

_VARIABLES = {"{bos}": "bos_token", "{eos}": "eos_token"}


def to_jinja(template: ChatTemplate) -> str:
    """Returns a template in Jinja, for a `tokenizer_config.json`.

    It writes what `template.text` writes, and refuses what that refuses.

    Args:
        template: The template.
    """
    turns: list[tuple[str, str]] = []
    replies: list[tuple[str, str]] = []
    ends: list[tuple[str, str]] = []
    for (before, written), pattern in template.patterns.items():
        if written == REPLY:
            replies.append((_after(before), _spelt(pattern.before)))
        elif written == END:
            ends.append((_after(before), _spelt(pattern.before)))
        elif written == LAST:  # It goes before other turns of the assistant.
            last = " and loop.last and not add_generation_prompt"
            case, text = _turn(before, "assistant", pattern)
            turns.insert(0, (case + last, text))
        else:
            turns.append(_turn(before, written, pattern))
    lines = [
        f"{{{{- {_spelt(template.start)} }}}}",
        f"{{%- set ns = namespace(before={_quoted(START)}) %}}",
        "{%- for message in messages %}",
        "{%- set content = message['content'] %}",
        f"{{%- if message['role'] in {json.dumps(list(template.trim))} %}}",
        "{%- set content = content | trim %}{%- endif %}",
        *_one_of(turns, _refusal(template, "such turn")),
        "{%- set ns.before = message['role'] %}",
        "{%- endfor %}",
        "{%- if add_generation_prompt %}",
        *_one_of(replies, _refusal(template, "reply")),
        "{%- else %}",
        *_one_of(ends, ""),
        "{%- endif %}",
    ]
    return "\n".join(lines)


def _after(before: str) -> str:
    return f"ns.before == {_quoted(before)}"


def _turn(before: str, role: str, pattern: Pattern) -> tuple[str, str]:
    """Returns when a turn is written so, and what is written."""
    return (
        f"{_after(before)} and message['role'] == {_quoted(role)}",
        f"{_spelt(pattern.before)} + content + {_spelt(pattern.after)}",
    )


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _spelt(text: str) -> str:
    parts = filter(None, re.split("({bos}|{eos})", text))
    found = [_VARIABLES.get(part, _quoted(part)) for part in parts]
    return " + ".join(found) or '""'


def _one_of(cases: list[tuple[str, str]], otherwise: str) -> list[str]:
    tags = [
        f"{{%- {'elif' if number else 'if'} {case} %}}{{{{- {text} }}}}"
        for number, (case, text) in enumerate(cases)
    ]
    if not cases:
        return [otherwise] if otherwise else []
    return [*tags, f"{{%- else %}}{otherwise}{{%- endif %}}"]


def _refusal(template: ChatTemplate, what: str) -> str:
    message = f"the chat template {template.name} has no {what} here"
    return f"{{{{- raise_exception({_quoted(message)}) }}}}"
