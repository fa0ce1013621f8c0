"""Prompts for whole batches, as TensorFlow string operations.

The templates are the same parsed objects that `prompts.render_prompt` uses,
and the texts agree byte for byte.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from keras_flan.data.prompts import LETTERS, OPTIONS_HEADER
from keras_flan.data.tasks import Task
from keras_flan.data.templates import (
    DERIVED_FIELDS,
    Format,
    Literal,
    Template,
)
from keras_flan.data.tf_runtime import tf


class TemplateTable:
    """Many templates as arrays, rendered for a whole batch at once.

    Each template becomes a row of (literal, field) pairs, padded with empty
    pairs to the longest. Rendering gathers the rows of a batch and joins
    them, so it costs no Python and no branch per example.

    Args:
        templates: The templates; a template's id is its place in here.
        field_names: Names of the columns of `values`.

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
        rows = []
        for template in templates:
            row, literal = [], ""
            for part in template.parts:
                if isinstance(part, Literal):
                    literal = part.text
                else:
                    row.append((literal, column[part.name]))
                    literal = ""
            rows.append([*row, (literal, empty)])
        width = max(map(len, rows))
        # NumPy's own string types would cut NULs at the end of a text.
        self._literals = np.full([len(rows), width], b"", object)
        self._columns = np.full([len(rows), width], empty, np.int32)
        for i, row in enumerate(rows):
            for j, (literal, name) in enumerate(row):
                self._literals[i, j] = literal.encode("utf-8")
                self._columns[i, j] = name

    def render(self, template_ids, values):
        """Returns the rendered texts.

        Args:
            template_ids: Integers of shape `[n]`.
            values: UTF-8 strings of shape `[n, F]`, one column a field.

        Returns:
            A string tensor of shape `[n]`.
        """
        tf_ = tf()
        values = tf_.convert_to_tensor(values, tf_.string)
        literals = tf_.gather(tf_.constant(self._literals), template_ids)
        columns = tf_.gather(tf_.constant(self._columns), template_ids)
        values = tf_.pad(values, [[0, 0], [0, 1]], constant_values="")
        fields = tf_.gather(values, columns, batch_dims=1)
        return tf_.strings.reduce_join(
            tf_.strings.join([literals, fields]), axis=1
        )


class PromptRenderer:
    """Renders examples of several tasks and formats in one batch.

    Args:
        tasks: The tasks; a task's id is its place in here. A format's id is
            its place in `list(Format)`.

    Attributes:
        field_names: The record fields that the templates use; a field that
            a record lacks is given as an empty text.

    Example:
        >>> renderer = PromptRenderer([task])
        >>> inputs, targets = renderer.render(
        ...     task_ids=[0], indices=[0], format_ids=[0],
        ...     values={"question": ["2 + 2?"], "answer": ["4"],
        ...             "rationale": [""]},
        ... )
    """

    def __init__(self, tasks: Sequence[Task]):
        templates = []
        # Where the templates of (task, format) begin, and how many they are.
        # A missing format points outside the table, which the gather refuses.
        self._first = np.full([len(tasks), len(Format)], -1, np.int32)
        self._count = np.ones([len(tasks), len(Format)], np.int32)
        for i, task in enumerate(tasks):
            for j, format in enumerate(Format):
                if format in task.formats:
                    self._first[i, j] = len(templates)
                    self._count[i, j] = task.num_templates(format)
                    templates += task.family.templates(format)
        used = {name for t in templates for name in t.fields}
        self.field_names = sorted(
            {DERIVED_FIELDS.get(name, name) for name in used}
        )
        self._derived = sorted(used & set(DERIVED_FIELDS))
        columns = self.field_names + self._derived
        self._query = TemplateTable([t.query for t in templates], columns)
        self._target = TemplateTable([t.target for t in templates], columns)
        self._exemplar = TemplateTable([t.exemplar for t in templates], columns)

    def query(self, task_ids, indices, format_ids, values: Mapping):
        """Renders the questions and what should be answered.

        Args:
            task_ids: Integers of shape `[n]`.
            indices: Positions of the examples in their tasks' order of
                reading, integers of shape `[n]`.
            format_ids: Integers of shape `[n]`.
            values: Each of `field_names` to UTF-8 strings of shape `[n]`.

        Returns:
            Two string tensors of shape `[n]`: the inputs without exemplars,
            and the targets.
        """
        ids = self._template_ids(task_ids, indices, format_ids)
        columns = self._columns(values)
        inputs = self._query.render(ids, columns)
        return _strip(inputs), self._target.render(ids, columns)

    def exemplars(self, task_ids, indices, format_ids, values: Mapping):
        """Renders solved examples with the templates of their questions.

        Args:
            task_ids: The task of each question, of shape `[n]`.
            indices: The position of each question, of shape `[n]`.
            format_ids: The format of each question, of shape `[n]`.
            values: Each of `field_names` to UTF-8 strings of shape `[n, s]`.

        Returns:
            A string tensor of shape `[n, s]`: the exemplars with all that
            stands around them; empty texts where the format is zero-shot.
        """
        tf_ = tf()
        ids = self._template_ids(task_ids, indices, format_ids)
        columns = self._columns(values)
        shape = tf_.shape(columns)
        flat = tf_.reshape(columns, [-1, columns.shape[-1]])
        ids = tf_.repeat(ids, shape[1])
        return tf_.reshape(self._exemplar.render(ids, flat), shape[:2])

    def assemble(self, inputs, blocks, keep):
        """Puts the kept exemplars before the questions.

        Args:
            inputs: What `query` returned first, of shape `[n]`.
            blocks: What `exemplars` returned, of shape `[n, s]`.
            keep: Booleans of shape `[n, s]`.

        Returns:
            The prompts, a string tensor of shape `[n]`.
        """
        tf_ = tf()
        blocks = tf_.where(keep, blocks, "")
        joined = tf_.strings.reduce_join(blocks, axis=1)
        # Again, for a question of blanks alone after an exemplar's blanks.
        return _strip(tf_.strings.join([joined, inputs]))

    def render(
        self,
        task_ids,
        indices,
        format_ids,
        values: Mapping,
        exemplar_values: Mapping | None = None,
    ):
        """Renders prompts that keep all their exemplars.

        The arguments are those of `query` and, for `exemplar_values`, of
        `exemplars`.

        Returns:
            Two string tensors of shape `[n]`: the prompts and the targets.
        """
        ids = (task_ids, indices, format_ids)
        inputs, targets = self.query(*ids, values)
        if exemplar_values is not None:
            blocks = self.exemplars(*ids, exemplar_values)
            inputs = self.assemble(inputs, blocks, True)
        return inputs, targets

    def _template_ids(self, task_ids, indices, format_ids):
        tf_ = tf()
        place = tf_.stack([task_ids, format_ids], axis=-1)
        first = tf_.gather_nd(tf_.constant(self._first), place)
        count = tf_.gather_nd(tf_.constant(self._count), place)
        return first + tf_.cast(
            tf_.math.floormod(
                tf_.cast(indices, tf_.int64), tf_.cast(count, tf_.int64)
            ),
            tf_.int32,
        )

    def _columns(self, values: Mapping):
        """Stacks the fields and the derived fields along a last axis."""
        tf_ = tf()
        columns = [
            tf_.convert_to_tensor(values[name], tf_.string)
            for name in self.field_names
        ]
        for name in self._derived:
            source = self.field_names.index(DERIVED_FIELDS[name])
            columns.append(_DERIVE[name](columns[source]))
        return tf_.stack(columns, axis=-1)


def _options_block(options):
    tf_ = tf()
    listed = tf_.strings.regex_replace(options, "\n", "\n- ")
    block = tf_.strings.join([OPTIONS_HEADER + "\n- ", listed])
    return tf_.where(tf_.equal(options, ""), "", block)


def _lettered_options_block(options):
    tf_ = tf()
    lines = tf_.strings.split(tf_.reshape(options, [-1]), "\n")
    number = tf_.ragged.range(lines.row_lengths()).values
    letter = tf_.gather(
        tf_.constant(list(LETTERS)), tf_.minimum(number, len(LETTERS) - 1)
    )
    mark = tf_.where(
        number < len(LETTERS), letter, tf_.strings.as_string(number + 1)
    )
    lettered = tf_.strings.join(["(", mark, ") ", lines.values])
    blocks = tf_.strings.reduce_join(
        lines.with_values(lettered), axis=1, separator="\n"
    )
    blocks = tf_.reshape(blocks, tf_.shape(options))
    return tf_.where(tf_.equal(options, ""), "", blocks)


_DERIVE = {
    "options_": _options_block,
    "lettered_options_": _lettered_options_block,
}


def _strip(texts):
    return tf().strings.regex_replace(texts, r" +\z", "")
