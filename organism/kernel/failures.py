"""Where a failure goes: to the caller; past callers that do not take ``HandlerFailed``, up to the root (R2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from organism.errors import HandlerFailedError
from organism.names import ORGANISM
from organism.payloads.primitives import HandlerFailed

if TYPE_CHECKING:
    from organism.budget.node import Node
    from organism.threads.frames import Ask, Frame, Thread
    from organism.threads.outcomes import Failure


class Changes(Protocol):
    """The changes of the state that a failure makes on its way."""

    def not_handled(self, thread: Thread, failure: Failure, *, at_root: bool) -> None:
        """It reached the root of a thread."""
        ...

    def resolve(self, ask: Ask, answer: Any) -> None:
        """Whoever asked is told."""
        ...

    def hand_over(self, frame: Frame, to: Frame | None) -> None:
        """The frame will not answer any more."""
        ...

    def post(self, frame: Frame, payload: Any, sender: str, kind: str, *, charged: bool = True) -> None:
        """Whoever sent is told."""
        ...


def failed_by(failure: Failure) -> HandlerFailedError:
    """The exception that whoever asked gets for a failure."""
    return HandlerFailedError(
        failure.code, failure.text, retry=failure.retry, unit=failure.unit, scope=failure.scope, account=failure.account
    )


def limited_by(failure: Failure, node: Node) -> Node:
    """The node whose limit a failure names, among a node and those above it; the node itself where it names none of them."""
    # In journals of earlier versions failures do not name the account: the nearest is taken.
    said = (each for each in node.path if each.scope == failure.scope and failure.account in {None, each.account})
    return next(said, node)


def climb(state: Changes, frame: Frame, failure: Failure) -> None:
    """Takes a failure to the frame's caller; past callers that do not take ``HandlerFailed``, up to the root (R2).

    A sub-thread whose last delivery is still to come stops it: its caller hears the answer of that, or the failure afterwards.
    """
    step: Frame | None = frame
    while step is not None:
        ask = step.asker
        if step.top:
            state.not_handled(step.thread, failure, at_root=step.parent is None and ask is None)
            ending = step.thread.ending
            if step.parent is not None and ending is not None and ending.last_due and step.thread.open == 1:
                return
        if ask is not None and not ask.done:
            state.resolve(ask, failure)
            return
        if not step.answered:
            state.hand_over(step, None)
        parent = step.parent
        if parent is not None and parent.route.takes_failures and not parent.thread.is_ending:
            payload = HandlerFailed(failure.code, failure.text, failure.retry)
            state.post(parent, payload, ORGANISM, "failed", charged=False)
            return
        step = parent
