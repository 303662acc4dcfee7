"""Tools of MCP servers as tools of agents: the handlers that they become, and what keeps them from becoming any."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol

from attrs import evolve, frozen

from organism.agent.tools import Toolbox
from organism.errors import ConfigurationError, HandlerFailedError, PayloadError, Refused
from organism.functions import FunctionCall, FunctionResult
from organism.mcp.schemas import plain, reader
from organism.message import Reply
from organism.names import called_as, counted, suggestion, tool_handler
from organism.payloads import parse_json
from organism.settings import HandlerSettings, ToolSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    from organism.mcpsettings import McpTools
    from organism.settings import Settings

_UNKNOWN: Final = (
    "an earlier process ended while this call of '{}' was under way, or before it was: whether it was carried out is not known, and it"
    " was not made again; look before you call it again"
)


@frozen(kw_only=True)
class Definition:
    """What a server says of one of its tools, and what models call it. ``parameters`` is a JSON Schema; ``repeatable``: a call may be made
    again, since it only reads, or comes to the same.
    """

    server: str
    name: str
    called: str
    description: str
    parameters: Mapping[str, Any]
    repeatable: bool = False


class Calls(Protocol):
    """Who makes calls of tools."""

    async def call(self, tool: Definition, arguments: dict[str, Any]) -> str:
        """The text that a call comes to. Raises Refused, with what the model is told."""
        ...


def with_tools(
    settings: Settings, found: Mapping[str, Sequence[Definition]], calls: Calls, problems: Sequence[str] = ()
) -> Settings:
    """The settings, the agents with the tools that they want of servers. ``found`` are all that each server has, ``problems`` why others
    cannot be used.

    Raises ConfigurationError with these, and a placed line for each tool that there is not, or that could not be told from another one.
    """
    problems = [*problems]
    handlers = dict(settings.handlers)
    for name, handler in settings.handlers.items():
        agent = handler.agent
        if agent is None or not agent.mcp:
            continue
        asked = [_timed(each, settings.mcp[each.server].timeout) for each in agent.mcp]
        tools = {tool.handler.name: tool for tool in _tools(name, asked, found, calls, problems)}
        handlers[name] = evolve(handler, agent=evolve(agent, tools=(*agent.tools, *tools.values())))
        if all(each.server in found for each in asked):  # else nobody knows which tools there are
            problems += _clashes(handlers[name], settings.handlers)
    if problems:
        raise ConfigurationError(problems)
    return evolve(settings, handlers=MappingProxyType(handlers))


def _tools(
    name: str,
    asked: Sequence[McpTools],
    found: Mapping[str, Sequence[Definition]],
    calls: Calls,
    problems: list[str],
) -> Iterator[ToolSettings]:
    for wanted in asked:
        if wanted.server not in found:
            continue
        every = found[wanted.server]
        some = [each for each in every if wanted.tool in {None, each.name}]
        if not some and wanted.tool is not None:
            names = [each.name for each in every]
            there = suggestion(wanted.tool, names) or (
                f"; it has {', '.join(names[:20])}" if names else "; it has none"
            )
            problems.append(f"{wanted.place}: MCP server '{wanted.server}' has no tool '{wanted.tool}'{there}")
        yield from (as_tool(each, name, wanted, calls) for each in some)


def _timed(wanted: McpTools, timeout: float | None) -> McpTools:
    """What is wanted, with the time that its server says its calls may take, where it does."""
    return wanted if timeout is None else evolve(wanted, timeout=timeout)


def _clashes(handler: HandlerSettings, handlers: Mapping[str, HandlerSettings]) -> Iterator[str]:
    """A line for each tool whose name another one of its agent has, and for each limit of a tool that it does not have."""
    agent = handler.agent
    assert agent is not None  # noqa: S101 - only agents have tools
    names = [spec.name for spec in Toolbox(handler, agent, handlers).all]
    place = agent.mcp[0].place
    for tool in agent.tools:
        called = called_as(tool.handler.name)
        if not tool.handler.replayed and names.count(called) > 1:
            yield f"{place}: '{called}' is the name of two tools of '{handler.name}': leave one out, or rename the server"
    known = {*names, *handler.peers}
    for key, limited in (("tool_calls", agent.tool_calls.of), ("tool_output.per_tool", agent.tool_output.per_tool)):
        for each in limited:
            if each not in known:
                hint = suggestion(each, sorted(known))
                yield f"{place}: '{each}' in '{key}' is not a tool of '{handler.name}'{hint}"


def as_tool(tool: Definition, agent: str, wanted: McpTools, calls: Calls) -> ToolSettings:
    """The tool of an agent of this name that a server's tool becomes."""
    read = reader(tool.parameters)
    handler = HandlerSettings(
        name=tool_handler(agent, tool.called),
        accepts=(FunctionCall,),
        description=tool.description,
        code=_code(tool, read, calls),
        timeout=wanted.timeout,
        replayed=False,
    )
    return ToolSettings(handler=handler, parameters=tool.parameters, read=read)


def _code(
    tool: Definition, read: Callable[[Any], FunctionCall], calls: Calls
) -> Callable[[FunctionCall, Any], Coroutine[Any, Any, Reply[FunctionResult]]]:
    """What the pump calls for it."""

    async def call(message: FunctionCall, ctx: Any) -> Reply[FunctionResult]:
        try:
            arguments = parse_json(message.arguments)
            read(arguments)
        except PayloadError as error:
            # It was sent to what the tool was in an earlier process, or a hook has changed it.
            raise HandlerFailedError("validation", f"'{tool.called}' does not take this: {error}") from error
        if ctx.may_have_begun and not tool.repeatable:
            raise Refused(_UNKNOWN.format(tool.called))
        return Reply(FunctionResult(await calls.call(tool, plain(arguments))))

    return call


def listed(found: Mapping[str, Sequence[Definition]]) -> Iterator[str]:
    """A line for each server, with what models call its tools."""
    for server, tools in found.items():
        names = ", ".join(each.called for each in tools) or "none"
        yield f"mcp {server}: {counted(len(tools), 'tool')}: {names}"
