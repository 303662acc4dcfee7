"""A replay knows what stood where the record has ``[secret]``: whatever the handler says there now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from organism import Context, Reply
from organism.hooks import Go as GoOn
from organism.hooks import MessageEvent
from tests.hard.pump_world import Go, Said, code
from tests.replay.replay_world import Recorded

if TYPE_CHECKING:
    from pathlib import Path

    from organism import Organism

said = ["hidden-4711"]


async def careless(message: Go, ctx: Context) -> Any:
    ctx.state["note"] = f"it is {said[0]}"
    if message.text == "crash":
        raise ValueError(f"with {said[0]}, and more")
    return Reply(Said(f"so it is {said[0]}, and more{''.join(said[1:])}"))


def mark(event: MessageEvent, ctx: Context) -> GoOn:
    return GoOn(secrets="hidden-4711")


def test_what_was_left_out_of_the_record_is_no_difference_and_what_stands_around_it_is(tmp_path: Path) -> None:
    world = Recorded(tmp_path, handlers={"careless": code(careless)}, hooks={"on_message": mark})

    async def work(organism: Organism) -> None:
        for text in ("well", "crash"):
            await (await organism.send("careless", Go(text), id=text)).result()

    world.run(work)
    for thread in ("well", "crash"):
        assert world.replay(thread).differences == ()
    said.append(", otherwise")
    try:
        (different,) = world.replay("well").differences
    finally:
        said.pop()
    assert different.what == "it answered"
    assert "[secret]" in different.recorded
