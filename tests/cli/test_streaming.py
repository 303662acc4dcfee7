"""Answers that grow on a terminal while a model writes them, and of which nothing is left or printed twice."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import Context, ModelError, Organism, Reply, payload
from organism.agent.voice import Voice
from organism.cli.board import REMEMBERED, Board
from organism.cli.live import LiveBoard
from organism.cli.streams import Streams
from organism.models.contract import BackendError, Piece
from organism.pump.outlet import Outlet
from organism.pump.text_listeners import TextDelta, TextListeners
from organism.record.facts import CallHeld, CallSettled
from organism.settings import AgentSettings
from organism.testing import Says, ScriptedModel, running
from tests.cli.test_board import Terminal as Screen
from tests.cli.test_process import interrupt_until_it_ends
from tests.cli.test_shutdown import go
from tests.cli.test_terminal import HIDE, SHOW, Terminal, screen

if TYPE_CHECKING:
    from organism.record.facts import Fact
    from tests.cli.conftest import Desk


@payload
class Ask:
    text: str


@payload
class Told:
    text: str
    sources: tuple[str, ...] = ()
    note: str = ""


AGENT = {"agent": {"accepts": [Ask], "replies": [Told]}, "description": "Tells."}
LONG = 'He said: "ä\\🐝"\n' * 5
SLOW = """
    organism: demo
    models:
      default: {backends: [{provider: bees:make, model: of-our-own}]}
    handlers:
      teller:
        agent: {accepts: bees:Asked, replies: bees:Said}
        description: Tells about bees.
      busy: {code: bees:busy}
    start: [{to: teller, payload: {Asked: {text: When do bees swarm?}}}]
"""
BEES = '''
    from contextlib import asynccontextmanager
    from pathlib import Path

    import anyio

    from organism import Context, payload
    from organism.testing import Says, ScriptedModel


    @payload
    class Asked:
        text: str


    @payload
    class Said:
        text: str


    async def busy(asked: Asked, ctx: Context) -> None:
        """Lets nobody else do anything."""
        await anyio.sleep(0.3)
        print("at work")
        while True:
            pass


    class Halting:
        """What it streams stops in the midst until there is a file "go"."""

        def __init__(self, inner):
            self.inner = inner

        def __getattr__(self, name):
            return getattr(self.inner, name)

        @asynccontextmanager
        async def stream(self, request):
            async with self.inner.stream(request) as stream:
                yield Halting(stream)

        async def __aiter__(self):
            text = ""
            async for piece in self.inner:
                text += piece.text
                yield piece
                while "late spring" in text and not Path("go").exists():
                    await anyio.sleep(0.01)


    def make(settings):
        says = Says(text="Bees swarm in late spring, when their hives are full.", seconds=0.1)
        return Halting(ScriptedModel([says]).backend(settings))
'''


def told(spoken: list[TextDelta]) -> list[str]:
    """What somebody has read who wiped out what was withdrawn: a text for each of these, and the last."""
    texts = [""]
    for each in spoken:
        if each.anew:
            texts.append("")
        texts[-1] += each.text
    return texts


async def heard(model: ScriptedModel, **settings: Any) -> tuple[list[TextDelta], Any]:
    """What was heard while an agent answered, and its answer or error."""
    spoken: list[TextDelta] = []
    async with running(handlers={"teller": AGENT}, models=model.models(), **settings) as organism:
        organism.overhear(spoken.append)
        try:
            return spoken, await organism.ask("teller", Ask("?"))
        except ModelError as error:
            return spoken, error


async def test_the_texts_of_a_reply_are_heard_while_it_is_written() -> None:
    model = ScriptedModel([Says(calls=(("reply", Told(LONG, ("a", "b"), "so")),))])
    spoken, answer = await heard(model)
    assert answer == Told(LONG, ("a", "b"), "so")
    assert len(spoken) > 10
    assert told(spoken) == [f"{LONG}\nso"]
    assert {(each.handler, each.seq, each.anew) for each in spoken} == {("teller", 1, False)}


async def test_plain_text_is_heard_where_it_is_the_reply() -> None:
    spoken, answer = await heard(ScriptedModel([Says(text="It is so.")]))
    assert answer == Told("It is so.")
    assert told(spoken) == ["It is so."]
    assert len(spoken) == 3


async def test_what_was_no_reply_is_withdrawn() -> None:
    script = [
        Says(text="Let me see.", calls=(("reply", '{"text": 7}'),)),
        Says(text="I think", calls=(("reply", Told("Yes")),)),
    ]
    spoken, answer = await heard(ScriptedModel(script))
    assert answer == Told("Yes")
    assert told(spoken) == ["Let me see.", "I think", "Yes"]


async def test_what_an_agent_says_to_its_peers_is_not_heard() -> None:
    async def peer(ask: Ask, ctx: Context) -> Reply[Told]:
        """Knows."""
        return Reply(Told("no secret"))

    script = [Says(calls=(("peer", Ask("between us")),)), Says(calls=(("reply", Told("Yes")),))]
    spoken: list[TextDelta] = []
    handlers = {"teller": {**AGENT, "peers": ["peer"]}, "peer": peer}
    async with running(handlers=handlers, models=ScriptedModel(script).models()) as organism:
        organism.overhear(spoken.append)
        assert await organism.ask("teller", Ask("?")) == Told("Yes")
    assert told(spoken) == ["Yes"]


async def test_an_attempt_that_fails_is_withdrawn_and_the_next_one_is_heard() -> None:
    script = [Says(text="It is", error=BackendError("cut", "gone")), Says(text="It was so.")]
    spoken, answer = await heard(ScriptedModel(script))
    assert answer == Told("It was so.")
    assert told(spoken) == ["It is", "It was so."]


async def test_an_answer_that_was_cut_for_length_is_heard_as_one() -> None:
    script = [
        Says(text="It is ", finish_reason="length"),
        Says(text="lost.", error=BackendError("cut", "gone")),
        Says(text="so."),
    ]
    spoken, answer = await heard(ScriptedModel(script))
    assert answer == Told("It is so.")
    assert told(spoken) == ["It is lost.", "It is so."]


async def test_xml_is_not_heard_as_it_stands() -> None:
    agent = {**AGENT, "agent": {**AGENT["agent"], "peers_as": "xml"}}  # type: ignore[dict-item]
    spoken: list[TextDelta] = []
    model = ScriptedModel([Says(text="<Told><text>It is so.</text></Told>")])
    async with running(handlers={"teller": agent}, models=model.models()) as organism:
        organism.overhear(spoken.append)
        assert await organism.ask("teller", Ask("?")) == Told("It is so.")
    assert spoken == []


async def test_where_every_attempt_fails_nothing_stays() -> None:
    script = [Says(text="It is", error=BackendError("cut", "gone"))]
    model = ScriptedModel(script)
    spoken: list[TextDelta] = []
    async with running(handlers={"teller": AGENT}, models=model.models()) as organism:
        organism.overhear(spoken.append)
        thread = await organism.send("teller", Ask("?"))
        result = await thread.result()
        assert organism.statistics().held == 0
    assert result.outcome == "failed"
    assert told(spoken)[-1] == ""
    assert len(model.requests) == 4


async def test_only_the_first_reply_of_a_turn_is_heard() -> None:
    script = [Says(calls=(("reply", Told("one")), ("reply", Told("two"))))]
    spoken, _ = await heard(ScriptedModel(script))
    assert told(spoken) == ["one"]


def test_calls_that_come_in_turns_are_told_apart() -> None:
    outlet, spoken = Outlet(), list[TextDelta]()
    text_listeners = TextListeners(outlet)
    text_listeners.listen(spoken.append)
    voice = Voice(text_listeners, AgentSettings(accepts=(Ask,), replies=(Told,)), thread="t", seq=1, handler="teller")
    voice.begin(goes_on=False)
    for half in range(2):
        for call, text in enumerate(('{"text": "one two"}', '{"text": "no no"}')):
            at = slice(0, 13) if half == 0 else slice(13, None)
            voice.came(Piece(text=text[at], kind="other", tool="reply", call=call))
    outlet.empty()
    assert told(spoken) == ["one two"]


async def test_a_listener_that_raises_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    spoken: list[TextDelta] = []
    async with running(handlers={"teller": AGENT}, models=ScriptedModel([Says(text="It is so.")]).models()) as organism:
        organism.overhear(lambda _: 1 // 0)
        leave = organism.overhear(spoken.append)
        assert await organism.ask("teller", Ask("?")) == Told("It is so.")
        assert "ZeroDivisionError" in caplog.text
        assert told(spoken) == ["It is so."]
        leave()
        leave()
        await organism.ask("teller", Ask("?"))
        assert told(spoken) == ["It is so."]


def record_of(fact: Fact) -> tuple[Any, ...]:
    """What a fact says of calls, and its kind."""
    match fact:
        case CallHeld():
            return ("held", fact.key, fact.prompt, fact.need, fact.output, fact.attempt, fact.streamed, fact.backend)
        case CallSettled():
            return ("settled", fact.hold, fact.charge)
        case _:
            return (type(fact).__name__,)


@pytest.mark.parametrize(
    "script",
    [
        [Says(text="It is so.")],
        [Says(text="", error=BackendError("server", "500")), Says(calls=(("reply", Told("x")),))],
    ],
)
async def test_the_record_is_the_same_whoever_listens(script: list[Says]) -> None:
    records: list[list[Any]] = []
    for listens in (False, True):
        facts: list[Fact] = []
        async with running(handlers={"teller": AGENT}, models=ScriptedModel(script).models()) as organism:
            organism.subscribe(facts.append)
            if listens:
                organism.overhear(lambda _: None)
            assert isinstance(await organism.ask("teller", Ask("?")), Told)
        records.append([record_of(fact) for fact in facts])
    assert records[0] == records[1]
    assert [each[0] for each in records[0]].count("held") == len(script)


async def test_where_nobody_listens_models_are_asked_for_whole_answers() -> None:
    class Unstreamed(ScriptedModel):
        """A model that has no stream to give."""

        def backend(self, settings: Any) -> Any:
            made: Any = super().backend(settings)
            made.stream = None
            return made

    async with running(handlers={"teller": AGENT}, models=Unstreamed([Says(text="It is so.")]).models()) as organism:
        assert await organism.ask("teller", Ask("?")) == Told("It is so.")


async def test_a_stream_that_brings_more_than_is_held_is_cut() -> None:
    model = ScriptedModel([Says(text="word " * 3000, usage=(10, 50))])
    agent = {**AGENT, "agent": {**AGENT["agent"], "max_output_tokens": 100}}  # type: ignore[dict-item]
    spoken: list[TextDelta] = []
    async with running(handlers={"teller": agent}, models=model.models()) as organism:
        organism.overhear(spoken.append)
        thread = await organism.send("teller", Ask("?"))
        result = await thread.result()
        assert organism.statistics().held == 0
    assert 0 < len("".join(told(spoken))) < 10_000
    assert result.usage.estimated


# The board


def saying(board: Board, text: str, *, seq: int = 1, thread: str = "t", anew: bool = False) -> None:
    board.hear(TextDelta(thread=thread, seq=seq, handler="teller", text=text, anew=anew))


async def test_the_board_shows_what_is_written_until_it_is_the_answer() -> None:
    shown = list[str]()
    file = Screen()

    async with running(
        handlers={"teller": AGENT}, models=ScriptedModel([Says(text="It \x1b[31mis so.", seconds=1)]).models()
    ) as organism:
        board = Board(organism.kernel)
        live = LiveBoard(board, Streams(file, file, file), now=lambda: 0.0)

        def hear(spoken: TextDelta) -> None:
            board.hear(spoken)
            shown.extend(each.text for each in board.sayings())

        organism.subscribe(board.apply)
        organism.overhear(hear)
        with live:
            organism.overhear(lambda _: live.draw())
            await organism.ask("teller", Ask("?"))
    assert shown == ["It ", "It \x1b[31mis "]  # the last piece comes with the answer
    assert "teller writes: It \\x1b[31mis" in file.text
    assert board.sayings() == []


async def test_what_was_answered_is_taken_off_the_board_while_its_thread_goes_on() -> None:
    shown = list[int]()
    board: Board

    async def lead(ask: Ask, ctx: Context) -> Reply[Told]:
        """Asks the teller."""
        answer = await ctx.ask("teller", ask, expect=Told)
        await anyio.sleep(1)
        shown.append(len(board.sayings()))
        return Reply(answer)

    handlers = {"teller": AGENT, "leader": {"code": lead, "peers": ["teller"]}}
    async with running(handlers=handlers, models=ScriptedModel([Says(text="It is so.")]).models()) as organism:
        board = Board(organism.kernel)
        organism.subscribe(board.apply)
        organism.overhear(board.hear)
        organism.overhear(lambda _: shown.append(len(board.sayings())))
        await organism.ask("leader", Ask("?"))
    assert shown == [1, 1, 1, 0]


async def test_what_is_kept_of_a_long_answer_is_its_end() -> None:
    sizes = list[int]()
    model = ScriptedModel([Says(text=" ".join(["x" * REMEMBERED] * 3), seconds=1)])
    async with running(handlers={"teller": AGENT}, models=model.models()) as organism:
        board = Board(organism.kernel)
        organism.subscribe(board.apply)
        organism.overhear(board.hear)
        organism.overhear(lambda _: sizes.extend(len(each.text) for each in board.sayings()))
        await organism.ask("teller", Ask("?"))
    assert max(sizes) == REMEMBERED


def test_what_comes_of_threads_that_are_over_is_not_shown() -> None:
    board = Board(Organism(name="telling", handlers={"teller": AGENT}).kernel)
    saying(board, "late")
    assert board.sayings() == []


# On a terminal


@pytest.fixture
def slow(desk: Desk) -> Desk:
    desk.write("bees.py", BEES)
    desk.write("organism.yaml", SLOW)
    return desk


def test_run_shows_the_answer_grow_and_prints_it_once(slow: Desk) -> None:
    terminal = Terminal(slow, "run")
    terminal.until(lambda shown: re.search(r"teller writes: Bees swarm in", shown))
    assert "their hives" not in terminal.shown
    go(slow)
    assert terminal.finish() == 0
    left = screen(terminal.shown)
    assert "writes:" not in left
    assert left.count("Bees swarm in late spring, when their hives are full.") == 1
    assert "teller: Said\n  text: Bees swarm" in left


def test_what_was_streamed_is_replayed_as_any_other(slow: Desk) -> None:
    terminal = Terminal(slow, "run", "--journal", "sqlite:kept.db")
    terminal.until(lambda shown: "teller writes: " in shown)
    go(slow)
    assert terminal.finish() == 0
    (thread,) = [each["thread"] for each in slow.organism("threads", "--journal", "sqlite:kept.db", "--json").objects]
    ran = slow.organism("replay", thread, "--journal", "sqlite:kept.db")
    assert ran.code == 0, ran.out + ran.err


def test_chat_shows_the_answer_grow_and_prints_it_once(slow: Desk) -> None:
    terminal = Terminal(slow, "chat", "--to", "teller")
    terminal.until(lambda shown: "> " in shown)
    terminal.type(b"When do they?\n")
    terminal.until(lambda shown: "teller ..." in shown and "Bees swarm in" in shown)
    assert "their hives" not in terminal.shown
    go(slow)
    terminal.until(lambda shown: shown.endswith("\n> "))
    terminal.type(b"\x04")
    assert terminal.finish() == 0
    assert terminal.shown.count("Bees swarm") > 1
    left = screen(terminal.shown)
    assert left.count("Bees swarm in late spring, when their hives are full.") == 1
    assert left.count("Bees swarm") == 1
    assert "teller ..." not in left
    assert terminal.shown.rindex(HIDE) < terminal.shown.rindex(SHOW)


def test_ctrl_c_while_an_answer_grows_takes_it_off_the_terminal(slow: Desk) -> None:
    terminal = Terminal(slow, "chat", "--to", "teller")
    terminal.until(lambda shown: "> " in shown)
    terminal.type(b"When do they?\n")
    terminal.until(lambda shown: "Bees swarm" in shown)
    terminal.process.send_signal(signal.SIGINT)
    terminal.until(lambda shown: shown.endswith("\n> "))
    terminal.type(b"\x04")
    assert terminal.finish() == 0
    left = screen(terminal.shown)
    assert "cancelled: teller" in left
    assert "Bees swarm" not in left
    assert terminal.shown.rindex(HIDE) < terminal.shown.rindex(SHOW)


def test_a_second_ctrl_c_leaves_the_terminal_in_order(slow: Desk) -> None:
    terminal = Terminal(slow, "chat", "--to", "busy")
    terminal.until(lambda shown: "> " in shown)
    terminal.type(b"x\n")
    terminal.until(lambda shown: "at work" in shown)
    assert HIDE in terminal.shown
    interrupt_until_it_ends(terminal.process)
    assert terminal.finish() == 130
    assert terminal.shown.rindex(HIDE) < terminal.shown.rindex(SHOW)


@pytest.mark.parametrize("how", ["--json", "--quiet"])
def test_for_programs_and_in_quiet_nothing_streams(slow: Desk, how: str) -> None:
    go(slow)
    terminal = Terminal(slow, "run", how)
    assert terminal.finish() == 0
    assert "writes:" not in terminal.shown
    assert terminal.shown.count("Bees swarm in") == (2 if how == "--json" else 1)  # JSON holds the XML as well


def test_without_a_terminal_nothing_streams(slow: Desk) -> None:
    go(slow)
    ran = slow.organism("run")
    assert ran.code == 0, ran.err
    assert "Bees" not in ran.err
    assert ran.out.startswith("teller: Said\n  text: Bees swarm in late spring, when their hives are full.\n\n")
