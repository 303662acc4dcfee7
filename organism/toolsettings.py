"""What an agent was told of its tools: how often it may call them, and how much of what they return it reads."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from attrs import frozen

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@frozen(kw_only=True)
class ToolCalls:
    """How often an agent may call its tools, per tool and thread; ``None``: as often as its budget bears. ``of`` has what is said
    of single ones by the name that the model calls them.
    """

    default: int | None = None
    of: Mapping[str, int | None] = NOTHING

    def most(self, tool: str) -> int | None:
        """How often this one may be called."""
        return self.of.get(tool, self.default)


@frozen(kw_only=True)
class ToolOutput:
    """How many bytes of a call's result an agent's model reads at most; ``per_tool`` by the name that the model calls it."""

    max_bytes: int = 16384
    per_tool: Mapping[str, int] = NOTHING

    def most(self, tool: str) -> int:
        """How many of this one's."""
        return self.per_tool.get(tool, self.max_bytes)
