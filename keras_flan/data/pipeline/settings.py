"""The settings of the input pipeline."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args

from keras_flan.data.templates.chat import ChatTemplate, LossOn
from keras_flan.errors import InputError, deprecated, did_you_mean

# Of examples, a part of which is kept apart.
Side = Literal["train", "validation"]
How = Literal["trim", "drop", "fail", "shorten"]


@dataclasses.dataclass(frozen=True)
class Long:
    """What is done about texts that are too long, on each side.

    Args:
        inputs: `"shorten"` leaves out tokens of the field that may be
            shortened (see `TemplateFamily.shorten`), and drops an example
            that is too long without any of it; `"trim"` cuts the text's
            tail; `"drop"` leaves the example out; `"fail"` is an error that
            names it.
        targets: The same; `"shorten"` keeps the answer.

    Raises:
        InputError: If it is none of these.
    """

    inputs: How = "shorten"
    targets: How = "drop"

    def __post_init__(self) -> None:
        for side in ("inputs", "targets"):
            found = getattr(self, side)
            if found not in get_args(How):
                raise InputError(
                    f"long.{side}: expected {', '.join(get_args(How))}, found "
                    f"{found!r}"
                )

    @classmethod
    def of(cls, value: "Long | Mapping[str, Any]") -> "Long":
        """Returns what a mapping says; what it lacks is as by default."""
        if isinstance(value, Long):
            return value
        for name in value:
            if name not in ("inputs", "targets"):
                raise InputError(
                    f"long: expected inputs, targets; found {name!r}"
                )
        return cls(**value)


KEEP_WHOLE = Long()


@dataclasses.dataclass(frozen=True, kw_only=True)
class PipelineSettings:
    """How a mixture becomes batches.

    Args:
        input_length: Tokens of a row for the inputs.
        target_length: Tokens of a row for the targets.
        batch_size: Rows of a batch.
        seed: Seeds everything that is random.
        pack: Put many examples in a row; otherwise one.
        repeat: Go on for ever. Otherwise every example comes once, and empty
            rows (all padding, weight 0) complete the last batch.
        chunk: Examples that are drawn and packed together. (Each pass over a
            task has an order of its own, which its file's order does not
            show through.)
        prefetch: Batches made ahead of the training step.
        host: The number of this host, from 0.
        hosts: How many hosts share the batches of the mixture. Each makes
            them all, `hosts * batch_size` rows a batch, and takes
            `batch_size` of them. So the batches, and the position in them,
            are the same for any number of hosts.
        decoder_only: Put inputs and targets one after the other, for
            decoder-only models, in rows of `input_length + target_length`
            tokens, an end token between them. `keras-flan train` sets the
            model's `separate`, so that `generate` has it too; a script that
            trains a pretrained model loads it with `separate=True`.
        chat: A chat template, see `load_chat_template`: conversations, and
            the prompts of other tasks as a user's turn, are written with it,
            in rows of `input_length + target_length` tokens; for
            decoder-only models.
        loss_on: Which tokens of conversations are learnt: `"assistant"`,
            those of the assistant's turns, `"last"`, of its last turn, or
            `"all"`.
        long: What is done about texts that are too long, a `Long` or a
            mapping such as `{"targets": "trim"}`.
        validation: Share of each task's examples that is kept apart, by
            their content: they are never trained on, nor shown as exemplars.
        split: `"train"`, or `"validation"` for those kept apart (with
            `repeat=False`).

    Raises:
        InputError: If a number is too small.

    Example:
        >>> PipelineSettings(input_length=512, target_length=0, batch_size=8)
        Traceback (most recent call last):
        keras_flan.errors.InputError: target_length: expected at least 2, got 0
    """

    input_length: int
    target_length: int
    batch_size: int
    seed: int = 0
    pack: bool = True
    repeat: bool = True
    chunk: int = 8192
    prefetch: int = 2
    host: int = 0
    hosts: int = 1
    decoder_only: bool = False
    chat: ChatTemplate | Mapping[str, Any] | str | None = None
    loss_on: LossOn = "assistant"
    long: Long | Mapping[str, Any] = KEEP_WHOLE
    validation: float = 0.0
    split: Side = "train"

    def __post_init__(self) -> None:
        object.__setattr__(self, "long", Long.of(self.long))
        if self.chat is not None and not self.decoder_only:
            raise InputError(
                "chat: only decoder-only models are trained with a chat "
                "template; an encoder-decoder reads conversations as prompts, "
                "without it"
            )
        for name, choices in (("loss_on", LossOn), ("split", Side)):
            value = getattr(self, name)
            if value not in get_args(choices):
                raise InputError(
                    f"{name}: found {value!r}."
                    + did_you_mean(value, get_args(choices))
                )
        if not 0 <= self.validation < 1:
            raise InputError(
                "validation: expected a share from 0 to below 1, found "
                f"{self.validation}"
            )
        if self.split == "validation" and (self.repeat or not self.validation):
            raise InputError(
                "split='validation': its examples come once; give "
                "repeat=False, and as `validation` the share that training "
                "leaves out"
            )
        least = {
            **{"input_length": 2, "target_length": 2, "batch_size": 1},
            **{"chunk": 1, "host": 0, "hosts": self.host + 1},
        }
        for name, number in least.items():
            value = getattr(self, name)
            if value < number:
                raise InputError(
                    f"{name}: expected at least {number}, got {value}"
                )

    @property
    def rows(self) -> int:
        """Rows of a batch over all hosts."""
        return self.batch_size * self.hosts

    @classmethod
    def of(
        cls, settings: "PipelineSettings | None", named: Mapping[str, Any]
    ) -> "PipelineSettings":
        """Returns settings with changes by name, or new ones.

        Raises:
            InputError: If there is no setting of a name.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        if "shuffle_buffer" in named:
            deprecated(
                "shuffle_buffer has no effect: examples are drawn from whole "
                "files, without a buffer",
                "leave it out",
                gone="0.3.0",
            )
            named = {k: v for k, v in named.items() if k != "shuffle_buffer"}
        for name in named:
            if name not in known:
                raise InputError(
                    f"the pipeline has no setting {name!r}."
                    + did_you_mean(name, known)
                )
        if settings is None:
            return cls(**named)
        return dataclasses.replace(settings, **named)
