r"""Answer options: how they are shown, and which of them is right.

A record has `options`, one option per line, and an `answer`: the text of the
right option, or its letter. Templates use fields that are made from them:

    options_           "OPTIONS:\n- red\n- blue"
    lettered_options_  "(A) red\n(B) blue"
    styled_options_    "Pick one: [i] red; [ii] blue;", in a style that is
                       drawn for each example
    choice_            the right option's text, "blue"
    letter_            its letter, "B"
    styled_choice_     its marker in the drawn style, "[ii]", or its text
                       where all markers are alike

Without options the first three are empty, and without a right option the
last three are the answer as it is.
"""

import dataclasses
import functools
import itertools
import re
from collections.abc import Mapping
from pathlib import Path

from keras_flan.data.templates.draws import choose
from keras_flan.schema import Strict, read_yaml, validate

# Fields of templates, and the fields of records that they are made from.
DERIVED_FIELDS = {
    "options_": ("options",),
    "lettered_options_": ("options",),
    "styled_options_": ("options",),
    "choice_": ("options", "answer"),
    "letter_": ("options", "answer"),
    "styled_choice_": ("options", "answer"),
}

# An answer that is an option's letter.
LETTER = r"\(?[A-Z]\)?\.?"

_FILE = Path(__file__).parent / "template_library" / "_options.yaml"
# Tells the draw of a style from other draws with the same seed.
STYLE_DRAW = 1


@dataclasses.dataclass(frozen=True)
class OptionStyle:
    r"""How answer options are shown.

    An item reads `before`, its symbol, `after`, its text, `terminator`; the
    header, if any, and the items have `separator` between them.

    Example:
        >>> style = OptionStyle("Pick one:", "(", "small", ") ", "", "\n")
        >>> style.render(["red", "blue"])
        'Pick one:\n(a) red\n(b) blue'
        >>> style.marker(1)
        '(b)'
    """

    header: str = ""
    before: str = ""
    symbols: str = ""
    after: str = ""
    terminator: str = ""
    separator: str = "\n"

    def symbol(self, number: int) -> str:
        """Returns what tells an option, counted from 0, from the others."""
        if not self.symbols:
            return ""
        symbols = option_symbols()[self.symbols]
        return symbols[number] if number < len(symbols) else str(number + 1)

    def marker(self, number: int) -> str:
        """Returns how an answer names an option; empty if it can't.

        Blanks and punctuation at its end are left out: scorers drop them.
        """
        if not self.symbols:
            return ""
        before, after = self.marker_ends
        return before + self.symbol(number) + after

    @property
    def marker_ends(self) -> tuple[str, str]:
        """What stands before and after the symbol of a marker."""
        return self.before.lstrip(" "), self.after.rstrip(" .:-")

    def render(self, options: list[str]) -> str:
        """Returns the block of text that shows the options."""
        items = [
            self.before + self.symbol(i) + self.after + text + self.terminator
            for i, text in enumerate(options)
        ]
        if self.header:
            items.insert(0, self.header)
        return self.separator.join(items) if options else ""


PLAIN = OptionStyle("OPTIONS:", "- ")
LETTERED = OptionStyle("", "(", "capital", ") ")


class _StylesFile(Strict):
    headers: list[str]
    bullets: list[str]
    brackets: list[str]
    terminators: list[str]
    symbols: dict[str, str]


@functools.cache
def _file() -> _StylesFile:
    return validate(_StylesFile, read_yaml(_FILE), str(_FILE))


@functools.cache
def option_symbols() -> dict[str, list[str]]:
    """Returns the series of symbols that options may have, by name."""
    return {name: text.split() for name, text in _file().symbols.items()}


@functools.cache
def option_styles() -> tuple[OptionStyle, ...]:
    """Returns all styles: header x marker x terminator.

    Source: arXiv:2301.13688 and its code, which draw these three apart.
    """
    file = _file()
    markers = [(bullet + " ", "", "", "\n") for bullet in file.bullets]
    for symbols, brackets, separator in itertools.product(
        file.symbols, file.brackets, "\n "
    ):
        before, after = brackets.split("{}")
        markers.append((before, symbols, after + " ", separator))
    return tuple(
        OptionStyle(header, before, symbols, after, terminator, separator)
        for header, (before, symbols, after, separator), terminator in (
            itertools.product(file.headers, markers, file.terminators)
        )
    )


def draw_style(seed: int, index: int) -> OptionStyle:
    """Returns the style of the options of an example, by its position."""
    styles = option_styles()
    return styles[choose(len(styles), STYLE_DRAW, seed, index)]


def right_option(options: list[str], answer: str, letters: bool) -> int | None:
    """Returns which option is the answer: its text, or its letter.

    `letters` says whether an answer that is both is meant as the letter.

    Example:
        >>> right_option(["B", "A"], "A", letters=False)
        1
        >>> right_option(["B", "A"], "(A)", letters=True)
        0
    """
    text = options.index(answer) if answer in options else None
    letter = None
    if re.fullmatch(LETTER, answer):
        letter = option_symbols()["capital"].index(answer.strip("()."))
        letter = letter if letter < len(options) else None
    first, second = (letter, text) if letters else (text, letter)
    return second if first is None else first


def option_values(
    fields: Mapping[str, str], style: OptionStyle = PLAIN, letters: bool = False
) -> dict[str, str]:
    r"""Returns the fields that templates make from options and answer.

    The style is that of `styled_options_`; `letters` as in `right_option`.

    Example:
        >>> values = option_values({"options": "red\nblue", "answer": "B"})
        >>> values["lettered_options_"], values["choice_"]
        ('(A) red\n(B) blue', 'blue')
    """
    text, answer = fields.get("options", ""), fields.get("answer", "")
    options = text.split("\n") if text else []
    right = right_option(options, answer, letters)
    choice = letter = marker = answer
    if right is not None:
        choice, letter = options[right], LETTERED.symbol(right)
        marker = style.marker(right) or choice
    return {
        "options_": PLAIN.render(options),
        "lettered_options_": LETTERED.render(options),
        "styled_options_": style.render(options),
        "choice_": choice,
        "letter_": letter,
        "styled_choice_": marker,
    }
