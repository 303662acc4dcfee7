"""What agents write, on a board: in the lines that there are, its end, and nothing of an answer that was begun anew."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from organism import payload
from organism.cli.board import Board, Saying, Share
from organism.cli.live import said_lines
from organism.cli.text import harmless, width_of
from organism.pump.ears import Spoken
from organism.record import facts
from organism.settings import BudgetSettings, Limits


@payload
class Note:
    text: str


def opened(thread: str = "t", *, tokens: int | None = 100) -> facts.Accepted:
    budget = BudgetSettings(limits=Limits(tokens=tokens))
    root = facts.ThreadOpened(thread=thread, kind="root", handler="desk", budget=budget, owner=None, labels={})
    first = facts.Posted(
        thread=thread, seq=1, to="desk", sender="", kind="ingress", payload=Note("x"), frame=(thread, 1), opens=True,
        parent=None,
    )  # fmt: skip
    return facts.Accepted(at=0.0, thread=thread, steps=(root, first))


def wrote(board: Board, text: str, *, anew: bool = False, thread: str = "t") -> list[str]:
    """What stands on the board after this was written."""
    board.hear(Spoken(thread=thread, seq=1, handler="desk", text=text, anew=anew))
    return [saying.text for saying in board.sayings()]


def test_an_answer_that_is_begun_anew_stands_alone() -> None:
    board = Board()
    board.apply(opened())
    assert wrote(board, "A frame ") == ["A frame "]
    assert wrote(board, "is a call.") == ["A frame is a call."]
    assert wrote(board, "No: ", anew=True) == ["No: "]
    assert wrote(board, "", anew=True) == []
    assert wrote(board, "x", thread="over") == []


def test_a_grant_raises_the_limits_on_the_board() -> None:
    board = Board()
    board.apply(opened())
    (line,) = board.lines()
    granted = facts.Granted(
        at=9.0, thread="t", seq=1, node="t", unit="tokens", asked=Decimal(50), amount=Decimal(50), by="boss", reason="",
        budget=BudgetSettings(limits=Limits(tokens=150)),
    )  # fmt: skip
    limits: list[Share] = [share for share in line.shares() if share.unit == "tokens"]
    board.apply(granted)
    after = [share for share in line.shares() if share.unit == "tokens"]
    assert [share.limit for share in (*limits, *after)] == [100, 150]


@given(
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=400),
    st.integers(50, 120),
    st.integers(1, 4),
)
def test_what_is_written_is_shown_by_its_end_in_the_lines_that_there_are(text: str, width: int, room: int) -> None:
    head = "desk writes: "
    lines = [line.plain for line in said_lines(Saying("t", "desk", text), width, room)]
    assert 1 <= len(lines) <= room
    assert all(width_of(line) < width for line in lines)
    assert lines[0].startswith(head.rstrip())
    shown = "".join("".join(lines).removeprefix(head.rstrip()).split())
    whole = "".join(harmless(text).split())
    assert whole.endswith(shown)
    assert shown == whole or len(lines) == room
