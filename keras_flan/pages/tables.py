"""Tables as HTML, Markdown and LaTeX, from one form."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from keras_flan.pages import html as page

_LATEX = {
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "±": r"$\pm$",
    "\u2013": "--",
}


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of texts; all columns but the first are numbers.

    Args:
        title: What it shows.
        header: Names of the columns.
        rows: The cells.
        ours: The indices of the rows to stand out.
        note: What the reader has to know.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    ours: frozenset[int] = frozenset()
    note: str = ""

    @classmethod
    def of(
        cls, title: str, rows: Sequence[Mapping[str, str]], note: str = ""
    ) -> "Table":
        """Returns a table of rows that name their columns."""
        cells = [tuple(row.values()) for row in rows]
        return cls(title, tuple(rows[0]), cells, note=note)

    def html(self) -> str:
        """Returns the table as a part of a page."""
        rows = []
        for number, row in enumerate(self.rows):
            cells = [page.text(cell) for cell in row]
            if number in self.ours:
                cells = [cell and f"<b>{cell}</b>" for cell in cells]
            rows.append(cells)
        table = page.table([page.text(name) for name in self.header], rows)
        note = self.note and page.note(page.text(self.note))
        return page.wide(table) + note

    def markdown(self) -> str:
        """Returns the table in Markdown."""
        rows = [
            [f"**{c}**" if i in self.ours and c else c for c in row]
            for i, row in enumerate(self.rows)
        ]
        table = markdown(self.header, rows, "---:")
        return f"### {self.title}\n\n{table}\n{self.note}".rstrip("\n")

    def latex(self) -> str:
        """Returns the table in LaTeX, for the package booktabs."""

        def escaped(text: str) -> str:
            return "".join(_LATEX.get(c, c) for c in text)

        def line(cells: Sequence[str], bold: bool = False) -> str:
            texts = [escaped(cell) for cell in cells]
            if bold:
                texts = [t and rf"\textbf{{{t}}}" for t in texts]
            return " & ".join(texts) + r" \\"

        return "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{escaped(self.title)}}}",
                r"\begin{tabular}{l" + "r" * (len(self.header) - 1) + "}",
                r"\toprule",
                line(self.header),
                r"\midrule",
                *(line(row, i in self.ours) for i, row in enumerate(self.rows)),
                r"\bottomrule",
                r"\end{tabular}",
                *(
                    [rf"\par\footnotesize {escaped(self.note)}"]
                    if self.note
                    else []
                ),
                r"\end{table}",
            ]
        )


def markdown(
    header: Sequence[str], rows: Iterable[Sequence[str]], rule: str = "---"
) -> str:
    """Returns a table in Markdown, with a line's end at its end.

    Args:
        header: Names of the columns.
        rows: The cells.
        rule: Stands below the name of each column but the first, and says
            how it is aligned.
    """
    rules = ["---", *[rule] * (len(header) - 1)]
    return "".join(
        f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n"
        for line in (header, rules, *rows)
    )
