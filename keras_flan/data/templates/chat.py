"""Chat templates: how the turns of a conversation are written for a model.

A template is data: patterns of text around a turn's content, with the special
tokens that mark turns named apart, so that they become ids and are never
tokenised as text. This is the readable form, a conversation at a time;
`chat_graph` does the same for batches inside `tf.data`.
"""

import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from keras_flan.data.records.turns import ROLES, Turn
from keras_flan.errors import InputError

CONTENT = "{content}"
START, END, REPLY, LAST = "start", "end", "reply", "last assistant"
# What may stand before a turn, and what may be written.
BEFORE = (START, *ROLES)
WRITTEN = (*ROLES, LAST, END, REPLY)

# Which tokens are learnt: those of the assistant's turns, of the last of
# them, or all.
LossOn: TypeAlias = Literal["assistant", "last", "all"]


class Tokens(Protocol):
    """What a template needs of a vocabulary."""

    eos_id: int

    @property
    def adds_blank(self) -> bool:
        """Whether a text is read with a blank in front."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the ids of texts."""

    def token_id(self, token: str) -> int | None:
        """Returns the id of a token, or `None`."""


class Pattern(NamedTuple):
    """What stands before and after a turn's content."""

    before: str
    after: str


class Span(NamedTuple):
    """A marker, and the text after it up to the next.

    Args:
        marker: The special token, or `""`.
        head: The text that is not learnt.
        tail: The text that is: an assistant's.
        learnt: Whether the marker is, which ends or stands in such a text.
    """

    marker: str
    head: str
    tail: str
    learnt: bool


@dataclasses.dataclass(frozen=True)
class ChatTemplate:
    r"""How the turns of a conversation are written for a model.

    Args:
        name: Its name.
        markers: The special tokens of its patterns. `{bos}` and `{eos}` are
            those that the vocabulary has for a text's beginning and end.
        patterns: By what stands before (`"start"` or a role) and what is
            written (a role, `"last assistant"`, `"end"` or `"reply"`, which
            asks for an answer) the text around the content. What is not
            among them can't be written.
        start: What a conversation begins with.
        trim: The roles whose contents lose blanks at both ends.
        inside: Special tokens that contents may hold, such as `<tool_call>`,
            where the vocabulary has them.

    Raises:
        InputError: If an assistant's content is not followed by a marker.

    Example:
        >>> template = load_chat_template("chatml")
        >>> template.text([Turn("user", "Hi")], reply=True)
        '<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n'
    """

    name: str
    markers: tuple[str, ...]
    patterns: Mapping[tuple[str, str], Pattern]
    start: str = ""
    trim: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for text in self._following:
            if not text.startswith(self.markers):
                raise InputError(
                    f"chat template {self.name}: expected one of the markers "
                    f"{', '.join(self.markers)} after {CONTENT} of the "
                    f"assistant, which ends an answer; found {text!r:.40}"
                )

    @functools.cached_property
    def _following(self) -> set[str]:
        """What may stand after a content of the assistant."""
        after = {
            pattern.after
            for (_, written), pattern in self.patterns.items()
            if written in ("assistant", LAST)
        }
        if "" in after:
            after |= {
                pattern.before
                for (before, _), pattern in self.patterns.items()
                if before == "assistant"
            }
        return after - {""}

    def fault(self, turns: Sequence[Turn], reply: bool = False) -> str:
        """Returns why turns can't be written, or `""`."""
        before = START
        for number, turn in enumerate(turns, 1):
            if (before, turn.role) not in self.patterns:
                after = "at the start" if before == START else f"after {before}"
                return (
                    f"turn {number}: the chat template {self.name} has no "
                    f"{turn.role} {after}"
                )
            before = turn.role
        if reply and (before, REPLY) not in self.patterns:
            return f"the chat template {self.name} has no reply after {before}"
        return ""

    def parts(
        self, turns: Sequence[Turn], reply: bool = False
    ) -> Iterator[tuple[str, Turn | None]]:
        """Yields pieces of text, and with an empty one the turn of a content.

        Raises:
            InputError: If the turns can't be written.
        """
        if fault := self.fault(turns, reply):
            raise InputError(fault)
        before = START
        yield self.start, None
        for number, turn in enumerate(turns):
            last = number == len(turns) - 1 and not reply
            written = turn.role
            if last and written == "assistant":
                pattern = self.patterns.get((before, LAST))
            else:
                pattern = None
            pattern = pattern or self.patterns[before, written]
            content = turn.content
            if written in self.trim:
                content = content.strip()
            yield pattern.before, None
            yield "", Turn(written, content)
            yield pattern.after, None
            before = written
        end = self.patterns.get((before, REPLY if reply else END))
        yield (end.before if end else ""), None

    def text(self, turns: Sequence[Turn], reply: bool = False) -> str:
        """Returns a conversation as one text, markers as they are spelt.

        Args:
            turns: The turns.
            reply: Whether to ask for the assistant's next turn.

        Raises:
            InputError: If the turns can't be written.
        """
        return "".join(
            part if turn is None else turn.content
            for part, turn in self.parts(turns, reply)
        )

    def spans(
        self,
        turns: Sequence[Turn],
        reply: bool = False,
        loss_on: LossOn = "assistant",
    ) -> list[Span]:
        """Returns a conversation cut at its markers."""
        answers = [i for i, t in enumerate(turns) if t.role == "assistant"]
        scored = set(answers[-1:] if loss_on == "last" else answers)
        spans, learning, number = [Span("", "", "", False)], False, -1
        for text, turn in self.parts(turns, reply):
            number += turn is not None
            inner = turn is not None
            if inner and number in scored:
                learning = True
            found = self._inner if inner else self._outer
            whole = turn.content if turn is not None else text
            for piece in found.split(whole):
                if piece in (self.inside if inner else self.markers) and piece:
                    spans.append(Span(piece, "", "", learning))
                    learning = learning and inner
                    continue
                last = spans[-1]
                spans[-1] = (
                    last._replace(tail=last.tail + piece)
                    if learning
                    else last._replace(head=last.head + piece)
                )
        return spans

    @functools.cached_property
    def _outer(self) -> re.Pattern:
        return _alternatives(self.markers)

    @functools.cached_property
    def _inner(self) -> re.Pattern:
        return _alternatives(self.inside)

    def token_ids(
        self,
        turns: Sequence[Turn],
        vocabulary: Tokens,
        reply: bool = False,
        loss_on: LossOn = "assistant",
    ) -> tuple[list[int], list[int]]:
        """Returns a conversation's token ids, and 1 at those to be learnt.

        Args:
            turns: The turns.
            vocabulary: What tokenises the texts.
            reply: Whether to ask for the assistant's next turn.
            loss_on: Which tokens are learnt.

        Raises:
            InputError: If the turns can't be written, the vocabulary lacks a
                marker, or a content imitates one.
        """
        known = marker_ids(self, vocabulary)
        spans = self.known_to(vocabulary).spans(turns, reply, loss_on)
        texts = [_unblanked(s.head + s.tail, vocabulary) for s in spans]
        heads = [_unblanked(s.head, vocabulary) for s in spans]
        whole = vocabulary.encode_batch(texts)
        read = vocabulary.encode_batch(heads)
        ids: list[int] = []
        learnt: list[int] = []
        forbidden = {known[marker] for marker in self.markers} - {None}
        for span, text, head in zip(spans, whole, read, strict=True):
            if forbidden & set(text):
                raise InputError(
                    f"a content holds a token of the chat template {self.name} "
                    f"itself, {span.head + span.tail!r:.60}; take it out"
                )
            marker = known.get(span.marker)
            if marker is not None:
                ids.append(marker)
                learnt.append(int(span.learnt))
            same = _common(head, text) if span.tail else len(text)
            ids += text
            learnt += [0] * same + [1] * (len(text) - same)
        return ids, [1] * len(ids) if loss_on == "all" else learnt

    def end_ids(self, vocabulary: Tokens) -> tuple[int, ...]:
        """Returns the tokens that end an answer."""
        known = marker_ids(self, vocabulary)
        ends = [
            known[marker]
            for marker in self.markers
            if any(text.startswith(marker) for text in self._following)
        ]
        return tuple(i for i in ends if i is not None)

    def known_to(self, vocabulary: Tokens) -> "ChatTemplate":
        """Returns the template without tokens that a vocabulary has not."""
        inside = [m for m in self.inside if vocabulary.token_id(m) is not None]
        return dataclasses.replace(self, inside=tuple(inside))

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-able form, which `load_chat_template` takes."""
        return {
            "name": self.name,
            "markers": list(self.markers),
            "inside": list(self.inside),
            "trim": list(self.trim),
            "start": self.start,
            "turns": {
                f"{written} after {before}": (
                    pattern.before
                    if written in (END, REPLY)
                    else f"{pattern.before}{CONTENT}{pattern.after}"
                )
                for (before, written), pattern in self.patterns.items()
            },
        }


def marker_ids(
    template: ChatTemplate, vocabulary: Tokens
) -> dict[str, int | None]:
    """Returns the ids of a template's markers, and of those inside contents.

    `None` is for a beginning that the vocabulary has not, and for what it
    reads as text.

    Raises:
        InputError: If the vocabulary lacks a marker.
    """
    own = {"{bos}": getattr(vocabulary, "bos_id", None)}
    own["{eos}"] = vocabulary.eos_id
    ids: dict[str, int | None] = {}
    for marker in template.markers:
        ids[marker] = own.get(marker, vocabulary.token_id(marker))
        if ids[marker] is None and marker != "{bos}":
            raise InputError(
                f"chat template {template.name}: the vocabulary has no token "
                f"{marker!r}; choose the template of the model, or `plain`, "
                "which needs none"
            )
    for marker in template.inside:
        ids[marker] = vocabulary.token_id(marker)
    return ids


def _alternatives(markers: Sequence[str]) -> re.Pattern:
    longest = sorted(markers, key=len, reverse=True)
    # One that matches nothing, where there are none.
    return re.compile(f"({'|'.join(map(re.escape, longest)) or '(?!)'})")


def _unblanked(text: str, vocabulary: Tokens) -> str:
    """Leaves out a blank in front that the vocabulary adds by itself."""
    return text[1:] if vocabulary.adds_blank and text[:1] == " " else text


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """Returns how many ids both begin with."""
    same = 0
    while first[same : same + 1] == second[same : same + 1] != []:
        same += 1
    return same
