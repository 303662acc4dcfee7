"""``organism graph``: who may address whom in an organism, and within what budgets, as a Mermaid flowchart."""

from __future__ import annotations

import json as jsons
import re
from typing import TYPE_CHECKING, Annotated, Final, Literal

from attrs import asdict, frozen
from cyclopts import Parameter

from organism.cli.arguments import DEFAULT_FILE, AsFile, Given
from organism.cli.options import NOTHING_OVER, OfFile
from organism.cli.tables import limits_text
from organism.cli.text import one_line
from organism.names import ORGANISM, tool_handler
from organism.payloads.primitives import NO_TOOL, ORGANISM_ONLY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
    edges: list[Edge] = []
    for name, handler in handlers.items():
        never = ORGANISM_ONLY if handler.agent is None else NO_TOOL
        for peer in handler.peers:
            taken = handlers[peer].accepts if peer in handlers else ()
            edges.append(Edge(name, peer, tuple(each.__name__ for each in taken if each not in never)))
    edges += _brought(settings)
    nodes = [_node(handler) for handler in handlers.values()]
    agents = [(name, each.agent) for name, each in handlers.items() if each.agent is not None]
    tools = [(name, tool.handler.name) for name, agent in agents for tool in agent.tools]
    tools += [(name, tool_handler(name, str(each))) for name, agent in agents for each in agent.mcp]
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
        takes=tuple(each.__name__ for each in handler.accepts),
        replies=tuple(each.__name__ for each in replies),
        limits=None if handler.budget is None else limits_text(handler.budget.limits),
        per="" if handler.budget is None else handler.per,
    )


def _brought(settings: Settings) -> Iterator[Edge]:
    """What the organism itself brings: requests for more budget to whoever decides on them, and dead letters."""
    budgets = [settings.budget, *(each.budget for each in settings.handlers.values() if each.budget is not None)]
    for decider in dict.fromkeys(budget.grants_by for budget in budgets if budget.grants_by):
        yield Edge(ORGANISM, decider, ("BudgetRequest",))
    if settings.dead_letters is not None:
        yield Edge(ORGANISM, settings.dead_letters, ("DeadLetter",))


_SHAPES: Final[Mapping[Kind, tuple[str, str]]] = {
    "code": ("[", "]"),
    "agent": ("([", "])"),
    "person": ("[/", "\\]"),
    "tool": ("[[", "]]"),
    "organism": ("{{", "}}"),
}
"""What stands around the label of a node: a box, a stadium, a trapezium, a box with two sides, a hexagon."""
_UNSAFE: Final = re.compile(r"[^\w .,:/-]")
_START: Final = "start"


def graph(
    file: AsFile = DEFAULT_FILE,
    *,
    json: Annotated[bool, Parameter(help="The same as a JSON object, for programs.")] = False,
    over: OfFile = NOTHING_OVER,
    streams: Given,
) -> int:
    """Prints who may address whom as a Mermaid flowchart, which many pages and editors draw, and starts nothing.

    Code is a box, an agent a stadium, a person a trapezium, a tool a box with double sides; arrows lead to peers and name what
    these take. A handler with a budget of its own is drawn in a frame: calls to it run in a sub-thread.

    Example: organism graph > organism.mmd
    """
    found = topology(over.settings(file, streams))
    streams.result(jsons.dumps(asdict(found)) if json else "\n".join(mermaid(found)))
    return 0


def mermaid(found: Topology) -> Iterator[str]:
    """The lines of the flowchart. Its nodes are called by numbers: names of handlers may be words of Mermaid."""
    ids = {node.name: f"h{number}" for number, node in enumerate(found.nodes, start=1)}
    yield "---"
    yield f"title: {found.organism}"
    yield "---"
    yield "flowchart LR"
    if found.start:
        yield f'    {_START}(("{_START}"))'
    handlers = [node for node in found.nodes if node.kind != "organism"]
    if handlers:
        yield f'    subgraph thread["{_label("a thread", f"limits: {found.limits}")}"]'
        for node in handlers:
            yield from _placed(node, ids[node.name])
        yield "    end"
    yield from (f"    {_drawn(node, ids[node.name])}" for node in found.nodes if node not in handlers)
    for edge in found.start:
        yield f"    {_START} -->{_says(edge)} {ids[edge.to]}"
    for edge in found.edges:
        arrow = "-.->" if edge.origin == ORGANISM else "-->"
        yield f"    {ids[edge.origin]} {arrow}{_says(edge)} {ids[edge.to]}"


def _placed(node: Node, id_: str) -> Iterator[str]:
    """A node, in a frame of its own where calls to it run in a sub-thread."""
    if node.limits is None:
        yield f"        {_drawn(node, id_)}"
        return
    whose = "for each call" if node.per == "call" else "for all calls from a thread"
    yield f'        subgraph s{id_}["{_label(f"a sub-thread {whose}", f"limits: {node.limits}")}"]'
    yield f"            {_drawn(node, id_)}"
    yield "        end"


def _drawn(node: Node, id_: str) -> str:
    opens, closes = _SHAPES[node.kind]
    about = "" if node.kind == "organism" else f"agent, model {node.model}" if node.kind == "agent" else node.kind
    return f'{id_}{opens}"{_label(node.name, about)}"{closes}'


def _says(edge: Edge) -> str:
    return f'|"{_label(" or ".join(edge.says))}"|' if edge.says else ""


def _label(*lines: str) -> str:
    """Text of several lines between quotes: what Mermaid or a page would act on is written as its number."""
    return "<br/>".join(_UNSAFE.sub(lambda sign: f"#{ord(sign.group())};", one_line(line)) for line in lines if line)
