"""What hooks can be added to, with the types that a hook of each point has (:mod:`organism.hooks`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from organism.config.hooks import with_hook

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from organism.context.interface import Context
    from organism.hooks import (
        Abort,
        AbortEvent,
        CallEvent,
        Change,
        CompletionEvent,
        Go,
        MessageEvent,
        Pause,
        Point,
        ToolEvent,
        ToolResultEvent,
        TurnEvent,
        Verdict,
    )
    from organism.settings import Settings

    E = TypeVar("E")
    V = TypeVar("V")
    _Hook = Callable[[E, Context], V | Awaitable[V | None] | None]
    """A hook that is shown an ``E`` and may give a ``V``."""


class Hooked:
    """What has hooks, and takes further ones until it starts."""

    settings: Settings

    @overload
    def add_hook(self, point: Literal["on_message"], hook: _Hook[MessageEvent, Verdict]) -> None: ...
    @overload
    def add_hook(self, point: Literal["before_model_call"], hook: _Hook[CallEvent, Verdict]) -> None: ...
    @overload
    def add_hook(
        self, point: Literal["after_model_call"], hook: _Hook[CompletionEvent, Go | Change | Abort]
    ) -> None: ...
    @overload
    def add_hook(self, point: Literal["before_tool"], hook: _Hook[ToolEvent, Verdict]) -> None: ...
    @overload
    def add_hook(self, point: Literal["after_tool"], hook: _Hook[ToolResultEvent, Go | Change | Abort]) -> None: ...
    @overload
    def add_hook(self, point: Literal["on_turn_end"], hook: _Hook[TurnEvent, Go | Pause | Abort]) -> None: ...
    @overload
    def add_hook(self, point: Literal["on_abort"], hook: _Hook[AbortEvent, Go]) -> None: ...
    def add_hook(self, point: Point, hook: Any) -> None:
        """Calls ``hook(event, ctx)`` at this point of all work, after the hooks that were added before it (see :mod:`organism.hooks`).

        Raises ConfigurationError if ``point`` or ``hook`` is not valid, and NotRunningError once the organism has started: hooks do
        not change during running work.
        """
        self._check_new("add hooks before that")
        self.settings = with_hook(self.settings, point, hook)

    def _check_new(self, way_out: str) -> None:
        raise NotImplementedError
