"""Carrying out an answer that was checked, and posting a message into another thread (R1, R2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from organism.kernel.failures import climb
from organism.kernel.idempotency import is_keyed, key_of_sent
from organism.kernel.opening import open_thread
from organism.message import Send
from organism.threads.dependence import unanswered
from organism.threads.frames import Frame, Message, ThreadKind
from organism.threads.lineage import shared_by
from organism.threads.outcomes import Failure
from organism.threads.routing import Route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.kernel.answers import Planned, Target
    from organism.kernel.state import State
    from organism.threads.frames import Thread


def above_new(parent: Frame | None, sender: Frame, thread: Thread) -> Frame | None:
    """The frame that counts a new frame in ``thread`` among its children: the frame that sent the message. Where the new frame replaces
    the sender's in the same thread (Forward), the frame above that. In another thread it stays the sender's also then: the
    budget of a thread must last until all that was opened in it has ended.
    """
    return sender if parent is sender or sender.thread is not thread else sender.above


def carry_out(state: State, message: Message, plan: Sequence[Planned]) -> list[Message]:
    """Carries out a plan; returns the messages that went into other threads."""
    frame, thread = message.frame, message.thread
    elsewhere: list[Message] = []
    keyed, known_as, number = is_keyed(message), "", 0
    for out, target in plan:
        if keyed:
            known_as = key_of_sent(message, f"{type(out).__name__}:{number}")
            number += 1
        if isinstance(target, Frame):
            frame.answered = True
            state.post(target, out.payload, frame.handler, "reply", idempotency=known_as)
        elif target is None:
            _carry_reply(state, frame, out.payload)
        elif type(out) is Send:
            if type(target) is Route:
                state.post_opening(
                    thread, target, out.payload, message.to, "send",
                    parent=frame, above=frame, depth=frame.depth + 1, idempotency=known_as,
                )  # fmt: skip
            else:
                elsewhere.append(open_at(state, target, message, "send", parent=frame, idempotency=known_as))
        else:
            ask = unanswered(frame)
            if type(target) is Route:
                sent = state.post_opening(
                    thread, target, out.payload, message.to, "forward",
                    parent=frame.parent, above=frame.above, depth=frame.depth, asked=ask, idempotency=known_as,
                )  # fmt: skip
            else:
                sent = open_at(
                    state, target, message, "forward", parent=frame.parent, like=frame, asked=ask, idempotency=known_as
                )
                elsewhere.append(sent)
            state.hand_over(frame, sent.frame)
    return elsewhere


def open_at(
    state: State,
    target: Target,
    sender: Message,
    kind: str,
    *,
    parent: Frame | None,
    like: Frame | None = None,
    asker: Message | None = None,
    asked: Any = None,
    idempotency: str = "",
) -> Message:
    """Posts into a new frame, opening the sub-thread it belongs to where it needs one. ``like``: the frame it replaces."""
    thread = target.thread
    owner = sender.frame
    opened = shared_by(owner.thread, target.to) if target.shared else None
    if opened is not None:
        thread = opened
    elif target.opens is not None:
        kind_of: ThreadKind = "spawn" if kind == "spawn" else "shared" if target.shared else "call"
        id_ = f"{owner.thread.id}.{owner.thread.seq + 1}"
        while id_ in state.threads:  # a thread from outside may have been given this id
            id_ += "+"
        thread = open_thread(state, id_, kind_of, target.to, target.opens, owner, sender.thread.labels)
    return state.post_opening(
        thread, state.routes[target.to], target.payload, sender.to, kind,
        parent=parent, above=above_new(parent, sender.frame, thread),
        depth=like.depth if like is not None else target.depth, asker=asker, asked=asked, idempotency=idempotency,
    )  # fmt: skip


def _carry_reply(state: State, frame: Frame, payload: Any) -> None:
    """Carries out a reply that is no new message: to an ask, out of the thread, or too late; or its receiver does not take it."""
    ask = frame.asker
    if ask is not None and not ask.done:
        state.resolve(ask, payload)
    elif frame.parent is None and ask is None:
        state.leave(frame, payload)
    elif frame.answered or frame.parent is None or ask is not None:
        state.come_late(frame, payload)
    else:
        parent = frame.parent
        text = f"'{parent.handler}' does not take {type(payload).__name__}, the reply of '{frame.handler}'"
        state.hand_over(frame, None)
        climb(state, parent, Failure("validation", text))
