"""The chat templates of Hugging Face's files, read as turns.

They are programs in Jinja. One is run, in Jinja's sandbox, on a few small
conversations; what stands between their contents is the template, and random
conversations check that it is the whole of it. Nothing of it runs later.
"""

import itertools
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_flan.data.records.turns import Turn
from keras_flan.data.templates.chat import (
    END,
    LAST,
    REPLY,
    START,
    ChatTemplate,
    Pattern,
)
from keras_flan.errors import InputError
from keras_flan.files import read_json_object, read_text

TOKENIZER_CONFIG = "tokenizer_config.json"
_TEXT_FILE = "chat_template.jinja"
# Stand for contents; no template has them.
_LEFT, _RIGHT = "\ue000", "\ue001"
_TRIALS = 24

# Renders turns, and a request for a reply.
Render = Callable[[Sequence[Turn], bool], str]


def read_config(path: Path) -> dict[str, Any]:
    """Returns the template of a Hugging Face folder, and its tokens.

    Args:
        path: The folder, or its `tokenizer_config.json`.

    Raises:
        InputError: If there is no template.
    """
    folder = path if path.is_dir() else path.parent
    file = folder / TOKENIZER_CONFIG
    values = read_json_object(file)
    template = values.get("chat_template")
    if isinstance(template, list):  # By name; the plain one is "default".
        named = {t.get("name"): t.get("template") for t in template}
        template = named.get("default")
    if template is None and (folder / _TEXT_FILE).is_file():
        template = read_text(folder / _TEXT_FILE)
    if not isinstance(template, str):
        raise InputError(
            f"{file}: no chat_template; name one of the library, such as chatml"
        )
    added = values.get("added_tokens_decoder") or {}
    tokens = {_spelt(token) for token in added.values()}
    own = {}
    for key in ("bos_token", "eos_token", "pad_token", "unk_token"):
        if values.get(key) is not None:
            own[key] = _spelt(values[key])
    return {
        "name": str(folder),
        "chat_template": template,
        "special": own,
        "tokens": sorted(tokens | set(own.values())),
    }


def _spelt(token: Any) -> str:
    return str(token["content"] if isinstance(token, dict) else token)


def jinja_renderer(source: str, special: Mapping[str, str]) -> Render:
    """Returns a function that renders turns with a Jinja template.

    Args:
        source: The template.
        special: Its variables, such as `bos_token`.

    Raises:
        InputError: If Jinja is not installed, or the template is broken.
    """
    try:
        from jinja2 import TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError:
        raise InputError(
            "a chat template of Hugging Face needs the package jinja2; "
            "`pip install jinja2`, or name a template of the library"
        ) from None

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols"],
    )
    environment.filters["tojson"] = lambda value, **_: json.dumps(
        value, ensure_ascii=False
    )
    environment.globals["raise_exception"] = refuse
    try:
        template = environment.from_string(source)
    except TemplateError as error:
        raise InputError(f"chat template: not Jinja ({error})") from None

    def render(turns: Sequence[Turn], reply: bool) -> str:
        messages = [{"role": t.role, "content": t.content} for t in turns]
        try:
            return template.render(
                messages=messages,
                add_generation_prompt=reply,
                tools=None,
                enable_thinking=False,
                **special,
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise InputError(f"chat template: {error}") from None

    return render


def from_config(config: Mapping[str, Any]) -> ChatTemplate:
    """Returns the template of what `read_config` returned.

    Raises:
        InputError: If it is more than turns: if what it writes about a turn
            depends on anything but the turns beside it.
    """
    render = jinja_renderer(config["chat_template"], config["special"])
    tokens = [t for t in config["tokens"] if t]
    joints = dict(_joints(render))
    if (START, "user") not in joints or ("user", "assistant") not in joints:
        raise InputError(
            f"{config['name']}: its chat template refuses a user's turn and "
            "an assistant's"
        )
    texts = "".join(pattern.before for pattern in joints.values())
    markers = [token for token in tokens if token in texts]
    template = ChatTemplate(
        config["name"],
        tuple(sorted(markers, key=len, reverse=True)),
        joints,
        trim=tuple(_trimmed(render)),
    )
    for turns, reply in _trials((START, "system") in joints):
        if template.text(turns, reply) != render(turns, reply):
            raise InputError(
                f"{config['name']}: its chat template does more than to write "
                "turns one after the other, so that it can't be trained with; "
                "name one of the library that is like it, or a YAML file"
            )
    return template


def _joints(render: Render) -> Iterator[tuple[tuple[str, str], Pattern]]:
    """Yields what stands between two contents, before, and after all."""
    plain = ["user", "assistant", "user", "assistant"]
    for roles in (plain, ["system", *plain]):
        for number in range(1, len(roles) + 1):
            for reply in (False, True):
                some = roles[:number]
                if reply and some[-1] == "assistant":
                    continue
                turns: Any = [
                    Turn(role, f"{_LEFT}{i}{_RIGHT}")  # type: ignore[arg-type]
                    for i, role in enumerate(some)
                ]
                try:
                    text = render(turns, reply)
                except InputError:
                    continue
                found = _cut(text, number)
                if found is None:
                    continue
                before = START
                for i, role in enumerate(some):
                    written: str = role
                    if role == "assistant" and i == number - 1 and not reply:
                        written = LAST
                    yield (before, written), Pattern(found[i], "")
                    before = role
                yield (before, REPLY if reply else END), Pattern(found[-1], "")


def _cut(text: str, number: int) -> list[str] | None:
    """Cuts a text at its contents; `None` if they are not all there once."""
    parts = []
    for i in range(number):
        before, content, text = text.partition(f"{_LEFT}{i}{_RIGHT}")
        if not content or _LEFT in before:
            return None
        parts.append(before)
    return None if _LEFT in text else [*parts, text]


def _trimmed(render: Render) -> Iterator[str]:
    """Yields the roles whose contents lose the blanks around them."""
    for place, role in ((0, "user"), (1, "assistant"), (0, "system")):
        roles = ["user", "assistant", "user"]
        if role == "system":
            roles = ["system", *roles]
        turns: Any = [Turn(r, "x") for r in roles]  # type: ignore[arg-type]
        turns[place] = Turn(turns[place].role, f"  {_LEFT}  ")
        try:
            text = render(turns, True)
        except InputError:
            continue
        if f"  {_LEFT}  " not in text:
            yield role


def _trials(system: bool) -> Iterator[tuple[list[Turn], bool]]:
    """Yields random conversations, and whether a reply is asked for."""
    rng = random.Random(0)
    words = ["a", " b", "c\n", "\n\nd e", "f.", "g\u00a0"]
    for trial in range(_TRIALS):
        reply = bool(trial % 2)
        number = 2 * rng.randint(1, 3) - reply
        roles = itertools.islice(itertools.cycle(["user", "assistant"]), number)
        all_roles = [*(["system"] if system and trial % 3 else []), *roles]
        turns: Any = [Turn(role, rng.choice(words)) for role in all_roles]  # type: ignore[arg-type]
        yield turns, reply
