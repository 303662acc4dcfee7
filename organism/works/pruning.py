"""Removing finished threads from the journal of a running organism, a few at a time: what it works on goes on meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from organism.journal.pruning import Pruned, chosen, outcome

if TYPE_CHECKING:
    from organism.journal import Chain
    from organism.journal.pruning import Mark
    from organism.works.conversations import Conversations
    from organism.works.durable import Durable

_AT_ONCE: Final = 50
"""Chains that are removed together: for as long the disk does nothing else, and new turns of conversations wait."""


async def pruned(durable: Durable, conversations: Conversations, mark: Mark) -> Pruned:
    """Removes what the mark leaves no place for, for good; a conversation that went on meanwhile stays. Nobody else may remove anything
    at that time. Raises JournalError; what went by then is gone.
    """
    going = chosen(await durable.chains(), mark)
    gone: list[Chain] = []
    for start in range(0, len(going), _AT_ONCE):
        async with conversations.at_rest():
            some = await durable.unchanged(going[start : start + _AT_ONCE])
            for chain in some:
                conversations.forget(chain.root)
            await durable.remove(*(chain.root for chain in some))
            gone += some
    return outcome(gone, await durable.chains())
