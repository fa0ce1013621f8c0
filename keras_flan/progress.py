"""Progress on stderr: a bar on a terminal, sparse lines elsewhere."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import rich.progress

T = TypeVar("T")

_SECONDS_BETWEEN_LINES = 15.0


# The displays that are open now.
_OPEN: "list[Progress]" = []


class Progress:
    """Shows count, rate and time left of long work, as a context manager.

    On a terminal a rich bar is drawn; elsewhere (a log file, CI) a line is
    printed every 15 seconds, so that a log stays readable.

    Args:
        description: Shown first.
        total: Units in all, if known.
        unit: Name of a unit.
        enabled: `False` shows nothing.

    Example:
        >>> with Progress("training", total=100, unit="steps") as progress:
        ...     for step in range(100):
        ...         progress.advance(note=f"loss {loss:.3f}")
    """

    def __init__(
        self,
        description: str,
        *,
        total: int | None = None,
        unit: str = "items",
        enabled: bool = True,
    ) -> None:
        self._description = description
        self._total = total
        self._unit = unit
        self._enabled = enabled
        self._done = 0
        self._before = 0  # Units that the rate leaves out.
        self._bar: rich.progress.Progress | None = None
        self._waiting: threading.Event | None = None
        self._pauses, self._paused = 0, 0.0  # How many, and since when.

    def __enter__(self) -> "Progress":
        self._begin = self._last = self._came = time.monotonic()
        if self._enabled and sys.stderr.isatty():
            self._bar, self._task = _rich_bar(self._description, self._total)
            self._bar.start()
        if self._enabled:
            _OPEN.append(self)
        return self

    def __exit__(self, *exception: object) -> None:
        self._end_wait()
        if self in _OPEN:
            _OPEN.remove(self)
        if self._bar is not None:
            self._bar.stop()

    def advance(self, units: int = 1, note: str = "") -> None:
        """Counts finished units; `note` is shown behind them.

        The rate and the time left leave out what was waited for, and the
        units that came with it; and a unit alone, which may be the first of
        many that were made together.
        """
        known, until = self._done, self._came
        self._done += units
        now = self._came = time.monotonic()
        if units > 1:
            known, until = self._done, now
        if self._waiting is not None:
            self._end_wait()
            self._begin, self._before = now, self._done
            known = self._done
            if self._bar is not None:
                self._bar.reset(self._task, completed=self._done)
        if not self._enabled:
            return
        timed = known - self._before
        rate = timed / max(until - self._begin, 1e-9) if timed > 0 else 0.0
        if self._bar is not None:
            said = f"{rate:,.1f} {self._unit}/s" if timed else ""
            self._bar.update(
                self._task, completed=self._done, note=f"{said} {note}".lstrip()
            )
        elif now - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = now
            print(self._line(rate, note), file=sys.stderr, flush=True)

    def wait(self, note: str) -> None:
        """Shows what goes on until the next unit, and for how long already.

        Args:
            note: Such as `"compiling"`.
        """
        self._end_wait()
        if not self._enabled:
            return
        self._waiting = threading.Event()
        threading.Thread(
            target=self._show_wait, args=(note, self._waiting), daemon=True
        ).start()

    def _pause(self, note: str) -> None:
        self._pauses += 1
        if self._pauses == 1:
            self._paused = time.monotonic()
            self.wait(note)

    def _go_on(self) -> None:
        self._pauses -= 1
        if self._pauses:
            return
        self._end_wait()
        paused = time.monotonic() - self._paused
        self._begin += paused
        self._came += paused
        if self._bar is not None:
            self._bar.reset(self._task, completed=self._done)

    def _show_wait(self, note: str, ended: threading.Event) -> None:
        begin = time.monotonic()
        between = _SECONDS_BETWEEN_LINES if self._bar is None else 1.0
        while not ended.wait(between):
            said = f"{note}, {time.monotonic() - begin:.0f} s"
            if self._bar is not None:
                self._bar.update(self._task, note=said)
            else:
                line = f"{self._description}: {said}"
                print(line, file=sys.stderr, flush=True)

    def _end_wait(self) -> None:
        if self._waiting is not None:
            self._waiting.set()
            self._waiting = None

    def _line(self, rate: float, note: str) -> str:
        line = f"{self._description}: {self._done:,}"
        line += f"/{self._total:,}" if self._total else ""
        line += f" {self._unit}"
        if rate and self._total:
            line += f", {(self._total - self._done) / rate:.0f} s left"
        if rate:
            line += f", {rate:,.1f}/s"
        return f"{line} {note}".rstrip()


@contextlib.contextmanager
def left_out(note: str) -> Iterator[None]:
    """Leaves what happens within out of the rates and times that are shown.

    Every open display shows it meanwhile, and for how long already.

    Args:
        note: Such as `"compiling"`.

    Example:
        >>> with left_out("compiling"):
        ...     lowered.compile()
    """
    shown = list(_OPEN)
    for one in shown:
        one._pause(note)
    try:
        yield
    finally:
        for one in shown:
            one._go_on()


def track(
    items: Iterable[T],
    description: str,
    *,
    total: int | None = None,
    unit: str = "items",
    size: Callable[[T], int] = lambda item: 1,
    enabled: bool = True,
) -> Iterator[T]:
    """Yields `items` while showing `Progress`.

    Args:
        items: What to iterate over.
        description: Shown first.
        total: Units in all, for the time left.
        unit: Name of a unit.
        size: Units of an item.
        enabled: `False` shows nothing.

    Yields:
        The items.
    """
    with Progress(
        description, total=total, unit=unit, enabled=enabled
    ) as progress:
        for item in items:
            yield item
            progress.advance(size(item))


def _rich_bar(
    description: str, total: int | None
) -> "tuple[rich.progress.Progress, rich.progress.TaskID]":
    from rich import progress
    from rich.console import Console

    bar = progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[note]}"),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    return bar, bar.add_task(description, total=total, note="")


class Stages:
    """Measures the stages of a long command, and says which one has begun.

    Args:
        quiet: Whether to print nothing.
        seconds: What stages took before, by name: they go on from there.

    Example:
        >>> stages = Stages(quiet=True)
        >>> with stages.stage("training"):
        ...     train(config)
        >>> stages.seconds
        {'training': 61.203}
    """

    def __init__(
        self, quiet: bool, seconds: Mapping[str, float] | None = None
    ) -> None:
        self.quiet = quiet
        self.seconds: dict[str, float] = dict(seconds or {})

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measures what happens within."""
        if not self.quiet:
            print(f"{name} ...", file=sys.stderr, flush=True)
        begin = time.monotonic()
        yield
        key = name.replace(" ", "_")
        spent = self.seconds.get(key, 0.0) + time.monotonic() - begin
        self.seconds[key] = round(spent, 3)

    @property
    def total(self) -> float:
        """All seconds so far."""
        return sum(self.seconds.values())
