"""Putting a message back to be tried again later: live (``put_back``) and when facts are folded (``take_back``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from organism.threads.restart import Past

if TYPE_CHECKING:
    from organism.kernel.state import State
    from organism.threads.frames import Message
    from organism.threads.restart import Attempt


def put_back(state: State, message: Message, attempt: Attempt, *, placed: bool) -> None:
    """Puts back the message of a delivery that failed: nothing of that attempt is kept but that it failed. ``placed``: it still has its place."""
    state.occupied.pop((message.thread, message.mailbox), None)
    state.schedule.taken.pop(message, None)
    state.schedule.hold_back(message, placed=placed)
    _wait(state, message, (*message.tries, attempt))


def take_back(state: State, message: Message, tries: tuple[Attempt, ...]) -> None:
    """Puts back a message that is queued, or waits for another attempt already. ``tries`` are all attempts that failed so far."""
    if message not in state.retries:
        state.schedule.drop(message)
        state.schedule.hold_back(message, placed=False)
    _wait(state, message, tries)


def _wait(state: State, message: Message, tries: tuple[Attempt, ...]) -> None:
    message.past = evolve(message.past or Past(), tries=tries, rerun=False)
    dealings = message.dealings
    if dealings is not None:
        dealings.wait_no_more()
        dealings.known = dealings.clock_reads = None
        if dealings.heard is not None:  # the next attempt has not heard of it
            dealings.telling, dealings.heard = [*dealings.heard, *(dealings.telling or ())], None
    state.retries[message] = tries[-1].again_at or state.now
