"""Who may address whom, with what: the routes of an organism, and the verdict on an address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast, final

from attrs import frozen

from organism.names import ORGANISM, class_name, is_tool, suggestion, there_are, told
from organism.payloads import encode_fields
from organism.payloads.primitives import (
    ALL,
    ASKED,
    BudgetDecision,
    BudgetExhausted,
    BudgetRequest,
    BudgetWarning,
    FailureCode,
    HandlerFailed,
)
from organism.settings import BudgetSettings, HandlerSettings, OnFailure

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from organism.settings import Settings

ONCE: Final = OnFailure()
"""The failure policy of a handler that configures none: one attempt."""


@final
class Route:
    """What the kernel knows of a handler; of one that is gone, its name alone. Nobody changes it."""

    __slots__ = (
        "accepts", "agent", "answers", "budget", "concurrency", "early", "mailbox", "name", "on_failure", "patience", "peers",
        "shared", "stays", "takes_exhaustion", "takes_failures", "takes_warnings", "told", "tries_again",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        *,
        accepts: frozenset[type] = frozenset(),
        peers: frozenset[str] = frozenset(),
        agent: bool = False,
        budget: BudgetSettings | None = None,
        shared: bool = False,
        concurrency: int | None = None,
        early: bool = False,
        takes_failures: bool = False,
        takes_warnings: bool = False,
        takes_exhaustion: bool = False,
        told: bool = True,
        answers: tuple[type, ...] = (),
        patience: float | None = None,
        on_failure: OnFailure = ONCE,
    ) -> None:
        self.name = name
        self.accepts = accepts
        self.peers = peers
        self.agent = agent
        self.budget = budget
        self.shared = shared
        """Calls from one thread share one sub-thread (``per: thread``)."""
        self.concurrency = concurrency
        self.early = early
        """It touches the world through its context only, and may run before its message is durable (``effects: context``)."""
        self.takes_failures = takes_failures
        self.takes_warnings = takes_warnings
        self.takes_exhaustion = takes_exhaustion
        self.told = told
        """It is told of its budget; ``notices.deliver`` may turn that off for an agent."""
        self.answers = answers
        """The payload classes that a person answers with; empty for code and agents."""
        self.patience = patience
        """The seconds within which a person must answer; ``None``: no limit."""
        self.on_failure = on_failure
        self.mailbox = "" if name == ORGANISM or is_tool(name) else name
        """The mailbox that its deliveries occupy in a thread. Empty for the organism itself and for tools: they work on any number at once."""
        self.stays = budget is None and not answers
        """Messages to it stay in the sender's thread (it has no budget of its own), and it is no person."""
        self.tries_again = on_failure.attempts > 1


def route(handler: HandlerSettings) -> Route:
    """The route of a handler. Agents are told of their budget in their prompts, whatever they accept."""
    accepts = frozenset(handler.accepts)
    agent = handler.agent is not None
    human = handler.human
    code = human is None
    return Route(
        handler.name,
        accepts=accepts,
        peers=frozenset((*handler.peers, handler.name, *_tools(handler))),
        agent=agent,
        budget=handler.budget,
        shared=handler.per == "thread",
        concurrency=handler.concurrency,
        early=handler.effects == "context",
        # A person gets questions only: they call nobody whose failures or warnings they could be told of.
        takes_failures=code and HandlerFailed in accepts,
        takes_warnings=code and BudgetWarning in accepts,
        takes_exhaustion=agent or (code and BudgetExhausted in accepts),
        told=handler.agent is None or handler.agent.notices.deliver,
        answers=() if human is None else human.replies,
        patience=None if human is None else handler.timeout,
        on_failure=handler.on_failure,
    )


def answers_to(payload: object, replies: tuple[type, ...]) -> tuple[type, ...]:
    """Which of these ``replies`` may answer a question: a BudgetRequest takes a BudgetDecision, and nothing else does."""
    asked = isinstance(payload, BudgetRequest)
    return tuple(each for each in replies if (each is BudgetDecision) == asked) or replies


def known_of(payload: object) -> dict[str, Any]:
    """The fields of an answer that would only copy the question, as JSON by name: unit and amount of a BudgetRequest."""
    if (
        not isinstance(payload, BudgetRequest) or not payload.unit.isascii()
    ):  # from outside a unit may be any text, and is shown
        return {}
    return {name: value for name, value in encode_fields(payload).items() if name in {"unit", "amount"}}


def answer_names(payload: object, replies: tuple[type, ...]) -> tuple[str, ...]:
    """As :func:`answers_to`, by class name."""
    return tuple(each.__name__ for each in answers_to(payload, replies))


class Routes(dict[str, Route]):
    """Routes by name. A name without a handler has a route that accepts nothing: a record may name a handler that is gone."""

    def __init__(self, routes: Mapping[str, Route], spoken: Iterable[type] = ()) -> None:
        super().__init__(routes)
        self._named: dict[str, type] = {cls.__name__: cls for cls in (*spoken, *ALL)}

    def stands_in_for(self, kind: type) -> type | None:
        """Another class of the same name that the organism knows: one that a handler takes, that an agent or a person replies, or a
        primitive; ``None`` where there is none. On the wire, models and people could not tell the two apart.
        """
        own = self._named.get(kind.__name__, kind)
        return None if own is kind else own

    def __missing__(self, name: str) -> Route:
        return Route(name)


def routes(settings: Settings) -> Routes:
    """The routes of all handlers and of the agents' tools, by name."""
    everyone = {name: route(handler) for name, handler in settings.everyone.items()}
    spoken = (cls for each in settings.handlers.values() for cls in (*each.accepts, *(each.replies or ())))
    return Routes({**everyone, ORGANISM: _own_route(settings.handlers)}, spoken)


def _tools(handler: HandlerSettings) -> Iterable[str]:
    """An agent's tools, which nobody else may address."""
    return () if handler.agent is None else (tool.handler.name for tool in handler.agent.tools)


def _own_route(handlers: Iterable[str]) -> Route:
    """The organism's own route: every handler may address it, and it asks whoever decides on requests for more budget."""
    answers = HandlerSettings(name=ORGANISM, accepts=ASKED, peers=tuple(handlers), effects="context")
    return route(answers)


@frozen
class Misdirected:
    """Why an address is refused: ``code`` as in ``HandlerFailed``, and a text for the sender."""

    code: FailureCode
    text: str


def check_address(routes: Mapping[str, Route], sender: Route | None, to: object, payload: Any) -> Route | Misdirected:
    """The route of ``to``, where ``sender`` (``None``: the outside) may send it this payload.

    A handler learns nothing of handlers that are not its peers, not even that they exist. ``to`` may be any value: the handler wrote it.
    """
    if type(to) is not str:
        # A subclass of str may compare differently each time: take its plain text.
        if not issubclass(type(to), str):
            return Misdirected("routing", f"an address is the name of a handler, not {told(to)}")
        to = str.__str__(cast("str", to))
    if sender is not None and to in sender.peers and (peer := routes.get(to)) and type(payload) in peer.accepts:
        return peer
    hidden = sender is None and (to == ORGANISM or is_tool(to))
    target = None if hidden else routes.get(to)
    if sender is not None and to not in sender.peers and to != ORGANISM:
        return Misdirected("routing", f"'{to}' is not a peer of '{sender.name}'{suggestion(to, sender.peers)}")
    if target is None:
        known = (
            [each for each in routes if each != ORGANISM and not is_tool(each)] if sender is None else [*sender.peers]
        )
        return Misdirected("routing", f"'{to}' is not a handler{suggestion(to, known) or there_are(known)}")
    kind = cast("type[object]", type(payload))
    if kind not in target.accepts:
        wanted = ", ".join(sorted(each.__name__ for each in target.accepts))
        given = class_name(payload)
        other = "another class of that name" if any(each.__name__ == given for each in target.accepts) else given
        return Misdirected("validation", f"'{to}' takes {wanted}, not {other}")
    return target
