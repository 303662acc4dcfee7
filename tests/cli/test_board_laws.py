"""What agents write, on a board: in the lines that there are, its end, and nothing of an answer that was begun anew."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from organism import Context, Organism, payload
from organism.cli.board import Board, Saying
from organism.cli.live import said_lines
from organism.cli.text import harmless, width_of
from organism.pump.text_listeners import TextDelta


@payload
class Note:
    text: str


async def take(note: Note, ctx: Context) -> None:
    """Takes notes."""


def board_with(*threads: str) -> Board:
    """The board of an organism in which these live."""
    organism = Organism(name="desk", handlers={"desk": take})
    for thread in threads:
        organism.kernel.accept(thread, "desk", Note("x"), organism.settings.budget, {}, 0.0)
    return Board(organism.kernel)


def wrote(board: Board, text: str, *, anew: bool = False, thread: str = "t") -> list[str]:
    """What stands on the board after this was written."""
    board.hear(TextDelta(thread=thread, seq=1, handler="desk", text=text, anew=anew))
    return [saying.text for saying in board.sayings()]


def test_an_answer_that_is_begun_anew_stands_alone() -> None:
    board = board_with("t")
    assert wrote(board, "A frame ") == ["A frame "]
    assert wrote(board, "is a call.") == ["A frame is a call."]
    assert wrote(board, "No: ", anew=True) == ["No: "]
    assert wrote(board, "", anew=True) == []
    assert wrote(board, "x", thread="over") == []


@given(
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=400),
    st.integers(50, 120),
    st.integers(1, 4),
)
@example("many words " * 30, 60, 3)
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
