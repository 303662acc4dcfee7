"""How often an agent may still call each of its tools in its thread (``tool_calls``): counted in its state, beside what it remembers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import evolve

from organism.names import ORGANISM, called_as

if TYPE_CHECKING:
    from organism.agent.context import AgentContext
    from organism.agent.speech import Offer
    from organism.agent.tools import Toolbox
    from organism.agentsettings import ToolCalls

_KEY: Final = "tool calls"


class Allowance:
    """What is left to one delivery. The state of a conversation outlasts its turns, and each of these is a thread that counts anew."""

    def __init__(self, limits: ToolCalls, ctx: AgentContext, toolbox: Toolbox) -> None:
        self._limits = limits
        self._ctx = ctx
        self._unlimited = limits.default is None and not limits.of
        self._toolbox = toolbox
        self._turn, self._made = ("", dict[str, int]()) if self._unlimited else _made_in(ctx)

    def left(self, offer: Offer, without: Offer) -> Offer:
        """What is left of an offer; ``without`` where that is nothing but the reply."""
        if self._unlimited and not offer.elements:
            return offer
        tools = tuple(spec for spec in offer.tools if not self._is_used_up(self._toolbox.peer_of(spec.name)))
        elements = tuple(each for each in offer.elements if not self._is_used_up(each.peer))
        gone = {each.peer for each in offer.elements if each.peer and each not in elements}
        # Tools that are sent along and cannot be chosen: some providers want them beside the calls of earlier turns.
        held = without.tools if without.choice == "none" else ()
        if len(tools) <= len(without.tools) - len(held) and len(elements) <= len(without.elements):
            return without
        # What it may write is told at the prompt's beginning, which stays as it is.
        reminder = f"You cannot address {' or '.join(sorted(gone))} any more." if gone else offer.reminder
        choice = "none" if held and not tools else offer.choice
        return evolve(offer, tools=tools or held, choice=choice, elements=elements, reminder=reminder)

    def take(self, peer: str) -> str | None:
        """Counts a call to a peer or function. Why it may not be made, where as many were as are allowed."""
        tool = called_as(peer)
        most = self._most(peer)
        if most is None:
            return None
        made = self._made.get(tool, 0)
        if made >= most:
            times = "once" if most == 1 else f"{most} times"
            return f"'{tool}' may be called {times} in a thread, and was" if most else f"'{tool}' may not be called"
        self._made[tool] = made + 1
        self._ctx.state[_KEY] = {"turn": self._turn, "made": self._made}
        return None

    def _is_used_up(self, peer: str | None) -> bool:
        most = None if peer is None else self._most(peer)
        return peer is not None and most is not None and self._made.get(called_as(peer), 0) >= most

    def _most(self, peer: str) -> int | None:
        # What it asks of the organism is about the budget that all its calls come out of.
        return None if peer == ORGANISM else self._limits.most(called_as(peer))


def _made_in(ctx: AgentContext) -> tuple[str, dict[str, int]]:
    """The turn of its conversation that a thread is, and the calls that were made in it."""
    turn = "" if ctx.conversation is None else ctx.thread
    kept: dict[str, Any] = ctx.state.get(_KEY, {})
    return turn, kept["made"] if kept.get("turn") == turn else {}
