"""Who may address whom in an organism, and within what budgets: what ``organism graph`` draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from attrs import frozen

from organism.cli.amounts import limits_text
from organism.names import ORGANISM
from organism.payloads.primitives import NO_TOOL, ORGANISM_ONLY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from organism.settings import HandlerSettings, Settings

Kind = Literal["code", "agent", "person", "tool", "organism"]


@frozen(kw_only=True)
class Node:
    """A handler, or what a handler uses. ``model`` is the alias of an agent, ``takes`` are the names of payloads.

    ``limits`` says what a sub-thread of it may spend, ``None`` where calls to it run in the caller's thread; ``per`` is whose.
    """

    name: str
    kind: Kind
    model: str = ""
    takes: tuple[str, ...] = ()
    replies: tuple[str, ...] = ()
    limits: str | None = None
    per: str = ""


@frozen
class Edge:
    """``origin`` may address ``to``; ``says`` are the payloads that may come that way, as far as the file tells."""

    origin: str
    to: str
    says: tuple[str, ...] = ()


@frozen(kw_only=True)
class Topology:
    """All of it. ``limits`` says what a root thread may spend."""

    organism: str
    limits: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    start: tuple[Edge, ...]
    """What ``start:`` sends; its origin is empty."""


def topology(settings: Settings) -> Topology:
    """What a file says of it, in the order of the file."""
    handlers = settings.handlers
    edges = [
        Edge(name, peer, _sent(handler, handlers[peer]) if peer in handlers else ())
        for name, handler in handlers.items()
        for peer in handler.peers
    ]
    edges += _brought(settings)
    nodes = [_node(handler) for handler in handlers.values()]
    tools = [(name, tool.handler.name) for name, each in handlers.items() if each.agent for tool in each.agent.tools]
    nodes += [Node(name=tool, kind="tool") for _, tool in tools]
    edges += [Edge(agent, tool) for agent, tool in tools]
    if any(ORGANISM in {edge.origin, edge.to} for edge in edges):
        nodes.append(Node(name=ORGANISM, kind="organism"))
    return Topology(
        organism=settings.name,
        limits=limits_text(settings.budget.limits),
        nodes=tuple(nodes),
        edges=tuple(edges),
        start=tuple(Edge("", each.to, (type(each.payload).__name__,)) for each in settings.start),
    )


def _node(handler: HandlerSettings) -> Node:
    agent, human = handler.agent, handler.human
    replies = agent.replies if agent is not None else human.replies if human is not None else ()
    return Node(
        name=handler.name,
        kind="agent" if agent is not None else "person" if human is not None else "code",
        model="" if agent is None else agent.model,
        takes=_taken(handler),
        replies=tuple(each.__name__ for each in replies),
        limits=None if handler.budget is None else limits_text(handler.budget.limits),
        per="" if handler.budget is None else handler.per,
    )


def _taken(handler: HandlerSettings) -> tuple[str, ...]:
    return tuple(each.__name__ for each in handler.accepts)


def _sent(handler: HandlerSettings, peer: HandlerSettings) -> tuple[str, ...]:
    never = ORGANISM_ONLY if handler.agent is None else NO_TOOL
    return tuple(each.__name__ for each in peer.accepts if each not in never)


def _brought(settings: Settings) -> Iterator[Edge]:
    """What the organism itself brings: requests for more budget to whoever decides on them, and dead letters."""
    budgets = [settings.budget, *(each.budget for each in settings.handlers.values() if each.budget is not None)]
    for decider in dict.fromkeys(budget.grants_by for budget in budgets if budget.grants_by):
        yield Edge(ORGANISM, decider, ("BudgetRequest",))
    if settings.dead_letters is not None:
        yield Edge(ORGANISM, settings.dead_letters, ("DeadLetter",))
