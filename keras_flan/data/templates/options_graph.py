"""Answer options of whole batches, as TensorFlow string operations.

The texts agree byte for byte with those of `options`.
"""

import dataclasses
from collections.abc import Collection

from keras_flan.data.templates.draws import choose_tf
from keras_flan.data.templates.options import (
    LETTER,
    LETTERED,
    PLAIN,
    STYLE_DRAW,
    OptionStyle,
    option_styles,
    option_symbols,
)
from keras_flan.runtime.tensorflow import tf
from keras_flan.tensors import Tensor

_PLAIN, _LETTERED, _FIRST_DRAWN = range(3)


class OptionFields:
    r"""Makes those of `DERIVED_FIELDS` that are named, for a batch.

    Example:
        >>> fields = OptionFields(["options_", "letter_"], seed=0)
        >>> _, letter = fields.render(["red\nblue"], ["blue"], [0], [False])
        >>> letter.numpy()
        array([b'B'], dtype=object)
    """

    def __init__(self, names: Collection[str], seed: int):
        self.names = list(names)
        self._seed = seed
        styles = (PLAIN, LETTERED, *option_styles())
        series = option_symbols()
        self._count = max(map(len, series.values()))
        # A table of symbols; its first row is that of bullets, without any.
        self._symbols = [[""] * self._count] + [
            symbols + [str(i + 1) for i in range(len(symbols), self._count)]
            for symbols in series.values()
        ]
        rows = {name: i for i, name in enumerate(("", *series))}
        self._series = [rows[style.symbols] for style in styles]
        # Each part of a style, by its name, for all styles.
        self._parts = {
            part.name: [getattr(style, part.name) for style in styles]
            for part in dataclasses.fields(OptionStyle)
        }
        # How a marker in an answer begins and ends.
        self._opens, self._closes = zip(
            *(style.marker_ends for style in styles), strict=True
        )

    def render(
        self, options: Tensor, answers: Tensor, indices: Tensor, letters: Tensor
    ) -> list[Tensor]:
        """Returns the fields in the order of `names`, each of shape `[n]`.

        Options (one per line) and answers are strings, the positions of the
        examples int64; `letters`, booleans, as in `right_option`.
        """
        tf_ = tf()
        options = tf_.convert_to_tensor(options, tf_.string)
        answers = tf_.convert_to_tensor(answers, tf_.string)
        lines = tf_.strings.split(options, "\n")
        # The number of each line in its record.
        numbers = tf_.ragged.range(lines.row_lengths()).values
        drawn = _FIRST_DRAWN + choose_tf(
            len(self._series) - _FIRST_DRAWN,
            *(STYLE_DRAW, self._seed, tf_.cast(indices, tf_.int64)),
        )
        plain, lettered = tf_.zeros_like(drawn), tf_.ones_like(drawn)
        right = self._right(options, answers, lines, numbers, letters)

        def block(styles: Tensor) -> Tensor:
            return self._block(options, lines, numbers, styles)

        def chosen(texts: Tensor) -> Tensor:
            return tf_.where(right >= 0, texts, answers)

        number = tf_.maximum(right, 0)
        at = lines.row_starts() + number
        choice = chosen(tf_.gather(lines.values, at))
        opens, closes = (
            tf_.gather(ends, drawn) for ends in (self._opens, self._closes)
        )
        marker = tf_.strings.join([opens, self._symbol(drawn, number), closes])
        marked = chosen(marker)
        bullets = tf_.equal(tf_.gather(self._series, drawn), 0)
        make = {
            "options_": lambda: block(plain),
            "lettered_options_": lambda: block(lettered),
            "styled_options_": lambda: block(drawn),
            "choice_": lambda: choice,
            "letter_": lambda: chosen(self._symbol(lettered, number)),
            "styled_choice_": lambda: tf_.where(bullets, choice, marked),
        }
        return [make[name]() for name in self.names]

    def _symbol(self, styles: Tensor, numbers: Tensor) -> Tensor:
        tf_ = tf()
        series = tf_.gather(self._series, styles)
        numbers = tf_.cast(numbers, tf_.int32)
        place = tf_.stack(
            [series, tf_.minimum(numbers, self._count - 1)], axis=-1
        )
        listed = tf_.gather_nd(tf_.constant(self._symbols), place)
        return tf_.where(
            (numbers < self._count) | (series == 0),
            listed,
            tf_.strings.as_string(numbers + 1),
        )

    def _block(self, options, lines, numbers, styles) -> Tensor:
        """Shows the options in the given styles, of shape `[n]`."""
        tf_ = tf()
        headers = tf_.gather(self._parts["header"], styles)
        rows = lines.value_rowids()
        each = tf_.gather(styles, rows)
        follows = (numbers > 0) | tf_.gather(headers != "", rows)
        part = {name: tf_.gather(of, each) for name, of in self._parts.items()}
        items = tf_.strings.join(
            [
                tf_.where(follows, part["separator"], ""),
                part["before"],
                self._symbol(each, numbers),
                part["after"],
                lines.values,
                part["terminator"],
            ]
        )
        items = tf_.strings.reduce_join(lines.with_values(items), axis=1)
        shown = tf_.strings.join([headers, items])
        return tf_.where(tf_.equal(options, ""), "", shown)

    def _right(self, options, answers, lines, numbers, letters) -> Tensor:
        """Returns the number of the right option, int64; -1 without one."""
        tf_ = tf()
        count = lines.row_lengths()
        rows = lines.value_rowids()
        none = tf_.int64.max
        equal = tf_.equal(lines.values, tf_.gather(answers, rows))
        by_text = tf_.math.unsorted_segment_min(
            tf_.where(equal, numbers, none), rows, tf_.size(options)
        )
        letter = tf_.strings.regex_replace(answers, r"[().]", "")
        capitals = tf_.constant(option_symbols()["capital"])
        by_letter = tf_.argmax(letter[:, None] == capitals, axis=1)
        is_letter = tf_.strings.regex_full_match(answers, LETTER)
        by_letter = tf_.where(is_letter & (by_letter < count), by_letter, none)
        first = tf_.where(letters, by_letter, by_text)
        second = tf_.where(letters, by_text, by_letter)
        right = tf_.where(first == none, second, first)
        found = (right != none) & (options != "")
        return tf_.where(found, right, tf_.constant(-1, tf_.int64))
