"""The board of what goes on, against the organism it tells of; and its drawing."""

from __future__ import annotations

import io
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import BudgetExhaustedError, Context, HandlerFailedError, Reply, Send, payload
from organism.budget.claims import TOKENS
from organism.cli.board import Board, Share
from organism.cli.live import LiveBoard
from organism.cli.streams import Streams
from organism.pump.text_listeners import TextDelta
from organism.testing import Says, ScriptedModel, running

if TYPE_CHECKING:
    from pathlib import Path

    from organism.record.facts import Fact


class Plain(io.TextIOWrapper):
    """A terminal in a locale of few characters."""

    def isatty(self) -> bool:
        return True


@payload
class Work:
    depth: int


@payload
class Fin:
    text: str


async def lead(work: Work | Fin, ctx: Context) -> Any:
    """Asks, sends and calls, as deep as it is told."""
    if isinstance(work, Fin):
        return Reply(work)
    await ctx.complete("A question.", max_output_tokens=30)
    if work.depth == 0:
        await anyio.sleep(1)
        return Reply(Fin(text="done"))
    try:
        await ctx.ask("scout", Work(depth=0))
        await ctx.ask("sub", Work(depth=work.depth - 1), timeout=0.5 if work.depth == 1 else None)
    except (BudgetExhaustedError, HandlerFailedError):
        pass
    return Send("scout", Work(depth=0))


class Terminal(io.StringIO):
    """What is drawn on it is kept; ``text`` is that without colours and movements."""

    def isatty(self) -> bool:
        return True

    @property
    def text(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue())


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name, value in {"TERM": "xterm", "COLUMNS": "120", "LINES": "8"}.items():
        monkeypatch.setenv(name, value)
    return Terminal()


def document(**budget: Any) -> dict[str, Any]:
    handlers = {
        "lead": {"code": lead, "peers": ["scout", "sub"]},
        "scout": {"code": lead},
        "sub": {"code": lead, "peers": ["scout", "sub"], "budget": {"tokens": 200}},
    }
    model = ScriptedModel([Says(text="yes", usage=(20, 10), seconds=0.2)])
    return {"handlers": handlers, "models": model.models(), "budget": {"messages": 60, **budget}}


async def test_the_board_has_the_figures_of_the_organism() -> None:
    wrong: list[str] = []
    async with running(**document(tokens=900)) as organism:
        board = Board(organism.kernel)

        def see(fact: Fact) -> None:
            board.apply(fact)
            lines = {line.thread: line for line in board.lines(board.threads(), 0.0)}
            if lines.keys() != organism.kernel.state.threads.keys():
                wrong.append(f"{fact}: threads {sorted(lines)}, not {sorted(organism.kernel.state.threads)}")
            for id_, thread in organism.kernel.state.threads.items():
                tokens, node = next(share for share in lines[id_].shares if share.unit == "tokens"), thread.node
                if (tokens.used, tokens.held) != (node.used[TOKENS], node.held[TOKENS]):
                    wrong.append(f"{fact}: {id_} has {tokens}, not {node.used} and {node.held}")

        organism.subscribe(see)
        threads = [await organism.send("lead", Work(depth=depth)) for depth in (2, 1, 3)]
        await anyio.sleep(0.7)
        threads[2].cancel()
        outcomes = [(await thread.result()).outcome for thread in threads]
    assert wrong == []
    assert board.threads() == []
    assert outcomes[2] == "cancelled"
    assert sum(board.ended.values()) == 3
    assert dict(board.ended) == {outcome: outcomes.count(outcome) for outcome in outcomes}


async def test_sub_threads_stand_below_the_thread_that_opened_them() -> None:
    async with running(**document()) as organism:
        board = Board(organism.kernel)
        organism.subscribe(board.apply)
        thread = await organism.send("lead", Work(depth=1))
        await anyio.sleep(1.7)
        top, below = board.lines(board.threads(), 0.0)
        assert [(line.handler, line.depth) for line in (top, below)] == [("lead", 0), ("sub", 1)]
        assert (top.working, below.working) == ((("lead", 1),), (("sub", 1),))
        assert board.working() == ["lead", "sub"]
        assert board.handler_of(below.thread) == "sub"
        await thread.result()
    assert board.handler_of(below.thread) == ""


async def test_limits_follow_what_is_added_to_them() -> None:
    async with running(**document(tokens=900)) as organism:
        board = Board(organism.kernel)
        thread = await organism.send("lead", Work(depth=0))
        await anyio.sleep(0.5)
        (line,) = board.lines(board.threads(), 0.0)
        first = {share.unit: (share.used, share.limit) for share in line.shares}
        assert first == {"tokens": (30, 900), "messages": (1, 60)}
        thread.add_budget(tokens=100)
        (line,) = board.lines(board.threads(), 0.0)
        assert {share.unit: share.limit for share in line.shares} == {"tokens": 1000, "messages": 60}
        await thread.result()


def test_a_share_is_told_as_a_part_of_its_limit() -> None:
    assert Share("tokens", 50, 0, 100).part == 0.5
    assert Share("cost_usd", Decimal("0.3"), Decimal(0), Decimal("0.2")).part == 1.5
    assert Share("messages", 0, 0, 0).part == Share("messages", 0, 0, 0).taken == 1.0
    assert Share("tokens", 50, 25, 100).taken == 0.75


async def test_the_drawing_says_who_works_on_what(terminal: Terminal) -> None:
    async with running(**document(tokens=200, cost_usd=1)) as organism:
        board = Board(organism.kernel)
        organism.subscribe(board.apply)
        thread = await organism.send("lead", Work(depth=0))
        await anyio.sleep(0.1)
        began = organism.kernel.state.threads[thread.id].opened_at
        with LiveBoard(board, Streams(terminal, terminal, terminal), now=lambda: began + 7) as display:
            display.draw()
        await thread.result()
    text = terminal.text
    assert "threads: 1 running, 1 model call under way\n" in text
    row = r"^lead +lead > \S+/scripted +7 s +tokens ▒▒▒▒░░░░░░░░ 0/200 +messages ░{12} 1/60 *$"
    assert re.search(row, text, re.MULTILINE), text


async def test_figures_stay_whole_on_a_narrow_terminal(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    async with running(**document(tokens=1500)) as organism:
        board = Board(organism.kernel)
        thread = await organism.send("lead", Work(depth=0))
        await anyio.sleep(0.1)
        with LiveBoard(board, Streams(terminal, terminal, terminal), now=lambda: 0.0) as display:
            display.draw()
        await thread.result()
    assert re.search(r"^lead  lead > .*…  0 s  tokens ▒░{11} 0/1,500 *$", terminal.text, re.MULTILINE), terminal.text


async def test_a_terminal_without_blocks_gets_plain_signs() -> None:
    raw = io.BytesIO()
    terminal = Plain(raw, "ascii", errors="backslashreplace")
    async with running(**document(tokens=200)) as organism:
        board = Board(organism.kernel)
        thread = await organism.send("lead", Work(depth=0))
        await anyio.sleep(0.1)
        with LiveBoard(board, Streams(terminal, terminal, terminal), now=lambda: 0.0) as display:
            display.draw()
        await thread.result()
    drawn = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", raw.getvalue()).decode("ascii")
    assert re.search(r" tokens ={3,}\.+ 0/200\n", drawn), drawn


async def test_a_terminal_that_is_too_low_says_how_many_threads_it_does_not_show(terminal: Terminal) -> None:
    async with running(**document()) as organism:
        board = Board(organism.kernel)
        threads = [await organism.send("lead", Work(depth=0)) for _ in range(12)]
        await anyio.sleep(0.5)
        with LiveBoard(board, Streams(terminal, terminal, terminal), now=lambda: 0.0) as display:
            display.draw()
        for thread in threads:
            await thread.result()
    assert "threads: 12 running\n" in terminal.text
    assert "... and 7 more threads\n" in terminal.text


async def test_those_who_write_share_the_lines_that_are_left(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that is drawn is higher than the terminal: what stood above it could not be drawn over."""
    monkeypatch.setenv("LINES", "12")
    async with running(**document()) as organism:
        board = Board(organism.kernel)
        threads = [await organism.send("lead", Work(depth=0)) for _ in range(3)]
        await anyio.sleep(0.5)
        for thread in threads:
            board.hear(TextDelta(thread=thread.id, seq=1, handler="lead", text="many words " * 200, anew=False))
        streams = Streams(terminal, terminal, terminal)
        with LiveBoard(board, streams, now=lambda: 0.0) as display:
            terminal.truncate(terminal.seek(0))
            display.draw()
        for thread in threads:
            await thread.result()
    lines = terminal.text.partition("threads: 3 running")[2].partition("threads: 3 running")[0].splitlines()
    assert all(line.strip() for line in lines[-6:])
    assert [line.startswith("lead writes: ") for line in lines[-6:]] == [True, False] * 3
    assert len(lines) < 12


async def test_what_an_earlier_process_left_stands_on_the_board_when_it_goes_on(
    terminal: Terminal, tmp_path: Path
) -> None:
    journal = f"sqlite:{tmp_path}/organism.db"
    async with running(**document(tokens=200), journal=journal) as organism:
        await organism.send("lead", Work(depth=1))
        await anyio.sleep(0.3)
    async with running(**document(tokens=200), journal=journal) as organism:
        board = Board(organism.kernel)
        organism.subscribe(board.apply)
        (thread,) = await organism.resume()
        thread.resume()
        await anyio.sleep(0.1)
        with LiveBoard(board, Streams(terminal, terminal, terminal), now=lambda: 0.0) as display:
            display.draw()
        thread.cancel()
        await thread.result()
    assert re.search(r"^threads: 1 running", terminal.text, re.MULTILINE), terminal.text
    assert re.search(r"^lead +lead\b.* tokens .*/200", terminal.text, re.MULTILINE), terminal.text
