"""Generated conversations, whose process is killed anywhere: turns run in order, nothing is lost, and the record is the state."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from organism import BudgetExhaustedError, Context, NotRunningError, Reply
from organism.testing import Says, ScriptedModel
from tests.durable.told_rows import check_kept
from tests.durable.turns_world import Heard, Say, Talking, check_record, code, conversation_of, killed, sqlite

if TYPE_CHECKING:
    from organism.pump.handles import ThreadHandle

STEPS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.sampled_from(["talk", "ask", "crash", "agent"])),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 0.7, 3.0, 20.0])),
        st.tuples(st.sampled_from(["cancel", "pause", "resume"]), st.integers(0, 9)),
        st.tuples(st.just("kill"), st.booleans()),
    ),
    min_size=4,
    max_size=25,
)


async def talk(say: Say, ctx: Context) -> Reply[Heard]:
    """Asks its model twice, and notes that it ran."""
    for text in ("one", "two"):
        await ctx.complete(f"{text} {say.text}", max_output_tokens=50)
    return Reply(Heard(note(say, ctx)))


async def ask(say: Say, ctx: Context) -> Reply[Heard]:
    """Has two others work, one of them in a sub-thread."""
    await ctx.ask_all([("below", say), ("beside", say)])
    await anyio.sleep(0.5)
    return Reply(Heard(note(say, ctx)))


async def work(say: Say, ctx: Context) -> Reply[Heard]:
    """Works, and remembers."""
    await anyio.sleep(0.5)
    return Reply(Heard(note(say, ctx)))


async def crash(say: Say, ctx: Context) -> Reply[Heard]:
    """Crashes after a while."""
    note(say, ctx)
    await anyio.sleep(0.3)
    raise ValueError("oh")


def note(say: Say, ctx: Context) -> str:
    """Keeps which turns this handler has had."""
    turns = ctx.state["turns"] = [*ctx.state.get("turns", []), say.n]
    return ",".join(map(str, turns))


def document(cap: int | None) -> dict[str, Any]:
    model = ScriptedModel(
        lambda request: Says(text="ok", calls=(("reply", Heard("x")),) if request.tools else (), seconds=0.4)
    )
    return {
        "handlers": {
            "talk": code(talk),
            "ask": code(ask, "below", "beside"),
            "crash": code(crash),
            "below": code(work, budget={"messages": 5}),
            "beside": code(work),
            "agent": {"agent": {"accepts": Say, "replies": Heard, "prompt": "Reply."}, "description": "Replies."},
        },
        "models": model.models(),
        "conversation": {"messages": cap, "tokens": 20_000, "seconds": 500},
    }


class Program:
    """A conversation that is had by steps, in one process after the other."""

    def __init__(self, folder: Path, cap: int | None) -> None:
        self.folder = self.home = folder
        self.cap = cap
        self.sent: dict[str, tuple[str, Say]] = {}
        self.refused: list[str] = []
        self.processes = 0

    async def run(self, steps: list[tuple[str, Any]]) -> None:
        left = list(steps)
        home = self.folder / "0"
        while True:
            self.processes += 1
            self.home = home
            if self.processes > 1:
                check_kept(home, "sqlite:organism.db")
            organism = sqlite(home, **document(self.cap))
            async with organism:
                await organism.resume()
                while left:
                    do, what = left.pop(0)
                    if do == "kill":
                        home = killed(home, str(self.processes)) if what else home
                        break
                    await self.step(organism, do, what)
                else:
                    await self.end(organism)
                    return

    async def step(self, organism: Talking, do: str, what: Any) -> None:
        live = [handle for handle in map(organism.thread_of, self.sent) if handle is not None]
        if do == "send":
            try:
                say = Say(text=what, n=len(self.sent))
                handle = await organism.send(what, say, conversation="c", id=f"turn-{len(self.sent)}")
            except BudgetExhaustedError as error:
                self.refused.append(error.scope)
            else:
                self.sent[handle.id] = what, say
        elif do == "wait":
            await anyio.sleep(what)
        elif live:
            self.order(live[what % len(live)], do)
        if "c" in organism.kernel.state.conversations:
            await check_record(organism)

    def order(self, handle: ThreadHandle, do: str) -> None:
        with suppress(NotRunningError):
            {"cancel": handle.cancel, "pause": handle.pause, "resume": handle.resume}[do]()

    async def end(self, organism: Talking) -> None:
        """Lets all of it go on, and looks at what came of it."""
        assert set(self.refused) <= {"conversation"}
        if not self.sent:
            return
        for turn in list(conversation_of(organism).turns) if "c" in organism.kernel.state.conversations else ():
            handle = organism.thread_of(turn.id)
            assert handle is not None
            handle.resume()
        # Sending them again under their ids sends nothing, and gives their results.
        handles = [await organism.send(*sent, conversation="c", id=id_) for id_, sent in self.sent.items()]
        results = [await handle.result() for handle in handles]
        assert not organism.unfinished
        completed = [n for n, each in enumerate(results) if each.outcome == "completed"]
        if "c" not in organism.kernel.state.conversations:
            return
        conversation = conversation_of(organism)
        assert not conversation.turns
        assert not any(conversation.node.held)
        for handler in ("talk", "ask"):
            memory = (conversation.state or {}).get(handler)
            kept = [] if memory is None else memory.get("turns", [])
            mine = [n for n in completed if results[n].handler == handler]
            assert kept == sorted(kept)
            assert set(mine) <= set(kept)  # one that was cancelled may have kept what it did before
        assert sum(each.usage.messages for each in results) == conversation.node.used[5]
        assert sum(each.usage.model_calls for each in results) <= conversation.node.used[4]
        await check_record(organism)


@settings(max_examples=40)
@given(steps=STEPS, cap=st.sampled_from([None, None, 8]))
def test_a_conversation_that_is_killed_anywhere_goes_on(steps: list[tuple[str, Any]], cap: int | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        program = Program(Path(folder), cap)
        trio.run(program.run, steps, clock=trio.testing.MockClock(autojump_threshold=0))
        check_kept(program.home, "sqlite:organism.db")
