"""The state as a plain value, for tests that compare the live state with what its record folds to.

Not to be confused with snapshots (``facts.Snapshot``), which are made in :mod:`organism.kernel.imaging`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import asdict, astuple

from organism.names import ACCOUNT
from organism.threads.frames import Below
from organism.threads.outcomes import Ending, Outlay, Troubles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from organism.budget.node import Node
    from organism.kernel.state import State
    from organism.threads.frames import Conversation, Frame, Message, Thread


def comparable(state: State) -> dict[str, Any]:
    """All of a state that a restart keeps, as nested dicts by name. Left out is what it forgets on purpose: who runs, who waits in line."""
    return {
        "root": _node(state.root),
        "accounts": {name: _node(state.pools[f"{ACCOUNT}{name}"]) for name in sorted(_accounts(state))},
        "threads": {id_: _thread(state, thread) for id_, thread in sorted(state.threads.items())},
        "holds": {
            key: (hold.thread.id, None if hold.message is None else hold.message.seq, hold.need, hold.grace)
            for key, hold in sorted(state.holds.items())
        },
        "conversations": {id_: _conversation(each) for id_, each in sorted(state.conversations.items())},
        "totals": {
            key: (list(tally.amounts), list(tally.details))
            for key, tally in sorted(state.sums.totals.items())
            if any(tally.amounts) or any(tally.details)  # a journal keeps no totals of 0
        },
    }


def _accounts(state: State) -> set[str]:
    """The accounts that something live is under; others are in the state for their figures alone."""
    of_threads = {name for thread in state.threads.values() for name in thread.accounts}
    return of_threads | {name for conversation in state.conversations.values() for name in conversation.accounts}


def _conversation(conversation: Conversation) -> dict[str, Any]:
    return {
        "before": conversation.before,
        "accounts": conversation.accounts,
        "state": {} if conversation.turns else conversation.state or {},
        "calls": conversation.calls,
        "seconds": conversation.seconds,
        "turns": [turn.id for turn in conversation.turns],
        "unheard": {to: [warned.seq for warned in queue] for to, queue in (conversation.unheard or {}).items()},
        "node": _node(conversation.node),
    }


def _thread(state: State, thread: Thread) -> dict[str, Any]:
    messages = state.open_messages(thread)
    below, troubles = thread.below or Below(), thread.troubles or Troubles()
    outlay, ending = thread.outlay or Outlay(), thread.ending or Ending()
    return {
        "kind": thread.kind,
        "undone": thread.undone,
        "accounts": thread.accounts,
        "handler": thread.handler,
        "labels": dict(thread.labels),
        "opened_at": thread.opened_at,
        "owner": None if thread.owner is None else (thread.owner.thread.id, thread.owner.seq),
        "seq": thread.seq,
        "calls": thread.calls,
        "open": thread.open,
        "subs": sorted(below.subs or ()),
        "shared": sorted(below.shared or ()),
        "records": list(below.records or ()),
        "replies": list(thread.replies),
        "failures": list(troubles.failures or ()),
        "warnings": [asdict(warned) for warned in troubles.warnings or ()],
        "pending": {to: [warned.seq for warned in queue] for to, queue in (troubles.pending or {}).items()},
        "state": thread.state or {},
        "partial": outlay.partial,
        "calls_like": outlay.calls_like,
        "granted": outlay.granted or {},
        "estimates": list(outlay.estimates or ()),
        "ends": (*astuple(ending), thread.time_fired),
        "node": _node(thread.node),
        "messages": [
            (each.seq, each.to, each.kind, each.sender, each.frame.seq, each.dropped, sorted(each.known or ()))
            for each in messages
        ],
        "tries": {each.seq: each.tries for each in messages if each.tries},
        "idempotency": {each.seq: each.idempotency for each in messages if each.idempotency},
        "letter": thread.letter,
        "warnings_of": {each.seq: found for each in messages if (found := _warnings(each))},
        "asked": {each.seq: state.inbox.questions[each] for each in state.inbox.of(thread)},
        "stands_since": state.inbox.resting.get(thread),
        "paused_at": thread.paused_at,
        "waits_turn": thread.waits_turn,
        "ring": None if state.rings is None else state.rings.image(thread),
        "frames": _frames(messages),
    }


def _frames(messages: Iterable[Message]) -> dict[tuple[str, int], tuple[Any, ...]]:
    found: dict[tuple[str, int], tuple[Any, ...]] = {}
    for message in messages:
        frame: Frame | None = message.frame
        while frame is not None:
            asked = None if frame.asker is None else (frame.asker.message.id, frame.asker.done)
            found[frame.thread.id, frame.seq] = (
                frame.handler,
                frame.depth,
                frame.open,
                frame.answered,
                frame.top,
                asked,
            )
            frame = frame.above
    return found


def _warnings(message: Message) -> list[list[int]]:
    """The numbers of its warnings, by how far they have come; empty where it has none."""
    warnings = message.warned
    if warnings is None or not (warnings.told or warnings.telling or warnings.heard):
        return []
    return [[each.seq for each in part] for part in (warnings.told, warnings.telling, warnings.heard)]


def _node(node: Node) -> dict[str, Any]:
    return {
        "scope": node.scope,
        "used": list(node.used),
        "own": list(node.own),
        "held": list(node.held),
        "overdraft": list(node.overdraft),
        "details": list(node.details),
        "estimated": (node.estimated, node.estimated_own),
        "unpriced": (node.unpriced, node.unpriced_own),
        "fired": list(node.fired),
        "next_mark": list(node.next_mark),
        "runways": node.runways,
        "limit": node.caps.limit,
        "working": node.caps.working,
    }
