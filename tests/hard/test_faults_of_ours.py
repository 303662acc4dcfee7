"""What is wrong with the organism itself stops it: nobody waits for ever for a thread whose state is half changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import Context, Organism, Reply
from organism.errors import NotRunningError
from organism.kernel.state import State
from organism.testing import running
from tests.compiled import interpreted
from tests.hard.budget_world import Done, Task, code

if TYPE_CHECKING:
    from organism.threads.routing import Route


@interpreted
@pytest.mark.parametrize("caught", [False, True])
@pytest.mark.parametrize("asked", ["ask", "spawn"])
@pytest.mark.parametrize("listening", [True, False])
async def test_an_error_within_the_kernel_stops_the_organism_and_hangs_nobody(
    monkeypatch: pytest.MonkeyPatch, asked: str, *, caught: bool, listening: bool
) -> None:
    whole = State.post_opening

    def broken(self: State, thread: Any, route: Route, *rest: Any, **how: Any) -> Any:
        if route.name == "peer":
            raise OverflowError("too large")
        return whole(self, thread, route, *rest, **how)

    monkeypatch.setattr(State, "post_opening", broken)

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        try:
            await getattr(ctx, asked)("peer", task)
        except OverflowError:
            if not caught:
                raise
        return Reply(Done("went on"))

    async def peer(task: Task, ctx: Context) -> Reply[Done]:
        return Reply(Done("done"))

    handlers = {"worker": code(worker, peers=("peer",)), "peer": code(peer)}
    with anyio.fail_after(100), pytest.raises((RuntimeError, BaseExceptionGroup)) as failed:
        watched = running(handlers=handlers, check=False)
        async with watched if listening else Organism(name="test", handlers=handlers) as organism:
            handle = await organism.send("worker", Task("go"))
            with pytest.raises(NotRunningError):
                await handle.result()
    assert "a change was left unfinished while 'worker' was handled" in repr(failed.value)
