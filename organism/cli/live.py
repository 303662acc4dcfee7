"""What goes on right now, drawn on a terminal: threads, who works, bars of their budgets."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from organism.cli.streams import WIDEST
from organism.cli.tables import amount_text
from organism.cli.text import harmless, wrapped
from organism.durations import duration
from organism.names import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from types import TracebackType

    from rich.console import OverflowMethod

    from organism.cli.board import Board, Line, Saying, Share
    from organism.cli.streams import Streams

_BAR: Final = 12
_WIDE: Final = 100
_HEADER_LINES: Final = 2
_SAID: Final = 6
"""Lines for what one agent is writing."""
_LEVELS: Final = {"warning": "yellow", "critical": "dark_orange", "final": "red", "runway": "yellow"}


class LiveBoard:
    """The board on standard error, a terminal, while the block is open; afterwards nothing of it is left there.

    ``now`` is the clock of the facts. :meth:`draw` draws it anew; between ``aside()`` lines can be written that stay.
    """

    def __init__(self, board: Board, streams: Streams, *, now: Callable[[], float]) -> None:
        self._board = board
        self._streams = streams
        self._now = now
        self._console = Console(file=streams.err, highlight=False, markup=False, emoji=False)
        self._plain = self._console.options.ascii_only
        """It shows no other characters: they would stand there written out."""
        self._live = self._new()
        self._closed = False

    def _new(self) -> Live:
        # Without a thread of its own: it is drawn from the event loop, where the board is not half changed.
        return Live(console=self._console, auto_refresh=False, transient=True, get_renderable=self._drawing)

    def __enter__(self) -> Self:
        self._live.start()
        self._streams.display = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self._streams.display = None

    def close(self) -> None:
        """Takes the board off the terminal for good, and gives it its cursor back. Closing twice is once."""
        self._closed = True
        self._live.stop()

    @contextmanager
    def aside(self) -> Generator[None]:
        """Takes the board off the terminal for lines that stay, and puts it back below them."""
        if not self._live.is_started:
            yield
            return
        self._live.stop()
        try:
            yield
        finally:
            if not self._closed:
                # A new one: the old one would move the cursor up over what it drew last, and erase the lines above.
                self._live = self._new()
                self._live.start()

    def draw(self) -> None:
        """Draws what the board says now."""
        self._live.refresh()

    def _drawing(self) -> Group:
        threads, sayings = self._board.threads(), self._board.sayings()
        whole = max(1, self._console.height - _HEADER_LINES - 1)
        # Those who write get what is left, and half of it at least.
        room = max(1, whole // 2, whole - len(sayings) * _SAID) if sayings else whole
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
        for what in ("name", "doing", "seconds", *["bar"] * self._bars):
            table.add_column(no_wrap=what != "doing")  # which is what becomes narrower
        for line in self._board.lines(threads[:room], self._now()):
            table.add_row(*self._row(line))
        rest = (
            [Text(f"... and {counted(len(threads) - room, 'more thread')}", style="dim")] if len(threads) > room else []
        )
        left = whole - min(room, len(threads)) - len(rest)
        return Group(self._head(), table, *rest, *self._said(sayings, left))

    def _said(self, sayings: list[Saying], room: int) -> Iterator[Text]:
        """The last lines of what agents are writing, in so many lines together."""
        for number, saying in enumerate(sayings):
            share = min(_SAID, room // (len(sayings) - number))
            room -= share
            if share > 0:
                yield from said_lines(saying, self._console.width, share)

    def _head(self) -> Text:
        ended = (f"{count} {outcome}" for outcome, count in self._board.ended.items())
        counts = [f"{self._board.running} running", *ended]
        calls = self._board.calls
        out = f", {counted(calls, 'model call')} under way" if calls else ""
        return Text(f"threads: {', '.join(counts)}{out}", style="bold")

    def _row(self, line: Line) -> tuple[Text, ...]:
        name = Text("  " * line.depth + line.handler, style=_LEVELS.get(line.level, ""), no_wrap=True)
        working = ", ".join(one if count == 1 else f"{one} x{count}" for one, count in line.working)
        models = ", ".join(line.backends)
        doing = Text(working + (f" > {models}" if models else "") or "waits", no_wrap=True, overflow=self._cut)
        seconds = Text(duration(line.seconds, ".0f"), justify="right", no_wrap=True)
        return name, doing, seconds, *map(self._bar, line.shares[: self._bars])

    @property
    def _bars(self) -> int:
        """The limits that are nearest to their end say enough: two where there is room for them."""
        return 2 if self._console.width >= _WIDE else 1

    def _bar(self, share: Share) -> Text:
        """``tokens ████▒▒░░░░░░ 1,520/5,000``: used, held, free."""
        full = min(_BAR, round(share.part * _BAR))
        held = min(_BAR, round(share.taken * _BAR)) - full
        style = "green" if share.part < 0.75 else "yellow" if share.part < 0.95 else "red"
        used, out, free = "#=." if self._plain else "█▒░"
        bar = Text(no_wrap=True, overflow=self._cut)
        bar.append(f"{share.unit} ", style="dim")
        bar.append(used * full + out * held, style=style)
        bar.append(free * (_BAR - full - held), style="dim")
        bar.append(f" {amount_text(share.unit, share.used)}/{amount_text(share.unit, share.limit)}")
        return bar

    @property
    def _cut(self) -> OverflowMethod:
        """How a cell ends that is too long."""
        return "crop" if self._plain else "ellipsis"


def said_lines(saying: Saying, width: int, room: int) -> Iterator[Text]:
    """``desk writes: ...``: the last lines of what an agent is writing, in ``room`` lines of a terminal."""
    head = f"{saying.handler} writes: "
    lines = wrapped(head + harmless(saying.text), width - 1)
    if len(lines) > room:
        lines = wrapped(harmless(saying.text), width - 1 - len(head))[-room:]
        lines = [(head if number == 0 else " " * len(head)) + line for number, line in enumerate(lines)]
    yield from (Text(line, style="italic", no_wrap=True, overflow="crop") for line in lines)


class LiveAnswer(LiveBoard):
    """What one handler is writing, alone; before it writes, who is at work."""

    def __init__(self, board: Board, streams: Streams, *, handler: str) -> None:
        super().__init__(board, streams, now=lambda: 0.0)
        self._handler = handler

    def _drawing(self) -> Group:
        for saying in self._board.sayings():
            if saying.handler == self._handler:
                lines = wrapped(harmless(saying.text), min(self._console.width, WIDEST) - 1)
                return Group(*(Text(line, no_wrap=True) for line in lines[-(self._console.height - 1) :]))
        working = self._board.working()
        return Group(Text(f"{', '.join(working)} ..." if working else "...", style="dim", no_wrap=True))
