"""Prompts for whole batches, as TensorFlow string operations.

The templates are the same parsed objects that `prompts.render_prompt` uses,
and the texts agree byte for byte.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from keras_flan.data.templates.draws import choose_tf
from keras_flan.data.templates.families import (
    Format,
    PromptTemplate,
    record_fields,
)
from keras_flan.data.templates.options import DERIVED_FIELDS
from keras_flan.data.templates.options_graph import OptionFields
from keras_flan.data.templates.prompts import EXEMPLAR_DRAW
from keras_flan.data.templates.task import Task
from keras_flan.data.templates.template import BLANK, Literal, Template
from keras_flan.runtime.tensorflow import tf
from keras_flan.tensors import Tensor

_FORMATS = list(Format)
_HASH_KEY = [0x6B657261735F, 0x666C616E]


class TemplateTable:
    """Many templates as arrays, rendered for a whole batch at once.

    Each template becomes a row of (literal, field) pairs, padded with empty
    pairs to the longest. Rendering gathers the rows of a batch and joins
    them, so it costs no Python and no branch per example; pairs of optional
    parts become empty ones where their field is empty. A template's id is its
    place among the templates.

    Example:
        >>> table = TemplateTable(
        ...     [Template.parse("Q: {x}"), Template.parse("{x}?")], ["x"]
        ... )
        >>> table.render([1, 0], [["a"], ["b"]]).numpy().tolist()
        [b'a?', b'Q: b']
    """

    def __init__(
        self, templates: Sequence[Template], field_names: Sequence[str]
    ):
        column = {name: i for i, name in enumerate(field_names)}
        empty = len(column)  # the column of empty texts that render() adds
        rows = [_pairs(template) for template in templates]
        whens = {w for row in rows for pair in row for w in pair[2:]} - {""}
        # The columns that optional parts look at, and after them "always".
        self._looked_at = [column[name] for name in sorted(whens)]
        look = {name: i for i, name in enumerate(sorted(whens))}
        always = len(look)
        width = max(map(len, rows))
        # NumPy's own string types would cut NULs at the end of a text.
        self._literals = np.full([len(rows), width], b"", object)
        self._columns = np.full([len(rows), width], empty, np.int32)
        # Where literals and fields are shown: at a side of its own each.
        self._whens = np.full([len(rows), 2, width], always, np.int32)
        for i, row in enumerate(rows):
            for j, (literal, name, *conditions) in enumerate(row):
                self._literals[i, j] = literal.encode("utf-8")
                self._columns[i, j] = column.get(name, empty)
                for k, when in enumerate(conditions):
                    self._whens[i, k, j] = look.get(when, always)

    def render(self, template_ids: Tensor, values: Tensor) -> Tensor:
        """Returns the texts `[n]` of template ids `[n]`, values `[n, F]`.

        The values are UTF-8 strings, one column per field.
        """
        tf_ = tf()
        values = tf_.convert_to_tensor(values, tf_.string)
        columns = tf_.gather(tf_.constant(self._columns), template_ids)
        if self._looked_at:
            shown = self._shown(template_ids, values)
            literals = self._literals_where(template_ids, shown[:, 0])
            columns = tf_.where(shown[:, 1], columns, tf_.shape(values)[1])
        else:
            literals = tf_.gather(tf_.constant(self._literals), template_ids)
        values = tf_.pad(values, [[0, 0], [0, 1]], constant_values="")
        fields = tf_.gather(values, columns, batch_dims=1)
        return tf_.strings.reduce_join(
            tf_.strings.join([literals, fields]), axis=1
        )

    def _literals_where(self, template_ids: Tensor, shown: Tensor) -> Tensor:
        """Returns the literals, `[n, width]`, empty where they aren't shown."""
        tf_ = tf()
        width = self._literals.shape[1]
        flat = [b"", *self._literals.reshape(-1)]
        first = tf_.cast(template_ids, tf_.int32)[:, None] * width + 1
        places = tf_.where(shown, first + tf_.range(width), 0)
        return tf_.gather(tf_.constant(flat), places)

    def _shown(self, template_ids: Tensor, values: Tensor) -> Tensor:
        """Returns whether each literal and field is shown, `[n, 2, width]`."""
        tf_ = tf()
        looked_at = tf_.gather(values, self._looked_at, axis=1)
        blank = tf_.strings.regex_full_match(looked_at, BLANK)
        filled = tf_.pad(~blank, [[0, 0], [0, 1]], constant_values=True)
        whens = tf_.gather(tf_.constant(self._whens), template_ids)
        return tf_.gather(filled, whens, batch_dims=1)


def _pairs(template: Template) -> list[tuple[str, str, str, str]]:
    """Returns literals, each with the field after it.

    Then follows what their parts depend on; `""` stands for nothing.
    """
    pairs: list[tuple[str, str, str, str]] = []
    text, when = "", ""
    for part in template.parts:
        if isinstance(part, Literal):
            if text:
                pairs.append((text, "", when, ""))
            text, when = part.text, part.when or ""
        else:
            pairs.append((text, part.name, when, part.when or ""))
            text, when = "", ""
    return [*pairs, (text, "", when, "")]


class _Around:
    """What stands around the fields of patterns that may be shortened.

    Args:
        templates: The patterns.
        shorten: The fields that may be shortened of each; the longest is.
            Without any, all record fields may be.
        columns: The names of the fields' columns.
        keep: A field that is shortened only if there is no other.
    """

    def __init__(
        self,
        templates: Sequence[Template],
        shorten: Sequence[Sequence[str]],
        columns: Sequence[str],
        keep: str = "",
    ):
        parts: list[tuple[Template, str, Template]] = []
        self._first, self._count = [], []
        for template, names in zip(templates, shorten, strict=True):
            shown = template.shown
            chosen = [n for n in shown if n in names]
            chosen = chosen or [n for n in shown if n not in DERIVED_FIELDS]
            chosen = [n for n in chosen if n != keep] or chosen
            self._first.append(len(parts))
            self._count.append(len(chosen))
            parts += [template.around(name) for name in chosen]
        # So that there is something to gather from.
        parts = parts or [(Template(()), columns[0], Template(()))]
        self._before = TemplateTable([p[0] for p in parts], columns)
        self._after = TemplateTable([p[2] for p in parts], columns)
        self._column = [columns.index(p[1]) for p in parts]

    def render(
        self, ids: Tensor, columns: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns the parts, see `PromptRenderer.around`."""
        tf_ = tf()
        count = tf_.gather(self._count, ids)[:, None]
        number = tf_.range(max(1, *self._count))[None]
        parts = tf_.gather(self._first, ids)[:, None]
        parts = tf_.minimum(parts + number, len(self._column) - 1)
        texts = tf_.gather(
            columns, tf_.gather(self._column, parts), batch_dims=1
        )
        sizes = tf_.where(number < count, tf_.strings.length(texts), -1)
        longest = tf_.argmax(sizes, axis=1)
        part = tf_.gather(parts, longest, batch_dims=1)
        return (
            self._before.render(part, columns),
            tf_.gather(texts, longest, batch_dims=1),
            _strip(self._after.render(part, columns)),
            count[:, 0] > 0,
        )


class Questions(NamedTuple):
    """Which examples are asked, and how: integers of shape `[n]`."""

    task_ids: Tensor  # Places in the list of a renderer's tasks.
    indices: Tensor  # Positions in the tasks' order of reading.
    format_ids: Tensor  # Places in `list(Format)`.


class PromptRenderer:
    """Renders examples of several tasks and formats in one batch.

    The seed draws the styles of options and mixed templates, together with
    the position of the example.

    Attributes:
        field_names: The record fields that the templates use; a field that
            a record lacks is given as an empty text.

    Example:
        >>> renderer = PromptRenderer([task])
        >>> inputs, targets = renderer.render(
        ...     Questions(task_ids=[0], indices=[0], format_ids=[0]),
        ...     {"question": ["2 + 2?"], "answer": ["4"], "rationale": [""]},
        ... )
    """

    def __init__(self, tasks: Sequence[Task], seed: int = 0):
        templates: list[PromptTemplate] = []
        shorten: list[tuple[str, ...]] = []  # of each template's family
        # Where the templates of (task, format) begin, and how many they are.
        # A missing format points outside the table, which the gather refuses.
        self._first = np.full([len(tasks), len(Format)], -1, np.int32)
        self._count = np.ones([len(tasks), len(Format)], np.int32)
        # Many tasks share a family, whose templates are held once.
        starts: dict[tuple[int, Format], int] = {}
        for i, task in enumerate(tasks):
            for format in task.formats:
                j = _FORMATS.index(format)
                key = (id(task.family), format)
                if key not in starts:
                    starts[key] = len(templates)
                    own = task.family.templates(format)
                    templates += own
                    shorten += [task.family.shorten] * len(own)
                self._first[i, j] = starts[key]
                self._count[i, j] = task.num_templates(format)
        self._seed = seed
        self._letters = [task.answers_are_letters for task in tasks]
        no_limit = np.iinfo(np.int32).max
        limits = [task.family.shots for task in tasks]
        self._shots = [no_limit if n is None else n for n in limits]
        used = {name for t in templates for name in t.fields}
        self.field_names = sorted(record_fields(used))
        self._options = OptionFields(sorted(used & set(DERIVED_FIELDS)), seed)
        columns = self.field_names + self._options.names
        self._header = TemplateTable([t.header for t in templates], columns)
        self._query = TemplateTable([t.query for t in templates], columns)
        self._target = TemplateTable([t.target for t in templates], columns)
        self._solved = TemplateTable([t.solved for t in templates], columns)
        self._separators = [t.separator for t in templates]
        queries = [t.query for t in templates]
        targets = [t.target for t in templates]
        self._around = _Around(queries, shorten, columns)
        self._in_target = _Around(targets, shorten, columns, keep="answer")
        # Which fields tell a task's questions apart.
        self._asked = [
            [
                name in (task.family.question_fields or task.fields)
                for name in self.field_names
            ]
            for task in tasks
        ]

    def identities(
        self, task_ids: Tensor, values: Mapping[str, Tensor]
    ) -> Tensor:
        """Returns numbers that only the same questions share, int64 `[n]`.

        Questions are the same if their words are, whatever the answers.
        """
        tf_ = tf()
        texts = tf_.stack([values[name] for name in self.field_names], axis=1)
        asked = tf_.gather(tf_.constant(self._asked), task_ids)
        words = tf_.strings.regex_replace(texts, r"\s+", " ")
        words = tf_.strings.lower(tf_.strings.strip(words), encoding="utf-8")
        joined = tf_.strings.reduce_join(
            tf_.where(asked, words, ""), axis=1, separator="\n"
        )
        return tf_.strings.to_hash_bucket_strong(
            joined, np.iinfo(np.int64).max, _HASH_KEY
        )

    def around(
        self,
        questions: Questions,
        values: Mapping[str, Tensor],
        target: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns the parts of texts, for those that are too long.

        Args:
            questions: The questions.
            values: As for `query`.
            target: Whether of the targets, instead of the inputs.

        Returns:
            Texts before, in and after the field that is to be shortened, `[n]`
            each; and booleans `[n]`: whether there is such a field.
        """
        ids = self._template_ids(questions)
        side = self._in_target if target else self._around
        return side.render(ids, self._columns(questions, values))

    def query(
        self, questions: Questions, values: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the questions' headers, inputs and targets, of shape `[n]`.

        The headers stand before exemplars. `values` has each of
        `field_names` as UTF-8 strings of shape `[n]`.
        """
        ids = self._template_ids(questions)
        columns = self._columns(questions, values)
        return (
            self._header.render(ids, columns),
            _strip(self._query.render(ids, columns)),
            self._target.render(ids, columns),
        )

    def exemplars(
        self, questions: Questions, values: Mapping[str, Tensor]
    ) -> Tensor:
        """Renders solved examples with the templates of their questions.

        `values` has each of `field_names` as UTF-8 strings of shape `[n, s]`,
        and so is what is returned: the exemplars with all that stands around
        them; empty texts where the format is zero-shot or the templates want
        fewer exemplars.
        """
        tf_ = tf()
        values = {
            name: tf_.convert_to_tensor(values[name], tf_.string)
            for name in self.field_names
        }
        shape = tf_.shape(values[self.field_names[0]])
        flat = {k: tf_.reshape(v, [-1]) for k, v in values.items()}

        each = Questions(*(tf_.repeat(ids, shape[1]) for ids in questions))
        places = tf_.tile(tf_.range(shape[1]), shape[:1])
        own = self._template_ids(each)
        mixed = _FORMATS.index(Format.few_shot_mixed)
        solved = self._solved.render(
            tf_.where(
                tf_.equal(each.format_ids, mixed),
                self._template_ids(each, places),
                own,
            ),
            self._columns(each, flat),
        )
        separators = tf_.gather(self._separators, own)
        blocks = tf_.strings.join([solved, separators])
        wanted = places < tf_.gather(self._shots, each.task_ids)
        return tf_.reshape(tf_.where(wanted, blocks, ""), shape)

    def assemble(
        self, headers: Tensor, inputs: Tensor, blocks: Tensor, keep: Tensor
    ) -> Tensor:
        """Returns the prompts `[n]`: headers, kept exemplars and questions.

        Headers and inputs are from `query`, blocks from `exemplars`; `keep`
        is booleans of shape `[n, s]`.
        """
        tf_ = tf()
        blocks = tf_.where(keep, blocks, "")
        joined = tf_.strings.reduce_join(blocks, axis=1)
        # Again, for a question of blanks alone after an exemplar's blanks.
        return _strip(tf_.strings.join([headers, joined, inputs]))

    def render(
        self,
        questions: Questions,
        values: Mapping[str, Tensor],
        exemplar_values: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Returns prompts that keep all their exemplars, and targets, `[n]`.

        The arguments are those of `query` and, for `exemplar_values`, of
        `exemplars`.
        """
        headers, inputs, targets = self.query(questions, values)
        if exemplar_values is not None:
            blocks = self.exemplars(questions, exemplar_values)
            inputs = self.assemble(headers, inputs, blocks, True)
        return inputs, targets

    def _template_ids(self, questions: Questions, places=None) -> Tensor:
        """Returns the templates of questions, or of exemplars by place."""
        tf_ = tf()
        key = tf_.stack([questions.task_ids, questions.format_ids], axis=-1)
        first = tf_.gather_nd(tf_.constant(self._first), key)
        count = tf_.gather_nd(tf_.constant(self._count), key)
        indices = tf_.cast(questions.indices, tf_.int64)
        if places is not None:
            draw = tf_.cast(EXEMPLAR_DRAW + places, tf_.int64)
            return first + choose_tf(count, draw, self._seed, indices)
        chosen = tf_.math.floormod(indices, tf_.cast(count, tf_.int64))
        return first + tf_.cast(chosen, tf_.int32)

    def _columns(self, questions: Questions, values: Mapping) -> Tensor:
        """Stacks the fields and the derived fields along a last axis."""
        tf_ = tf()
        columns = [
            tf_.convert_to_tensor(values[name], tf_.string)
            for name in self.field_names
        ]
        if self._options.names:
            options = columns[self.field_names.index("options")]
            answers = values.get("answer", tf_.zeros_like(options))
            letters = tf_.gather(self._letters, questions.task_ids)
            columns += self._options.render(
                options, answers, questions.indices, letters
            )
        return tf_.stack(columns, axis=-1)


def _strip(texts: Tensor) -> Tensor:
    return tf().strings.regex_replace(texts, r" +\z", "")
