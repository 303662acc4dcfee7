"""What a hold and its settlement change: the registry of open holds, the nodes of the path, and the totals (R12, R18, R19)."""

from __future__ import annotations

from operator import gt
from typing import TYPE_CHECKING

from organism.budget.caps import figure
from organism.budget.claims import CALLS, MESSAGES, TOKENS, VECTOR, Charge
from organism.budget.tree import note_details, put_back
from organism.kernel.outcome import amend, seal
from organism.kernel.windows import path_of
from organism.threads.lineage import root_of
from organism.threads.outcomes import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.budget.claims import Vector
    from organism.budget.node import Node
    from organism.kernel.holds import Hold
    from organism.kernel.state import State
    from organism.threads.frames import Thread


def abandoned_charge(hold: Hold) -> Charge:
    """A charge of all that was held, marked as an estimate: nobody will say what the call cost."""
    _, given, said, cost, calls, _ = hold.need
    return Charge(input_tokens=given, output_tokens=said, cost=cost, model_calls=calls, estimated=True)


def add_hold(state: State, hold: Hold, *, why: Failure | None = None) -> None:
    """Registers a hold whose amounts have been taken. ``why``: the refusal before a grace call, where there was one."""
    state.holds[hold.chain, hold.id] = hold
    root = root_of(hold.thread)
    counting = root.conversation or root
    counting.calls = max(counting.calls, hold.id)
    if hold.streamed:
        state.streams.setdefault(hold.thread, []).append(hold)
    if hold.grace:
        ending = hold.thread.have_ending()
        ending.graced = True
        if ending.exhausted is None:
            ending.exhausted = why or _graced(hold)


def graced(node: Node, unit: int, *, hint: str = "") -> Failure:
    """The failure that says why a thread answered on grace: this limit. Limits that many threads share keep nothing back, so the answer was made
    on what was left of them.
    """
    text = f"answered on what was {'kept back' if node.window is None else 'left'}"
    if node.remaining(unit) is not None:
        said = f"{figure(unit, node.used[unit]):,} used, limit {figure(unit, node.caps.limit[unit]):,}"
        text = f"{text}: {VECTOR[unit]} of the {node.title}: {said}"
    text = f"{text}; {hint}" if hint else text
    return Failure("exhausted", text, unit=VECTOR[unit], scope=node.scope, account=node.account)


def _graced(hold: Hold) -> Failure:
    """Why a call is on grace before which none was refused. Of the limits on its path whose working part would not bear it alone, or of all
    if none is like that, it is the one with the largest share used. Limits that many threads share are left out: they keep nothing back.

    Other open calls are not looked at: several may be granted at once, while a fold sees them one after the other.
    """
    tightest, found = (False, -1.0), (hold.thread.node, TOKENS)
    for node in hold.path:
        if node.window is not None:
            continue
        for unit in node.caps.limited:
            working = node.caps.working[unit]
            used, need = node.used[unit], hold.need[unit]
            tight = (need > 0 and used + need > working, used / working if working > 0 else 1.0)
            if unit < MESSAGES and tight > tightest:
                tightest, found = tight, (node, unit)
    return graced(*found)


def apply_charge(state: State, hold: Hold, charge: Charge, amounts: Vector) -> tuple[Node, ...]:
    """Settles the ``amounts`` of a charge on the whole path and in the totals; returns the nodes that it was settled on, without those whose
    window has rolled over since.
    """
    del state.holds[hold.chain, hold.id]
    if hold.streamed:
        left = [each for each in state.streams.pop(hold.thread, ()) if each is not hold]
        if left:
            state.streams[hold.thread] = left
    path = path_of(hold)
    late = hold.thread.ended
    if late:
        seal(hold.thread)
    put_back(path, hold.need, amounts)
    note_details(path, charge)
    if late:
        amend(hold.thread)
    if amounts[CALLS] or amounts[0]:
        hold.thread.have_outlay().calls_like = amounts
    state.sums.spend(hold, charge, amounts)
    return path


def note_text(thread: Thread, handler: str, text: str) -> None:
    """Keeps the last text that the thread, or one above it, can hand in as ``partial``; texts of the root frame's handler are preferred."""
    if not text:
        return
    outlay = thread.have_outlay()
    if outlay.partial is None or handler == thread.handler or outlay.partial[0] != thread.handler:
        outlay.partial = (handler, text)
    if thread.owner is not None:
        note_text(thread.owner.thread, "", text)  # whoever wrote it may be called as the handler above is


def overdrafts(hold: Hold, charge: Charge) -> Sequence[str]:
    """A line for each limit that this charge exceeded because it was higher than its hold (R12)."""
    if not any(map(gt, charge.amounts, hold.need)):
        return ()
    return [
        f"{VECTOR[unit]} of the {node.title} are overdrawn: {figure(unit, node.used[unit]):,} used, "
        f"limit {figure(unit, node.caps.limit[unit]):,}; a call to {hold.backend} was charged {figure(unit, spent):,} "
        f"where {figure(unit, held):,} were held"
        for node in hold.path
        for unit, (held, spent) in enumerate(zip(hold.need, charge.amounts, strict=True))
        if spent > held and node.used[unit] + node.held[unit] > node.caps.limit[unit]
    ]
