"""Conversations as the outside has them: found by name, taken from the journal, and followed where they go on in a fresh one."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import anyio

from organism.agent import recap
from organism.errors import RoutingError
from organism.kernel.answers import Payer, check_messages
from organism.kernel.conversations import SCOPE, Beginning
from organism.names import CONVERSATION, successor_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from organism.errors import BudgetExhaustedError
    from organism.kernel import Kernel
    from organism.pump.handles import ThreadHandle
    from organism.settings import Settings
    from organism.threads.frames import Conversation, Thread
    from organism.works.durable import Durable

_IDLE: Final = 256
"""Conversations that are kept in memory while nothing of them runs, where the journal has them too."""
_LEADS: Final = 1_000
"""Names of which it is kept where they lead."""
_LOOKS: Final = 8
"""Conversations that are found at work, at most, by whoever looks for one that is idle: there may be thousands."""


class Conversations:
    """The conversations of a running organism. ``take_up`` goes on with one that the journal has."""

    def __init__(
        self,
        settings: Settings,
        kernel: Kernel,
        durable: Durable | None,
        take_up: Callable[[str], Awaitable[list[ThreadHandle]]],
    ) -> None:
        self._settings = settings
        self._kernel = kernel
        self._durable = durable
        self._take_up = take_up
        self._looking = anyio.Lock()
        self._used = OrderedDict[str, None]()
        """Those in memory, and some that were; the one that was used or looked at longest ago comes first."""
        self._leads = OrderedDict[str, str]()
        """The last conversation that a name led to: to go from one to the next for each turn would take longer with each rotation."""

    async def next_turn(self, id_: str, accounts: tuple[str, ...] | None = None) -> Beginning:
        """Whose turn the next message of a conversation is: its own, or that of the one in which it goes on.

        ``accounts`` are those that it begins under, or is under; raises RoutingError where it is under others.
        """
        async with self._looking:
            known, there = await self._last_of(id_)
        self._forget_idle(known)
        if there and accounts is not None:
            under = self._kernel.state.conversations[known].accounts
            if under != accounts:
                begun = f"under {', '.join(under)}" if under else "under no account"
                raise RoutingError(
                    f"conversation {id_!r} began {begun}, which lasts: it cannot go on under {', '.join(accounts)}"
                )
        return Beginning(id=known, budget=self._settings.conversation.budget, accounts=accounts or ())

    async def find(self, id_: str) -> Conversation | None:
        """The conversation of this name, or the one in which it goes on; ``None`` where none has begun. What an earlier process
        left of it unfinished is gone on with.
        """
        async with self._looking:
            known, there = await self._last_of(id_)
        return self._kernel.state.conversations[known] if there else None

    async def _last_of(self, id_: str) -> tuple[str, bool]:
        """The name of the last conversation that a name leads to, and whether it is there."""
        known = self._lead_of(id_)
        there = await self._is_there(known)
        if known != id_ and not there:  # it has been removed
            known, there = id_, await self._is_there(id_)
        # Only one at its cap goes on elsewhere; one that is not there may have been removed since.
        while (not there or self._at_cap(known)) and await self._goes_on(known, following := await self._after(known)):
            known, there = following, True
        if known != id_:
            self._leads[id_] = known
            self._leads.move_to_end(id_)
            if len(self._leads) > _LEADS:
                self._leads.popitem(last=False)
        return known, there

    def _lead_of(self, id_: str) -> str:
        """Where a name led to when it was last looked for; itself where that is not known, or where its own limit was raised since."""
        if id_ in self._kernel.state.conversations and not self._at_cap(id_):
            return id_
        return self._leads.get(id_, id_)

    async def _goes_on(self, known: str, following: str) -> bool:
        return await self._is_there(following) and self._kernel.state.conversations[following].before == known

    async def _after(self, known: str) -> str:
        """The name of the conversation that this one goes on in: others may have been given such a name from outside."""
        name = successor_of(known)
        while await self._is_there(name) and self._kernel.state.conversations[name].before != known:
            name = successor_of(name)
        return name

    def to_end_first(self, turn_of: Beginning) -> Thread | None:
        """The turn that has to end before a conversation at its cap of messages can go on in a fresh one."""
        over = self._kernel.state.conversations.get(turn_of.id)
        if over is None or not over.turns or self._settings.conversation.on_cap != "rotate":
            return None
        return over.turns[-1] if self._at_cap(turn_of.id) else None

    def _at_cap(self, id_: str) -> bool:
        """Whether a conversation in memory has no message left."""
        node = self._kernel.state.conversations[id_].node
        missing = check_messages([Payer(node.path)])
        return missing is not None and missing.node is node

    def rotated(self, turn_of: Beginning, refused: BudgetExhaustedError) -> Beginning | None:
        """The conversation that one at its cap of messages goes on in, where it does (R6)."""
        over = self._kernel.state.conversations.get(turn_of.id)
        at_cap = (refused.scope, refused.unit) == (SCOPE, "messages")
        if over is None or not at_cap or over.turns or self._settings.conversation.on_cap != "rotate":
            return None
        name = successor_of(over.id)
        while name in self._kernel.state.conversations:  # all that are of these names were looked for
            name = successor_of(name)
        return Beginning(
            id=name, budget=turn_of.budget, before=over.id, remembered=self._summary(over), accounts=over.accounts
        )

    def _summary(self, over: Conversation) -> Mapping[str, Mapping[str, Any]]:
        """What the handlers remember in the fresh one: agents a recap, code all that it kept."""
        handlers = self._settings.handlers
        return {
            name: recap(kept) if name in handlers and handlers[name].agent is not None else kept
            for name, kept in (over.state or {}).items()
        }

    async def _is_there(self, id_: str) -> bool:
        """Whether there is such a conversation; it is in memory then."""
        if id_ in self._kernel.state.conversations:
            return True
        if self._durable is None:
            return False
        await self._take_up(f"{CONVERSATION}{id_}")
        return id_ in self._kernel.state.conversations

    def at_rest(self) -> anyio.Lock:
        """A block in which none is looked for, so that no turn begins."""
        return self._looking

    def forget(self, chain: str) -> None:
        """Lets the conversation of a chain go that is to be removed, where there is one; none of its turns is open."""
        if chain.startswith(CONVERSATION):
            self._kernel.state.conversations.pop(chain.removeprefix(CONVERSATION), None)
            self._leads.clear()  # another one may begin under a name that is free again

    def _forget_idle(self, but: str) -> None:
        """Lets the conversations go that were idle for longest, where the journal has them."""
        if self._durable is None:
            return
        known, used, looks = self._kernel.state.conversations, self._used, _LOOKS
        used[but] = None
        used.move_to_end(but)
        if len(used) < len(known):  # some were taken up by a restart, or go on from others
            used.update((id_, None) for id_ in tuple(known) if id_ not in used)
        while looks and (len(known) > _IDLE or len(used) > 2 * _IDLE + 2 * len(known)):
            id_, _ = used.popitem(last=False)
            conversation = known.get(id_)
            if conversation is None:
                continue
            if conversation.turns or id_ == but or len(known) <= _IDLE:
                used[id_] = None
                looks -= 1
            else:
                del known[id_]
