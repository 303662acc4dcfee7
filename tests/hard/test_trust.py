"""The trust boundary under attack: what a handler may try with what it answers, raises, keeps and is given.

Whatever it is, it is refused or fails alone, its record says so, and whoever is honest beside it goes on.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import (
    BudgetExhaustedError,
    Context,
    Forward,
    HandlerFailedError,
    NotRunningError,
    Refused,
    Reply,
    Send,
    UnexpectedReplyError,
    payload,
)
from organism.errors import RoutingError
from organism.primitives import BudgetGranted, BudgetWarning, HandlerFailed
from organism.record.facts import Failed
from organism.testing import Watched, running
from tests.hard.pump_world import Go, Odd, Pile, Said, code

if TYPE_CHECKING:
    from pathlib import Path

Attack = Callable[[], Any]
D1 = Decimal(1)


@payload
class Box:
    """Something that holds payloads."""

    one: Go
    more: list[Go]
    named: dict[str, Go]


def another_organisms() -> tuple[type, type]:
    """Two classes as another organism may have them: of the same names, and others."""

    @payload
    class Said:
        """An answer."""

        text: str = ""

    @payload(namespace="urn:organism:primitives:1")
    class BudgetGranted:
        """A grant that nobody made."""

        text: str = ""

    return Said, BudgetGranted


OtherSaid, OtherGranted = another_organisms()


class Chameleon(str):
    """A text that equals whatever it is compared with, and hides under two hashes."""

    __slots__ = ("asked",)

    def __hash__(self) -> int:
        self.asked: int = getattr(self, "asked", 0) + 1
        return hash("hidden") if self.asked == 1 else hash("peer")

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False


class Louder(Go):
    """A payload with a life of its own."""

    def __getattribute__(self, name: str) -> Any:
        return "forged" if name == "text" else super().__getattribute__(name)


class Nameless(type):
    """The class of classes that cannot even tell their names."""

    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise RuntimeError("I have none")


class Shapeless(metaclass=Nameless):
    """One of them."""

    def __repr__(self) -> str:
        raise RuntimeError("nor can I be shown")


class Impostor:
    """Says that it is a Send."""

    to = "hidden"
    payload = Go("forged")

    @property
    def __class__(self) -> Any:
        return Send

    @__class__.setter
    def __class__(self, _: Any) -> None:
        raise TypeError


class Marked:
    """Calls itself a payload."""

    __organism_payload__ = 5


class Borrowed:
    """Shows the definition of another class as its own."""

    __organism_payload__ = vars(Said)["__organism_payload__"]
    text = "forged"


class LaterSend(Send[Any]):
    """An answer that could do something when it is looked at."""


class Unfound(type):
    """What classes are made of that no dict can look for."""

    def __hash__(cls) -> int:
        raise ValueError("no hash")


class Unfindable(metaclass=Unfound):
    """Its class raises where it is looked for."""


def hollow(cls: type[object]) -> Any:
    return object.__new__(cls)


def bent(value: Any, **fields: Any) -> Any:
    for name, field in fields.items():
        object.__setattr__(value, name, field)
    return value


def round_and_round() -> Any:
    """A payload that holds itself."""
    box: Any = Box(Go(), [], {})
    return bent(box, one=bent(Go("x")), more=(bent(Go("y"), text=box),))


ANSWERS: dict[str, tuple[Attack, str]] = {
    "an address that answers as it likes": (lambda: Send(Chameleon("hidden"), Go("forged")), "routing"),
    "the same in a handoff": (lambda: Forward(Chameleon("hidden"), Go("forged")), "routing"),
    "a handler that is not a peer": (lambda: Send("hidden", Go("forged")), "routing"),
    "an agent's tool": (lambda: Send("clerk.look", Go("forged")), "routing"),
    "an address that cannot be shown": (lambda: Send(Shapeless(), Go()), "routing"),  # type: ignore[arg-type]
    "a message to the organism itself": (lambda: Send("organism", Go()), "validation"),
    "a primitive": (lambda: Send("peer", HandlerFailed("crashed", "forged")), "validation"),
    "a primitive as the reply": (lambda: Reply(BudgetGranted("tokens", Decimal(5), "forged")), "validation"),
    "something that calls itself an answer": (Impostor, "validation"),
    "an answer of a kind of its own": (lambda: LaterSend("peer", Go()), "validation"),
    "an answer that holds nothing": (lambda: hollow(Reply), "validation"),
    "a message that holds nothing": (lambda: [Reply(Said("fine")), hollow(Send)], "validation"),
    "what calls itself a payload": (lambda: Reply(Marked()), "validation"),
    "what borrows a payload's definition": (lambda: Reply(Borrowed()), "validation"),
    "a class without a name": (lambda: Reply(Shapeless()), "validation"),
    "a class that cannot be looked up": (lambda: Reply(Unfindable()), "validation"),
    "the same to a peer": (lambda: Send("peer", Unfindable()), "validation"),
    "an answer without a name": (lambda: [Shapeless()], "validation"),
    "a payload's subclass": (lambda: Send("peer", Louder("x")), "validation"),
    "a class of another organism": (lambda: Send("peer", OtherSaid("x")), "validation"),
    "such a class as the reply": (lambda: Reply(OtherSaid("x")), "validation"),
    "a class with a primitive's name": (lambda: Reply(OtherGranted("all you want")), "validation"),
    "a payload without fields": (lambda: Reply(hollow(Said)), "validation"),
    "such a payload to a peer": (lambda: Send("peer", hollow(Go)), "validation"),
    "a payload with a field of another type": (lambda: Reply(bent(Said(), text=object())), "validation"),
    "the same inside of another": (lambda: Reply(Box(Go(), [Go(), bent(Go(), n="many")], {})), "validation"),
    "the same in its dict": (lambda: Reply(Box(Go(), [], {"a": bent(Go(), n="many")})), "validation"),
    "a payload that holds itself": (lambda: Reply(round_and_round()), "validation"),
}


def raised(error: BaseException, **fields: Any) -> Any:
    return bent(error, **fields)


class Unspeakable:
    """Raises whatever it is asked."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise RuntimeError("no truth")


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Group(ExceptionGroup[Exception]):
    """A group that does not say what is in it."""

    @property
    def exceptions(self) -> Any:
        return ()

    def split(self, *_: Any) -> Any:
        raise RuntimeError("no parts")


def nested(depth: int) -> Any:
    error: Any = ValueError("at the bottom")
    for _ in range(depth):
        error = ExceptionGroup("deeper", [error])
    return error


def nameless_error() -> BaseException:
    class LostError(Exception, metaclass=Nameless):
        pass

    return LostError()


RAISES: dict[str, tuple[Attack, str]] = {
    "an exception without a text": (MuteError, "crashed"),
    "one without a name": (nameless_error, "crashed"),
    "a refusal without a text": (lambda: Refused(Unspeakable()), "refused"),
    "groups in groups": (lambda: nested(5000), "crashed"),
    "a group that is none": (lambda: Group("x", [ValueError("x")]), "crashed"),
    "a failure whose text cannot be told": (lambda: raised(HandlerFailedError("crashed", "x"), text=Unspeakable()), "crashed"),
    "one whose code cannot be compared": (lambda: raised(HandlerFailedError("crashed", "x"), code=Unspeakable()), "crashed"),
    "one that is neither true nor false": (lambda: raised(HandlerFailedError("crashed", "x"), retry=Unspeakable()), "crashed"),
    "a code that there is not": (lambda: HandlerFailedError("granted", "all you want"), "crashed"),
    "a limit that there is not": (
        lambda: raised(BudgetExhaustedError("tokens", "thread", 1, 1, 1, 1), unit="bananas", scope=["moon"]),
        "exhausted",
    ),
    "a limit that is not a text": (
        lambda: raised(HandlerFailedError("exhausted", "x"), unit=Unspeakable(), scope=object()),
        "exhausted",
    ),
}  # fmt: skip


async def peer(message: Go, ctx: Context) -> Reply[Said]:
    return Reply(Said(f"{ctx.sender} said {message.text}"))


async def front(message: Go, ctx: Context) -> Reply[Said]:
    """Asks the attacker, and tells what it heard."""
    try:
        return Reply(Said(str(await ctx.ask("mallory", message))))
    except HandlerFailedError as error:
        return Reply(Said(f"{error.code}|{error.text}"))


class World:
    """An organism with an attacker, its only peer, and somebody whom it does not know of."""

    def __init__(self, attack: Callable[[Context], Any]) -> None:
        self.called: list[str] = []

        async def mallory(message: Go | Odd, ctx: Context) -> Any:
            return attack(ctx)

        async def hidden(message: Go, ctx: Context) -> None:
            self.called.append(ctx.sender)

        self.handlers = {
            "mallory": code(mallory, "peer"),
            "peer": code(peer),
            "hidden": code(hidden),
            "front": code(front, "mallory"),
            "teller": code(teller),
        }


async def teller(message: Said, ctx: Context) -> Reply[Said]:
    """Makes Said a class that this organism knows."""
    return Reply(message)


JOURNALS = ["memory:", "sqlite"]


async def attacked(world: World, journal: str, tmp_path: Path) -> tuple[Any, Any, list[tuple[str, str]]]:
    """What comes of the attack at the root and below an asker, and the failures that were recorded."""
    place = journal if journal == "memory:" else f"sqlite:{tmp_path / 'journal.db'}"
    organism = Watched(name="test", handlers=world.handlers, journal=place, loops={"repeats": 4, "within": 12})
    async with running(organism):
        alone = await (await organism.send("mallory", Go("go"))).result()
        asked = await (await organism.send("front", Go("go"))).result()
        assert await organism.ask("peer", Go("hello")) == Said(" said hello")
        recorded = [(fact.handler, fact.failure.code) for fact in organism.watch.of(Failed)]
    return alone, asked, recorded


@pytest.mark.parametrize("journal", JOURNALS)
@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.by_turns
async def test_a_forged_answer_is_refused_whole_and_recorded(name: str, journal: str, tmp_path: Path) -> None:
    answer, verdict = ANSWERS[name]
    world = World(lambda _: answer())
    alone, asked, recorded = await attacked(world, journal, tmp_path)
    assert (alone.outcome, alone.code, alone.replies) == ("failed", verdict, ())
    assert asked.reply.text.startswith(f"{verdict}|")
    assert recorded == [("mallory", verdict)] * 2
    assert world.called == []


@pytest.mark.parametrize("journal", JOURNALS)
@pytest.mark.parametrize("name", RAISES)
@pytest.mark.by_turns
async def test_whatever_is_raised_fails_its_own_delivery_alone(name: str, journal: str, tmp_path: Path) -> None:
    make, verdict = RAISES[name]

    def attack(ctx: Context) -> Any:
        raise make()

    alone, asked, recorded = await attacked(World(attack), journal, tmp_path)
    assert (alone.code, alone.unit) == (verdict, None)
    assert asked.reply.text.startswith(f"{verdict}|")
    assert recorded == [("mallory", verdict)] * 2


async def test_a_refusal_names_nobody_whom_the_attacker_does_not_know() -> None:
    for guess in ("hiden", "hidden", "front", "nobody", "clerk.look"):

        def attack(ctx: Context, address: str = guess) -> Any:
            return Send(address, Go())

        world = World(attack)
        async with running(handlers=world.handlers) as organism:
            result = await (await organism.send("mallory", Go())).result()
        # One and the same sentence, whether there is such a handler or not.
        assert result.error == f"'{guess}' is not a peer of 'mallory'"


@pytest.mark.by_turns
async def test_what_an_exception_says_is_cut_and_holds_no_key() -> None:
    key = "sk-proj-" + "aB3dE5fG7h" * 3

    def attack(ctx: Context) -> Any:
        raise ValueError(f"refused: {key} " + "x" * 1_000_000)

    async with running(handlers=World(attack).handlers) as organism:
        result = await (await organism.send("mallory", Go())).result()
    assert result.error is not None
    assert result.error.startswith("ValueError: refused: [secret] xxx")
    assert len(result.error) < 11_000


# What it keeps


class Spy(str):  # noqa: SLOT000 - what it carries along is what it is for
    """A text that carries something along."""

    luggage: Any = None


class Five(int):
    def __str__(self) -> str:
        return "[1, 2"

    __repr__ = __str__


STATES: dict[str, tuple[Any, str]] = {
    "a function": (lambda: None, "holds JSON values and payloads, not function"),
    "an open value": (object(), "not object"),
    "what calls itself a payload": (Marked(), "not Marked"),
    "a payload without fields": (hollow(Said), "Said is not a whole value"),
    "a payload with a field of another type": (bent(Said(), text=b"x"), r"Said.text: expected str, got bytes"),
    "a set": ({1}, "not set"),
    "bytes": (b"x", "not bytes"),
    "keys that are no texts": ({1: 2}, "keys of type str, not 1"),
}


@pytest.mark.parametrize("name", STATES)
async def test_state_takes_json_values_and_whole_payloads_and_nothing_else(name: str) -> None:
    value, says = STATES[name]

    def attack(ctx: Context) -> Any:
        with pytest.raises((TypeError, ValueError), match=says):
            ctx.state["x"] = value
        with pytest.raises((TypeError, ValueError), match=says):
            ctx.state["x"] = [{"deep": [value]}]
        return Reply(Said(str(dict(ctx.state))))

    async with running(handlers=World(attack).handlers) as organism:
        assert await organism.ask("mallory", Go()) == Said("{}")


async def test_state_keeps_values_and_not_the_objects_that_were_given(tmp_path: Path) -> None:
    """A list that is changed afterwards, and texts and numbers that are more than that, carry nothing from one delivery to the next."""
    given: dict[str, Any] = {}

    def attack(ctx: Context) -> Any:
        if "text" in ctx.state:
            kept = dict(ctx.state)
            kinds = [type(kept[name]).__name__ for name in ("text", "five", "list")]
            assert kept["list"] is not ctx.state["list"]
            return Reply(Said(f"{kept} {kinds}"))
        text = Spy("t")
        text.luggage = ["smuggled"]
        given["list"] = ["a", Spy("b")]
        ctx.state["text"], ctx.state["five"], ctx.state["list"] = text, Five(5), given["list"]
        given["list"].append("later")
        ctx.state["list"].append("in a copy")
        return Forward("mallory", Odd())

    organism = Watched(name="test", handlers=World(attack).handlers, journal=f"sqlite:{tmp_path / 'j.db'}")
    async with running(organism):
        assert await organism.ask("mallory", Go()) == Said(
            "{'five': 5, 'list': ['a', 'b'], 'text': 't'} ['str', 'int', 'list']"
        )


async def test_options_and_labels_that_are_changed_are_changed_for_nobody() -> None:
    seen: list[Any] = []

    def attack(ctx: Context) -> Any:
        options: Any = ctx.options
        seen.append((copy.deepcopy(dict(options)), dict(ctx.labels)))
        options["roots"].append("/")
        options["deep"]["in"]["list"].append("forged")
        with pytest.raises(TypeError):
            options["roots"] = ["/"]
        labels: Any = ctx.labels
        with pytest.raises(TypeError):
            labels["tenant"] = "forged"
        return Reply(Said())

    shared = {"roots": ["docs"], "deep": {"in": {"list": [1]}}}
    world = World(attack)
    world.handlers["mallory"] |= {"options": shared}
    async with running(handlers=world.handlers) as organism:
        for _ in range(2):
            await organism.ask("mallory", Go(), labels={"tenant": "acme"})
    assert seen[0] == seen[1] == ({"roots": ["docs"], "deep": {"in": {"list": [1]}}}, {"tenant": "acme"})
    assert shared == {"roots": ["docs"], "deep": {"in": {"list": [1]}}}


async def test_a_spawners_handle_tells_of_its_own_thread_alone_and_changes_no_label() -> None:
    """Labels are what costs are counted under: nobody puts its own on somebody else's account."""

    async def spawner(message: Go, ctx: Context) -> Reply[Said]:
        handle = await ctx.spawn("peer", Go("below"))
        labels: Any = handle.labels
        with pytest.raises(TypeError):
            labels["tenant"] = "forged"
        result = await handle.result()
        labels = result.labels
        with pytest.raises(TypeError):
            labels["tenant"] = "forged"
        handlers = {getattr(event.fact, "handler", "peer") for event in await handle.history()}
        assert handlers <= {"peer"}
        assert await ctx.ask("peer", Go("again"))
        return Reply(Said(ctx.labels["tenant"]))

    handlers = {"spawner": code(spawner, "peer"), "peer": code(peer)}
    async with running(handlers=handlers) as organism:
        organism.keep_history()
        assert await organism.ask("spawner", Go(), labels={"tenant": "acme"}) == Said("acme")
        assert set(organism.usage("label")) == {"tenant=acme"}


# What it is given


async def test_what_is_in_a_payload_cannot_be_changed_by_one_of_its_receivers() -> None:
    seen: list[Any] = []

    async def taker(message: Pile | Box, ctx: Context) -> None:
        given: Any = message
        seen.append(given)
        if isinstance(message, Box):
            with pytest.raises(TypeError):
                given.named["forged"] = Go()
            with pytest.raises(AttributeError):
                given.more.append(Go())
            with pytest.raises(AttributeError):
                given.one.text = "forged"
            return
        with pytest.raises(AttributeError):
            given.items.append("forged")
        with pytest.raises(AttributeError):
            given.items = ()

    async def root(message: Go, ctx: Context) -> Any:
        box = Box(Go("a"), [Go("b")], {"c": Go("d")})
        return [Send(name, each) for each in (Pile(["a"]), box) for name in ("one", "two")]

    handlers = {"root": code(root, "one", "two"), "one": code(taker), "two": code(taker)}
    async with running(handlers=handlers) as organism:
        assert (await (await organism.send("root", Go())).result()).outcome == "completed"
    assert len(seen) == 4
    assert {str(each) for each in seen} == {
        "Pile(items=('a',))",
        "Box(one=Go(text='a', n=0), more=(Go(text='b', n=0),), named={'c': Go(text='d', n=0)})",
    }


async def test_a_list_that_was_put_into_a_payload_is_taken_out_before_it_is_sent() -> None:
    kept: list[Any] = []

    def attack(ctx: Context) -> Any:
        mine = ["as sent"]
        kept.append(mine)
        return Send("heap", bent(Pile([]), items=mine))

    async def heap(message: Pile, ctx: Context) -> Reply[Said]:
        kept[0].append("forged")
        return Reply(Said(str(message.items)))

    async def forwarder(message: Go, ctx: Context) -> Any:
        out = attack(ctx)
        return Forward(out.to, out.payload)

    handlers = {"root": code(forwarder, "heap"), "heap": code(heap)}
    async with running(handlers=handlers) as organism:
        assert await organism.ask("root", Go()) == Said("('as sent',)")


USES: dict[str, Callable[[Any], Any]] = {
    "ask": lambda ctx: ctx.ask("peer", Go()),
    "ask_all": lambda ctx: ctx.ask_all([("peer", Go())]),
    "spawn": lambda ctx: ctx.spawn("peer", Go()),
    "complete": lambda ctx: ctx.complete("hello"),
    "request_budget": lambda ctx: ctx.request_budget("tokens", 100, "more"),
    "hold_up": lambda ctx: ctx.hold_up(),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("by", ["another thread", "another delivery of it", "outside"])
async def test_a_context_that_was_kept_acts_for_nobody(use: str, by: str) -> None:
    kept: list[Context] = []
    said: list[str] = []

    async def tries() -> None:
        try:
            await USES[use](kept[0])
        except BaseExceptionGroup as group:
            said.append(type(group.exceptions[0]).__name__)
        except (NotRunningError, OSError) as error:
            said.append(type(error).__name__)

    async def keeper(message: Go, ctx: Context) -> Any:
        if not kept:
            kept.append(ctx)
            return Send("keeper", Go()) if by == "another delivery of it" else None
        await tries()
        return None

    async with running(handlers={"keeper": code(keeper, "peer"), "peer": code(peer)}) as organism:
        first = await organism.send("keeper", Go())
        usage = (await first.result()).usage
        if by == "another thread":
            await (await organism.send("keeper", Go())).result()
        if by == "outside":
            await tries()
            with pytest.raises(NotRunningError):
                kept[0].state["x"] = 1
        assert said == ["NotRunningError"]
        assert usage.messages == (2 if by == "another delivery of it" else 1)
        assert organism.usage("handler").get("peer") is None


async def test_an_answer_of_a_delivery_that_is_over_is_dropped() -> None:
    """Timed out and answered for, it goes on in a task of its own: what it sends then reaches nobody."""

    async def slow(message: Go, ctx: Context) -> Any:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(5)
        return Send("peer", Go("too late"))

    handlers = {"slow": code(slow, "peer", timeout=1), "peer": code(peer)}
    async with running(handlers=handlers) as organism:
        result = await (await organism.send("slow", Go())).result()
        assert (result.outcome, result.code) == ("failed", "timeout")
        assert organism.usage("handler").get("peer") is None


# From outside


@pytest.mark.parametrize(
    ("to", "given", "says"),
    [
        ("organism", Go(), "'organism' is not a handler"),
        ("clerk.look", Go(), "'clerk.look' is not a handler"),
        ("told", BudgetWarning("tokens", "warning", Decimal("0.75"), D1, D1, D1, D1, 0, "thread", "forged"), "only the organism itself sends BudgetWarning"),
        ("told", HandlerFailed("crashed", "forged"), "only the organism itself sends HandlerFailed"),
        ("told", Louder("x"), "not Louder"),
        ("told", hollow(Go), "Go is not a whole value"),
        ("told", bent(Go(), n="many"), "Go.n: expected int"),
        ("told", OtherSaid("x"), "another class of that name"),
        (Chameleon("hidden"), Said("x"), "takes Go, not Said"),
    ],
)  # fmt: skip
async def test_an_ingress_forges_nothing_either(to: str, given: Any, says: str) -> None:
    async def told(message: Go | Said | BudgetWarning | HandlerFailed, ctx: Context) -> None:
        raise AssertionError

    async def hidden(message: Go, ctx: Context) -> None:
        raise AssertionError

    async with running(handlers={"told": code(told), "hidden": code(hidden)}) as organism:
        with pytest.raises(RoutingError, match=says):
            await organism.send(to, given)
        assert organism.statistics().threads == 0


async def test_guessed_ids_open_nothing() -> None:
    """Questions, threads and sub-threads of others are found by their whole ids alone; a wrong guess changes nothing."""

    async def asker(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(await ctx.ask("boss", message, expect=Said))

    handlers = {
        "asker": code(asker, "boss"),
        "boss": {"human": {"accepts": Go, "replies": Said}, "description": "A person."},
    }
    async with running(handlers=handlers) as organism:
        handle = await organism.send("asker", Go("may I?"), id="mine")
        await anyio.sleep(1)
        (question,) = organism.inbox()
        for guess in (
            "",
            "mine",
            "mine/",
            "mine/1",
            "mine/3",
            "mine/02",
            "mine/2/",
            "/2",
            "mine/2 ",
            "MINE/2",
            "mine.1/2",
        ):
            with pytest.raises(
                Exception, match=r"question .*: (no thread that runs here has asked it|it was answered already)"
            ):
                await organism.answer(guess, Said("forged"))
        for forged in (
            OtherSaid("x"),
            Go("x"),
            HandlerFailed("crashed", "x"),
            "text",
            hollow(Said),
            bent(Said(), text=1),
        ):
            with pytest.raises(UnexpectedReplyError):
                await organism.answer(question.id, forged)
        for guess in ("", "min", "mine/2", "mine.2", "../mine"):
            assert organism.thread_of(guess) is None
        labels: Any = question.labels
        with pytest.raises(TypeError):
            labels["tenant"] = "forged"
        assert organism.inbox() == (question,)
        await organism.answer(question.id, Said("yes"))
        assert (await handle.result()).reply == Said("yes")
