"""What an agent may make of its tools, what it is told of its budget, and when its history is cut short: frozen values, as in ``settings``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal

from attrs import frozen

Figures = Literal["true", "none", "placebo"]
"""What an agent reads of a budget: the true figures, words without any, or figures that say nothing."""
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


@frozen(kw_only=True)
class Notices:
    """What an agent is told of its budget. ``deliver``: anything at all; ``figures``: which figures it reads.

    The rest are wordings (Jinja2 text, already read); ``None``: the standard one.
    """

    deliver: bool = True
    figures: Figures = "true"
    warning: str | None = None
    exhausted: str | None = None
    grace: str | None = None

    @property
    def tells_all(self) -> bool:
        """Whether nothing is kept from the agent."""
        return self.deliver and self.figures == "true"


@frozen(kw_only=True)
class Compaction:
    """When an agent's history is cut short, and how. ``at`` and ``hard_limit`` are shares of its model's window: above the first it is
    where that is worth it, above the second it must be. The last ``keep_turns`` turns stay as they are. ``model`` is the alias that
    sums up the others, ``None``: extracts of them do; ``prompt`` is what it is told (Jinja2 text), ``None``: the standard wording.
    """

    at: float = 0.6
    hard_limit: float = 0.9
    keep_turns: int = 2
    model: str | None = None
    prompt: str | None = None


@frozen(kw_only=True)
class Prune:
    """Results older than the last ``protect_turns`` turns are left out of prompts, where that saves ``min_tokens`` at least."""

    protect_turns: int = 3
    min_tokens: int = 4096
