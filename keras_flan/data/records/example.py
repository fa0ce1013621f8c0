"""The `Example`: one training example before any template."""

from dataclasses import dataclass

from keras_flan.data.records.turns import Turn
from keras_flan.errors import InputError
from keras_flan.runtime.tensorflow import tf

# The features of a conversation, a value per turn.
ROLES_FEATURE, CONTENTS_FEATURE = "_turn_roles", "_turn_contents"


@dataclass(frozen=True)
class Example:
    """One training example before any template.

    Args:
        fields: Field name to text, such as `question` or `answer`. Names must
            not begin with an underscore.
        task: Name of the task.
        source_id: Where the example came from, for tracing it back.
        turns: The turns, if it is a conversation; its fields then say the
            same as one question and its answer.

    Example:
        >>> fields = {"question": "1 + 1?", "answer": "2"}
        >>> Example(fields, "sums", "sums:1").fields["answer"]
        '2'
    """

    fields: dict[str, str]
    task: str
    source_id: str = ""
    turns: tuple[Turn, ...] = ()

    def to_proto(self) -> bytes:
        """Returns a serialised `tf.train.Example`, always the same bytes.

        Each field is a bytes feature of one UTF-8 value under its own name;
        the task and the source id are the features `_task` and `_source_id`,
        and the turns `_turn_roles` and `_turn_contents` with a value each.

        Raises:
            InputError: If a field name is reserved or a value is not text.
        """
        train = tf().train
        features = {}
        for name, value in self.fields.items():
            if not name or name.startswith("_"):
                raise InputError(
                    f"{self.source_id}: the field name {name!r} is reserved; "
                    "use one that does not begin with an underscore"
                )
            features[name] = value
        features["_task"] = self.task
        features["_source_id"] = self.source_id
        pairs = list(features.items())
        pairs += [(ROLES_FEATURE, turn.role) for turn in self.turns]
        pairs += [(CONTENTS_FEATURE, turn.content) for turn in self.turns]
        proto = train.Example()
        for name, value in pairs:
            try:
                data = value.encode("utf-8")
            except (AttributeError, UnicodeEncodeError):
                raise InputError(
                    f"{self.source_id}: field {name!r} must be Unicode text, "
                    f"found {value!r:.60}"
                ) from None
            proto.features.feature[name].bytes_list.value.append(data)
        return proto.SerializeToString(deterministic=True)

    @classmethod
    def from_proto(cls, data: bytes) -> "Example":
        """Reads what `to_proto` wrote.

        Raises:
            InputError: If `data` is not a `tf.train.Example` of texts.
        """
        from google.protobuf.message import DecodeError

        fields = {}
        said: dict[str, list[str]] = {ROLES_FEATURE: [], CONTENTS_FEATURE: []}
        try:
            proto = tf().train.Example.FromString(data)
            for name, feature in proto.features.feature.items():
                values = [v.decode("utf-8") for v in feature.bytes_list.value]
                if name in said:
                    said[name] = values
                else:
                    (fields[name],) = values
            name = CONTENTS_FEATURE
            pairs = zip(*said.values(), strict=True)
            turns = tuple(Turn(*pair) for pair in pairs)
        except DecodeError:
            raise InputError("not a tf.train.Example") from None
        except ValueError:  # Not one value, or not UTF-8.
            raise InputError(
                f"feature {name!r} is not a single UTF-8 text (of turns: one "
                "per role)"
            ) from None
        task = fields.pop("_task", "")
        source_id = fields.pop("_source_id", "")
        return cls(dict(sorted(fields.items())), task, source_id, turns)
