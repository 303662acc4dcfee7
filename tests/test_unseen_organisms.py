"""Organisms that the simulated model has never seen, through the real pump: it hands in valid payloads, whatever they are.

Three of them are from different walks of life; the others are made by Hypothesis, classes, topology and all.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal

import anyio
import jsonschema  # type: ignore[import-untyped]
from attrs import define, field, frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from organism import Context, Refused, Reply, payload
from organism.models.contract import Backend, Request, Response
from organism.models.simulation.backend import SimulatedModel
from organism.payloads import Vocabulary, decode_fields, encode_fields, encode_xml, json_schema
from organism.testing import running
from tests.payloads.payload_classes import Maker

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import DrawFn

    from organism import ThreadResult
    from organism.settings import BackendSettings


@define(eq=False)
class Spied:
    """The simulated model as a provider, and every request that it got."""

    requests: list[Request] = field(factory=list[Request])

    def models(self) -> dict[str, Any]:
        return {
            "default": {"backends": [{"provider": self.make, "model": "sim-1", "price": {"input": 0, "output": 0}}]}
        }

    def make(self, _: BackendSettings) -> Backend:
        return _SpiedModel(self)

    def corrections(self) -> list[str]:
        """What agents were told about payloads that were not valid."""
        texts = [str(message.get("content") or "") for request in self.requests for message in request.messages]
        return sorted({text for text in texts if text.startswith('{"InvalidPayload"')})


class _SpiedModel(SimulatedModel):
    def __init__(self, spied: Spied) -> None:
        super().__init__()
        self._spied = spied

    async def complete(self, request: Request) -> Response:
        self._spied.requests.append(request)
        return await super().complete(request)


def agent(accepts: Any, replies: Any, *peers: str, description: str = "One of several.", **keys: Any) -> dict[str, Any]:
    return {"agent": {"accepts": accepts, "replies": replies, **keys}, "description": description, "peers": list(peers)}


def assert_valid(value: Any) -> None:
    """A payload that survives both codecs and an independent judge of its JSON Schema."""
    jsonschema.Draft202012Validator(json_schema(type(value))).validate(encode_fields(value))
    assert decode_fields(type(value), encode_fields(value)) == value
    assert Vocabulary([type(value)]).decode_xml(encode_xml(value)) == value


async def ended(to: str, message: Any, handlers: dict[str, Any], **document: Any) -> tuple[ThreadResult, Spied]:
    """How a thread ends, its laws looked after, and what the model was asked."""
    spied = Spied()
    async with running(handlers=handlers, models=spied.models(), **document) as organism:
        result = await (await organism.send(to, message)).result()
    return result, spied


# A desk for support mails: enums, literals, decimals, dates


class Urgency(Enum):
    LOW = "low"
    HIGH = "high"


@payload
class Mail:
    """What a customer wrote."""

    sender: str
    subject: str
    body: str
    received: datetime
    order_id: str | None


@payload
class LookUp:
    """Asks for an order."""

    order_id: str


@payload
class Order:
    """An order as it stands in the books."""

    order_id: str
    amount: Decimal
    shipped: datetime | None


@payload
class Letter:
    """Asks for a letter to a customer."""

    body: str
    recipient: str


@payload
class Drafted:
    """A letter."""

    text: str


@payload
class Triage:
    """What is to be done about a mail."""

    topic: Literal["billing", "delivery", "praise"]
    urgency: Urgency
    amount: Decimal
    reply: str
    escalate: bool = False


async def books(wanted: LookUp, ctx: Context) -> Reply[Order]:
    """Looks an order up in the books."""
    if not wanted.order_id:
        raise Refused("an order has a number")
    return Reply(Order(wanted.order_id, Decimal("49.90"), None))


async def test_a_desk_for_support_mails() -> None:
    mail = Mail(
        sender="ada@example.org",
        subject="Billing of order 2024-117",
        body="You charged me twice for order 2024-117. The urgency is high, my rent is due.",
        received=datetime(2026, 3, 1, 9, 30, tzinfo=UTC),
        order_id="2024-117",
    )
    handlers = {
        "triage": agent(Mail, Triage, "books", "writer", description="Decides what is to be done about a mail."),
        "books": {"code": books},
        "writer": agent(Letter, Drafted, description="Writes letters."),
    }
    result, spied = await ended("triage", mail, handlers)
    assert result.outcome == "completed", result.error
    assert_valid(result.reply)
    assert isinstance(result.reply, Triage)
    assert result.reply.topic == "billing"
    assert result.reply.urgency is Urgency.HIGH
    assert result.reply.amount == Decimal("49.90"), "it stands in the books alone"
    assert spied.corrections() == []


# A planner: nested payloads, unions, tables


@payload
class Buy:
    """Something to get first."""

    item: str
    cost: Decimal
    where: str | None = None


@payload
class Walk:
    """A way to go on foot."""

    place: str
    minutes: int


@payload
class Rest:
    pass


@payload
class Day:
    """A day of the plan."""

    title: str
    steps: list[Buy | Walk | Rest]
    notes: dict[str, str]


@payload
class Goal:
    """What is to be planned."""

    text: str
    not_before: datetime
    constraints: list[str]


@payload
class Weather:
    """Asks what the weather will be."""

    place: str


@payload
class Forecast:
    """What the weather will be."""

    summary: str
    degrees: float
    by_hour: dict[str, float]


@payload
class Plan:
    """What to do, day by day."""

    days: list[Day]
    first: Buy | Walk | Rest
    otherwise: Day | None
    risk: float


@payload
class Impossible:
    """Why there is no plan: what is missing."""

    missing: str


async def weather(wanted: Weather, ctx: Context) -> Reply[Forecast]:
    """Says what the weather will be at a place."""
    text = f"The hills near {wanted.place} will be dry in the morning."
    return Reply(Forecast(text, 17.5, {"09:00": 12.0, "15:00": 17.5}))


async def test_a_planner_of_journeys() -> None:
    goal = Goal(
        text="How do I walk from the village to the lake in two days?",
        not_before=datetime(2026, 5, 1, tzinfo=UTC),
        constraints=["The path along the river is closed.", "The hut sells bread until noon."],
    )
    handlers = {
        "planner": agent(Goal, [Plan, Impossible], "weather", "guide", description="Plans journeys on foot."),
        "weather": {"code": weather},
        "guide": agent(Goal, Day, description="Knows the paths of one day."),
    }
    result, spied = await ended("planner", goal, handlers)
    assert result.outcome == "completed", result.error
    assert_valid(result.reply)
    assert isinstance(result.reply, Plan)
    assert spied.corrections() == []


# A debate: agents that ask each other


@payload
class Motion:
    """A claim to be argued about."""

    claim: str
    for_or_against: Literal["for", "against"] = "for"


@payload
class Argument:
    """What speaks for a side."""

    side: Literal["for", "against"]
    points: list[str]
    strength: float


@payload
class Rebuttal:
    """Asks what is wrong with some points."""

    points: list[str]


@payload
class Verdict:
    """Who won, and why."""

    winner: Literal["for", "against"]
    reasons: tuple[str, ...]
    scores: dict[str, float]
    dissent: Argument | None


async def test_a_debate_of_two() -> None:
    motion = Motion(
        "Bread baked at home is better. It is fresh, and the kitchen smells of it. It takes a whole morning."
    )
    handlers = {
        "chair": agent(Motion, Verdict, "ayes", "noes", description="Hears both sides and decides."),
        "ayes": agent(Motion, Argument, "noes", description="Speaks for a claim."),
        "noes": agent([Motion, Rebuttal], Argument, description="Speaks against a claim."),
    }
    result, spied = await ended("chair", motion, handlers)
    assert result.outcome == "completed", result.error
    assert_valid(result.reply)
    assert isinstance(result.reply, Verdict)
    assert spied.corrections() == []
    assert {"ayes", "noes"} <= {name for request in spied.requests for name in called(request)}


def called(request: Request) -> list[str]:
    """The handlers whose tools were called before a request."""
    calls = [call for message in request.messages for call in (message.get("tool_calls") or ())]
    return [str(call["function"]["name"]).partition("_")[0] for call in calls]


# Organisms that nobody has thought of


@frozen
class Made:
    """An organism: its handlers, the message for the first of them, and what that may reply with."""

    handlers: dict[str, Any]
    message: Any
    replies: tuple[type, ...]
    budget: dict[str, int]
    backend: str


def _coded(accepts: type, acts: str, value: Any, peer: str | None, question: Any) -> Callable[..., Any]:
    """A code handler: it replies, asks a peer before that, refuses, fails, or stays silent."""

    async def handle(message: Any, ctx: Context) -> Reply[Any] | None:
        if acts == "refuse":
            raise Refused("not today")
        if acts == "crash":
            raise ValueError("broken")
        if acts == "ask" and peer is not None:
            await ctx.ask(peer, question)
        return None if acts == "silent" else Reply(value)

    handle.__annotations__ = {"message": accepts}
    return handle


@st.composite
def organisms(draw: DrawFn) -> Made:
    """Two to four handlers, the first of them an agent; each may have peers among those after it."""
    maker = Maker(draw)
    count = draw(st.integers(2, 4))
    names = [f"h{number}" for number in range(count)]
    kinds = [
        "agent",
        *(draw(st.sampled_from(["agent", "reply", "ask", "refuse", "crash", "silent"])) for _ in names[1:]),
    ]
    takes = [[maker.payload(2) for _ in range(draw(st.integers(1, 2)) if kind == "agent" else 1)] for kind in kinds]
    gives = [[maker.payload(2) for _ in range(draw(st.integers(1, 2)) if kind == "agent" else 1)] for kind in kinds]
    handlers: dict[str, Any] = {}
    for at, (name, kind) in enumerate(zip(names, kinds, strict=True)):
        peers = [other for other in names[at + 1 :] if draw(st.booleans())] if at else names[1:]
        if kind == "agent":
            accepts, replies = ([cls for cls, _ in made[at]] for made in (takes, gives))
            handlers[name] = agent(accepts, replies, *peers)
        else:
            peer = peers[0] if peers else None
            question = None if peer is None else draw(takes[names.index(peer)][0][1])
            code = _coded(takes[at][0][0], kind, draw(gives[at][0][1]), peer, question)
            handlers[name] = {"code": code, "description": "Does something.", "peers": peers}
    tokens = draw(st.none() | st.integers(200, 20_000))
    return Made(
        handlers=handlers,
        message=draw(takes[0][0][1]),
        replies=tuple(cls for cls, _ in gives[0]),
        budget={"messages": 5000} if tokens is None else {"messages": 5000, "tokens": tokens},
        backend=draw(st.sampled_from(["trio", "asyncio"])),
    )


FEW: Final = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
"""Each example declares classes, compiles their schemas and runs an organism."""


@FEW
@given(organisms())
def test_any_organism_comes_to_an_end(made: Made) -> None:
    result, spied = anyio.run(_ended, made, backend=made.backend)
    if "tokens" not in made.budget:
        assert result.outcome == "completed", result.error
    assert result.outcome in {"completed", "exhausted"}, result.error
    assert result.reply is not None or result.outcome == "exhausted"
    for _, reply in result.replies:
        assert isinstance(reply, made.replies)
        assert_valid(reply)
    assert spied.corrections() == []


async def _ended(made: Made) -> tuple[ThreadResult, Spied]:
    return await ended("h0", made.message, made.handlers, budget=made.budget)
