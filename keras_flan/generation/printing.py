"""Paths and votes on the terminal, as they come."""

from keras_flan.answers.voting import Vote
from keras_flan.generation.outputs import Path
from keras_flan.generation.prompting import Answered


class Printer:
    """Prints paths on stdout as they finish, and votes as bars.

    Of several questions, one is printed after the other when it is done.

    Args:
        questions: How many there are.
    """

    def __init__(self, questions: int = 1):
        from rich.console import Console

        self._console = Console(highlight=False, soft_wrap=True)
        self._at_once = questions == 1
        self._printed: set[int] = set()

    def __call__(self, result: Answered) -> None:
        """Prints what is new of an answer that may not be done yet."""
        if not (self._at_once or result.done):
            return
        if not self._printed:
            self._print(result.prompt, "bold")
        for number, path, answer in zip(
            result.numbers, result.paths, result.answers, strict=True
        ):
            if number not in self._printed:
                self._printed.add(number)
                self._print_path(number, path, answer)
        if result.done:
            self._print_votes(result)
            self._printed.clear()

    def _print_path(self, number: int, path: Path, answer: str | None) -> None:
        from rich.text import Text

        line = Text(f"{number + 1:3}  ", style="dim")
        line.append(path.text.replace("\n", " "), style="default")
        line.append(f"  [{answer or 'no answer'}]", style="cyan")
        self._console.print(line)

    def _print_votes(self, result: Answered) -> None:
        for answer, count in tally(result.vote):
            bar = "█" * round(30 * count / len(result.paths))
            style = "green" if answer == result.vote.winner else "default"
            name = "no answer" if answer is None else answer
            self._print(f"{name:>12} {bar} {count}", style)
        drawn = len(result.paths)
        few = f", enough of {result.samples}" * (drawn < result.samples)
        sure = ""
        if result.model is not None:
            sure = f"confidence {result.confidence:.0%}; "
        if result.answer is None and result.vote.winner is not None:
            sure = "too unsure; " + sure
        self._print(
            f"answer: {result.answer or 'none'} "
            f"({sure}{result.vote.confidence:.0%} of {drawn} paths{few})\n"
        )

    def _print(self, text: str, style: str = "default") -> None:
        from rich.text import Text

        self._console.print(Text(text, style=style))


def tally(vote: Vote) -> list[tuple[str | None, int]]:
    """Returns answers and votes, most votes first, abstentions (None) last.

    Example:
        >>> tally(vote(["7", "9", None, "9"]))
        [('9', 2), ('7', 1), (None, 1)]
    """
    lines = sorted(vote.counts.items(), key=lambda item: -item[1])
    return lines + ([(None, vote.abstained)] if vote.abstained else [])
