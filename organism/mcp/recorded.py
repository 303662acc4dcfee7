"""The tools of servers as a record has them: what models were offered stands in their prompts. So a replay needs no server."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

from attrs import evolve

from organism.journal.codec import decode_entry
from organism.journal.prompts import requests
from organism.mcp.tools import Definition, as_tool
from organism.names import mcp_tool
from organism.replay.script import parts_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from organism.mcpsettings import McpTools
    from organism.payloads import Vocabulary
    from organism.settings import AgentSettings, HandlerSettings, Settings


class _Record:
    """Makes no calls: what they came to is in the record."""

    async def call(self, tool: Definition, arguments: dict[str, Any]) -> NoReturn:
        """Is never called."""
        del arguments
        raise AssertionError(f"a replay called '{tool.called}'")


def with_recorded(settings: Settings, documents: Iterable[Mapping[str, Any]], vocabulary: Vocabulary) -> Settings:
    """See :func:`organism.mcp.loading.as_recorded`. Where a tool was told in two ways, the first counts."""
    entries = list(documents)
    parts = parts_of([decode_entry(each, vocabulary) for each in entries], requests(entries))
    offered: dict[str, dict[str, Any]] = {}
    for part in parts.values():
        for prompt in (each for question in part.questions.values() for each in question.prompts):
            for spec in prompt.asked.get("tools", ()):
                offered.setdefault(part.handler, {}).setdefault(spec["name"], spec)
    handlers = {
        name: _with_tools(handler, handler.agent, offered.get(name, {})) if handler.agent is not None else handler
        for name, handler in settings.handlers.items()
    }
    return evolve(settings, handlers=MappingProxyType(handlers))


def _with_tools(handler: HandlerSettings, agent: AgentSettings, offered: Mapping[str, Any]) -> HandlerSettings:
    found = {
        name: as_tool(_definition(wanted, spec), handler.name, wanted, _Record())
        for wanted in agent.mcp
        for name, spec in offered.items()
        if _is_of(wanted, name)
    }
    return evolve(handler, agent=evolve(agent, tools=(*agent.tools, *found.values())))


def _is_of(wanted: McpTools, name: str) -> bool:
    whole = mcp_tool(wanted.server, wanted.tool or "")
    return name.startswith(whole) if wanted.tool is None else name == whole


def _definition(wanted: McpTools, spec: Mapping[str, Any]) -> Definition:
    name: str = spec["name"]
    return Definition(
        server=wanted.server,
        name=name,
        called=name,
        description=spec.get("description", ""),
        parameters=spec.get("parameters", {}),
    )
