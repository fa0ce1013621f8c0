"""Turns: who said what in a conversation, and conversations as one text."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias, get_args

from keras_flan.errors import InputError, did_you_mean

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[Role, ...] = get_args(Role)

_LABELS = {"user": "User", "assistant": "Assistant", "tool": "Tool"}


class Turn(NamedTuple):
    r"""What one side of a conversation said.

    Args:
        role: `"system"` (what holds for the whole conversation), `"user"`,
            `"assistant"` (the model) or `"tool"` (what a tool returned).
        content: The text. An assistant's calls of tools are a part of it, see
            `with_calls`.

    Example:
        >>> Turn("user", "What is 2 + 2?").content
        'What is 2 + 2?'
    """

    role: Role
    content: str


def order_fault(turns: Sequence[Turn], answered: bool = True) -> str:
    """Returns why turns make no conversation, or `""`.

    A conversation may begin with one system turn; its next turn is the
    user's.

    Args:
        turns: The turns.
        answered: Whether an assistant's turn must be among them.

    Example:
        >>> order_fault([Turn("assistant", "Hello!")])
        'turn 1: expected the user, found the assistant'
    """
    first = 1 if turns and turns[0].role == "system" else 0
    if len(turns) == first:
        return "no turns of a user"
    if turns[first].role != "user":
        found = turns[first].role
        return f"turn {first + 1}: expected the user, found the {found}"
    for number, turn in enumerate(turns[1:], 2):
        if turn.role == "system":
            return f"turn {number}: expected a system turn at the front only"
    if answered and all(turn.role != "assistant" for turn in turns):
        return "no turn of the assistant"
    return ""


def flatten(turns: Sequence[Turn]) -> str:
    r"""Returns turns as one text, to be answered.

    A single turn of the user is its text alone. Of several, each begins with
    its speaker. What the system says stands in front.

    Example:
        >>> flatten([Turn("user", "What is 2 + 2?")])
        'What is 2 + 2?'
        >>> flatten([
        ...     Turn("user", "Hi"), Turn("assistant", "Hello!"),
        ...     Turn("user", "Bye"),
        ... ])
        'User: Hi\nAssistant: Hello!\nUser: Bye'
    """
    system = [turn.content for turn in turns if turn.role == "system"]
    said = [turn for turn in turns if turn.role != "system"]
    texts = [turn.content for turn in said]
    if len(said) > 1:
        texts = [f"{_LABELS[turn.role]}: {turn.content}" for turn in said]
    return "\n\n".join([*system, "\n".join(texts)])


def question_and_answer(turns: Sequence[Turn]) -> tuple[str, str]:
    """Returns the assistant's last turn, and all before it as one text.

    Example:
        >>> question_and_answer([Turn("user", "Hi"), Turn("assistant", "Yes?")])
        ('Hi', 'Yes?')
    """
    last = max(i for i, turn in enumerate(turns) if turn.role == "assistant")
    return flatten(turns[:last]), turns[last].content


def as_turns(messages: Sequence[object], name: str = "messages") -> list[Turn]:
    """Returns turns of what a caller gives: turns, pairs or dictionaries.

    Args:
        messages: `Turn`s, or dictionaries with `role` and `content`.
        name: What they are called in an error.

    Raises:
        InputError: If one is something else, or they make no conversation.

    Example:
        >>> as_turns([{"role": "user", "content": "Hi"}])
        [Turn(role='user', content='Hi')]
    """
    turns = []
    for number, message in enumerate(messages):
        if isinstance(message, dict):
            role, content = message.get("role"), message.get("content")
        elif isinstance(message, tuple) and len(message) == 2:
            role, content = message
        else:
            raise InputError(
                f"{name}[{number}]: expected a role and a content, found "
                f"{message!r:.60}"
            )
        if role not in ROLES:
            hint = did_you_mean(str(role), ROLES)
            raise InputError(
                f"{name}[{number}].role: found {role!r:.40}.{hint}"
            )
        if not isinstance(content, str):
            raise InputError(
                f"{name}[{number}].content: expected a text, found "
                f"{content!r:.40}"
            )
        turns.append(Turn(role, content))
    if fault := order_fault(turns, answered=False):
        raise InputError(f"{name}: {fault}")
    return turns
