"""Changes of the state as steps of a fact: frames and messages are named by (thread id, seq), values stand as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

from organism.record import facts
from organism.threads.outcomes import Warned
from organism.threads.routing import answer_names

if TYPE_CHECKING:
    from organism.record.images import Ref
    from organism.threads.frames import Frame, Message, Thread


def ref_of(message: Message) -> Ref:
    """The name of a message: (thread id, seq)."""
    return (message.thread.id, message.seq)


@overload
def ref(frame: Frame) -> Ref: ...
@overload
def ref(frame: Frame | None) -> Ref | None: ...
def ref(frame: Frame | None) -> Ref | None:
    """The name of a frame: (thread id, seq of the message that opened it); ``None`` for none."""
    return None if frame is None else (frame.thread.id, frame.seq)


def posted(message: Message, *, charged: bool, opens: bool = False) -> facts.Posted:
    """The step of a message that was put in its mailbox."""
    frame = message.frame
    return facts.Posted(
        thread=message.thread.id,
        seq=message.seq,
        to=message.to,
        payload=message.payload,
        sender=message.sender,
        kind=message.kind,
        frame=ref(frame),
        opens=opens,
        parent=ref(frame.parent) if opens else None,
        depth=frame.depth if opens else 0,
        charged=charged,
        answers=answer_names(message.payload, message.route.answers) if message.route.answers else (),
        idempotency=message.idempotency or None,
    )


def raised(
    thread: Thread,
    warned: Warned,
    pending_for: str | None,
    pending_caller: tuple[str, str] | None,
    told_after: Message | None,
    digest: str | None,
) -> facts.WarningRaised:
    """The step of a warning that was raised. See :func:`organism.kernel.warnings.enter_warning`."""
    return facts.WarningRaised(
        thread=thread.id,
        seq=warned.seq,
        node=warned.node,
        unit=warned.unit,
        level=warned.level,
        threshold=warned.threshold,
        used=warned.used,
        held=warned.held,
        limit=warned.limit,
        remaining=warned.remaining,
        scope=warned.scope,
        calls_left=warned.calls_left,
        to=warned.to,
        pending_for=pending_for,
        pending_caller=pending_caller,
        told_after=None if told_after is None else ref_of(told_after),
        about=warned.about,
        digest=digest,
    )


def warned_of(step: facts.WarningRaised) -> Warned:
    """The warning of such a step."""
    return Warned(
        seq=step.seq,
        unit=step.unit,
        level=step.level,
        threshold=step.threshold,
        used=step.used,
        limit=step.limit,
        held=step.held,
        remaining=step.remaining,
        scope=step.scope,
        calls_left=step.calls_left,
        to=step.to,
        node=step.node,
        about=step.about,
    )
