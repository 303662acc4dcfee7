"""Where a failure goes: to the caller, past callers that do not take it, up to the root (R2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.names import ORGANISM
from organism.payloads.primitives import HandlerFailed

if TYPE_CHECKING:
    from organism.frames import Failure, Frame, Thread
    from organism.kernel.state import State


def climb(state: State, frame: Frame, failure: Failure) -> None:
    """Takes a failure to the frame's caller; past callers that do not take ``HandlerFailed``, up to the root (R2).

    A sub-thread whose handler has its last word yet keeps it: its caller hears that word, or the failure afterwards.
    """
    step: Frame | None = frame
    while step is not None:
        ask = step.asker
        if step.top:
            state.not_handled(step.thread, failure, at_root=step.parent is None and ask is None)
            if step.parent is not None and step.thread.last_due and step.thread.open == 1:
                return
        if ask is not None and not ask.done:
            state.resolve(ask, failure)
            return
        if not step.answered:
            state.hand_over(step, None)
        parent = step.parent
        if parent is not None and state.routes[parent.handler].takes_failures and not _is_over(parent.thread):
            payload = HandlerFailed(failure.code, failure.text, failure.retry)
            state.post(parent.thread, parent.handler, payload, ORGANISM, "failed", frame=parent, charged=False)
            return
        step = parent


def _is_over(thread: Thread) -> bool:
    return thread.closing or thread.stopping is not None
