"""``tools``, ``tool_calls`` and ``tool_output`` of an agent: the functions that its model may call, how often, and how much it reads."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve, frozen

from organism.agentsettings import ToolCalls, ToolOutput
from organism.config.places import shown, where
from organism.config.references import Reference
from organism.config.scalars import Wrong, is_null
from organism.config.sections import ListOf, MapOf, Record, Section
from organism.config.shapes import BROKEN, Drawing, Found, Located, Reading, Schema, Whole, one_of, or_null
from organism.config.tree import Node, Scalar
from organism.config.yamltext import table_in
from organism.functions import Function, as_handler, declared
from organism.mcpsettings import McpTools
from organism.names import ORGANISM, REPLY, mcp_tool, suggestion, tool_for
from organism.payloads.primitives import ASKED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from organism.config.drafts import Draft
    from organism.settings import AgentSettings

_DEFAULT: Final = "default"
_OF_SERVER: Final = "mcp:"


@frozen
class _ToolShape(Reference):
    """``module:name``, or the function itself in Python; ``mcp:server`` or ``mcp:server/tool``."""

    wanted: str = "a reference to a function, as in 'module:name', or to tools of an MCP server, as in 'mcp:server'"

    def _schema(self) -> Schema:
        return {"anyOf": [{"type": "string", "pattern": "^mcp:."}, super()._schema()]}

    def _said(self, text: str, scalar: Scalar, reading: Reading, /) -> Any:
        if not text.startswith(_OF_SERVER):
            return super()._said(text, scalar, reading)
        server, parted, tool = text.removeprefix(_OF_SERVER).partition("/")
        if not server or (parted and not tool):
            return Wrong(f"{shown(text)} names no tools: write 'mcp:SERVER' for all of a server, or 'mcp:SERVER/TOOL'")
        return McpTools(server=server, tool=tool or None)

    def made(self, found: Any) -> Any:
        return declared(found)


@frozen
class _CallsShape(MapOf):
    """Names of tools, and ``default`` for all others; ``null`` for no limit of any."""

    def read(self, node: Node, reading: Reading) -> Any:
        if isinstance(node, Scalar) and is_null(node):
            return ToolCalls()
        values = super().read(node, reading)
        if values is BROKEN:
            return BROKEN
        return ToolCalls(default=values.pop(_DEFAULT, None), of=MappingProxyType(values))

    def schema(self, drawing: Drawing) -> Schema:
        return or_null(super().schema(drawing))


def _any_name(_: str) -> None:
    """Names of tools are looked at once the agent is known whole."""


TOOLS: Final = ListOf(Located(_ToolShape()), unique=True)
TOOL_CALLS: Final = _CallsShape(Whole(nullable=True), _any_name)
TOOL_OUTPUT: Final[Any] = Record(
    {"max_bytes": Whole(least=1), "per_tool": MapOf(Whole(least=1), _any_name)},
    named=("tool_output",),
    make=lambda section: ToolOutput(**section.values),
)


def with_tools(
    agent: AgentSettings,
    section: Section,
    name: str,
    *,
    peers: Sequence[str],
    options: Mapping[str, Any],
    timeout: float | None,
) -> AgentSettings:
    """The agent of this name with its functions as handlers, and what it wants of MCP servers; ``section`` is its own, and the rest is as in
    :func:`as_handler`.
    """
    functions = (one.value for one in _tools(section, Function))
    tools = (as_handler(each, name, peers=peers, options=options, timeout=timeout) for each in functions)
    mcp = (
        evolve(one.value, timeout=timeout, place=where(one.node.place, one.node.path))
        for one in _tools(section, McpTools)
    )
    return evolve(agent, tools=tuple(tools), mcp=tuple(mcp))


def _tools(section: Section, kind: type) -> list[Found]:
    """What of an agent's tools is of this kind."""
    found: tuple[Found, ...] = section.values.get("tools", ())
    return [one for one in found if isinstance(one.value, kind)]


def check_tools(handlers: Mapping[str, Draft], servers: Collection[str] | None) -> None:
    """Notes tools that a model could not tell from its other ones, and limits of tools that an agent does not have. ``servers``: the names
    of all MCP servers, ``None`` where they could not be read.
    """
    for handler in handlers.values():
        if handler.agent is not None:
            if servers is not None:
                _check_servers(handler.agent, servers)
            _check_names(handler.agent, handler, handlers)
            known = handler.agent.whole("tools") and handler.section.whole("peers")
            if known and all(peer in handlers for peer in handler.peers if peer != ORGANISM):
                _check_limits(handler.agent, handler)


def _check_servers(section: Section, servers: Collection[str]) -> None:
    for one in _tools(section, McpTools):
        name: str = one.value.server
        if name not in servers:
            hint = suggestion(name, servers) or "; declare it in 'mcp'"
            section.reading.wrong(one.node, f"{shown(name)} is not an MCP server{hint}")


def _check_names(section: Section, handler: Draft, handlers: Mapping[str, Draft]) -> None:
    taken = dict(_taken(section, handler, handlers))
    functions: set[str] = set()
    for one in _tools(section, Function):
        name: str = one.value.name
        if name in taken:
            section.reading.wrong(one.node, f"{shown(name)} is the name of {taken[name]}: rename the function")
        elif name in functions:
            problem = f"there is another function {shown(name)} among the tools: rename one of them"
            section.reading.wrong(one.node, problem)
        functions.add(name)


def _taken(section: Section, handler: Draft, handlers: Mapping[str, Draft]) -> Iterator[tuple[str, str]]:
    """The names that other tools of an agent have, each with what it is."""
    reply = "the tool with which agents answer"
    yield REPLY, reply
    yield from ((tool_for(REPLY, each.__name__), reply) for each in section.values.get("replies", ()))
    for peer in handler.peers:
        yield peer, f"a peer of {shown(handler.name)}"
        takes = handlers[peer].accepts if peer in handlers else ()
        yield from ((tool_for(peer, each.__name__), f"a tool for the peer {shown(peer)}") for each in takes or ())
    yield from ((tool_for(ORGANISM, each.__name__), "a tool of the organism itself") for each in ASKED)


def _check_limits(section: Section, handler: Draft) -> None:
    """Notes a name in ``tool_calls`` and ``tool_output`` that is none of the agent's tools."""
    of_servers: list[McpTools] = [one.value for one in _tools(section, McpTools)]
    functions = [one.value.name for one in _tools(section, Function)]
    functions += [mcp_tool(each.server, each.tool) for each in of_servers if each.tool is not None]
    known = [*functions, *(peer for peer in handler.peers if peer != ORGANISM)]
    # What a whole server has is known once it was asked: whoever starts the organism looks again.
    later = tuple(mcp_tool(each.server, "") for each in of_servers if each.tool is None)
    _check_tools_named(section, "tool_calls", (*known, _DEFAULT), handler.name, known, later)
    output = table_in(section.table.get("tool_output"), section.reading.mistakes)
    if output is not None:
        _check_tools_named(evolve(section, table=output), "per_tool", known, handler.name, known, later)


def _check_tools_named(
    section: Section, key: str, allowed: Sequence[str], agent: str, known: Sequence[str], later: tuple[str, ...]
) -> None:
    table = table_in(section.table.get(key), section.reading.mistakes)
    if table is None:
        return
    for name, entry in table.entries.items():
        if name in allowed or name.startswith(later):
            continue
        problem = f"{shown(name)} is not a tool of {shown(agent)}{suggestion(name, known, section.reading.mistakes.guesses) or _there(known, later)}"
        if name.partition("_")[0] == REPLY:
            problem = f"{shown(name)} is how it answers, and never counts: leave it out"
        section.reading.mistakes.note(entry.key, (*table.path, name), problem)


def _there(known: Sequence[str], later: Sequence[str]) -> str:
    of_servers = [f"one that begins with {one_of(list(later))}"] if later else []
    named = [one_of(list(known[:8]))] if known else []
    return f"; use {', or '.join([*named, *of_servers])}" if known or later else "; it has none, and no peers"
