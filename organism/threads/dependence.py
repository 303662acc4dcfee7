"""Who waits for whom: which deliveries, frames and threads cannot go on before others did (R3).

Pure questions about threads and frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.threads.frames import pending
from organism.threads.lineage import descendants

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from organism.threads.frames import Ask, Frame, Message, Thread


def is_below(frame: Frame | None, above: Frame) -> bool:
    """Whether ``frame`` is ``above`` or was opened on its behalf, across sub-threads."""
    while frame is not None:
        if frame is above:
            return True
        frame = frame.above
    return False


def is_awaited(message: Message) -> bool:
    """Whether a delivery asked for what comes of a message, at whatever distance, or the message is in a spawned thread."""
    frame: Frame | None = message.frame
    while frame is not None:
        if (frame.asker is not None and not frame.asker.done) or frame.thread.kind == "spawn":
            return True
        frame = frame.above
    return False


def at_work(thread: Thread, running: Mapping[tuple[Thread, str], Message]) -> list[Message]:
    """The deliveries of one thread among those ``running``, which are by thread and mailbox. A frame's branch lies in its thread and below
    that: whoever looks for one need not look through all that runs.
    """
    found = (running.get((thread, mailbox)) for mailbox in thread.busy or ())
    return [message for message in found if message is not None]


def would_wait_for_ever(
    thread: Thread, to: str, sender: Message, running: dict[tuple[Thread, str], Message], *, asks: bool
) -> bool:
    """Whether the handler ``to`` in ``thread`` waits, however indirectly, for the sender's own branch (R3): a deadlock.

    ``running`` has the delivery that occupies each mailbox (thread, handler). A delivery waits for the frames that it asks; such a
    frame waits for the mailboxes of the handlers in whose frames below it work is queued or a reply is due. ``asks``: the
    sender keeps its own mailbox until it is answered; otherwise it is over once it has sent.
    """
    start = running.get((thread, to))
    if start is None:
        return False
    seen: set[int] = set()
    stack = [start]
    while stack:
        message = stack.pop()
        if message is sender:
            if asks:
                return True
            continue
        if id(message) in seen:
            continue
        seen.add(id(message))
        for ask in message.asks:
            if ask.frame is None:
                continue
            if is_below(sender.frame, ask.frame):
                return True
            inside = descendants(ask.frame.thread)
            below = [each for part in inside for each in at_work(part, running) if is_below(each.frame, ask.frame)]
            stack += needed_by(ask.frame, running, below)
    return False


def all_below(
    running: dict[tuple[Thread, str], Message],
) -> tuple[dict[Frame, list[Message]], dict[Thread, list[Message]]]:
    """The running deliveries below each frame, and those in each thread and below it. A frame or thread ends after all of its own."""
    frames: dict[Frame, list[Message]] = {}
    threads: dict[Thread, list[Message]] = {}
    for message in running.values():
        frame: Frame | None = message.frame
        while frame is not None:
            frames.setdefault(frame, []).append(message)
            frame = frame.above
        thread = message.thread
        threads.setdefault(thread, []).append(message)
        while thread.owner is not None:
            thread = thread.owner.thread
            threads.setdefault(thread, []).append(message)
    return frames, threads


def needed_by(
    frame: Frame, running: dict[tuple[Thread, str], Message], below: Collection[Message]
) -> Iterator[Message]:
    """The deliveries that must end before ``frame`` can: those ``below`` it, and those that occupy a mailbox that its branch needs."""
    yield from below
    queued = [each for thread in descendants(frame.thread) for each in pending(thread) if is_below(each.frame, frame)]
    for message in queued:
        other = running.get((message.thread, message.mailbox))
        if other is not None:
            yield other
    for message in (*below, *queued):
        # Replies from below are still to be handed up, frame by frame, through mailboxes that others may occupy.
        step = message.frame
        while step is not frame and step.parent is not None:
            step = step.parent
            other = running.get((step.thread, step.handler))
            if other is not None and not step.answered:
                yield other


def leaving(thread: Thread) -> Iterator[Thread]:
    """The threads that a reply without a caller leaves: its own, and those above that called it and whose caller it answers."""
    yield thread
    while thread.kind in {"call", "shared"} and thread.owner is not None:
        thread = thread.owner.thread
        yield thread


def is_waiting(delivery: Message) -> bool:
    """Whether a delivery waits for answers or results of others, however many."""
    dealings = delivery.dealings
    return dealings is not None and (dealings.ask is not None or bool(dealings.more) or bool(dealings.awaits))


def waits_for(delivery: Message, other: Message) -> bool:
    """Whether one delivery waits for the branch that another belongs to."""
    asked = (ask.frame for ask in delivery.asks if ask.frame is not None)
    return any(is_below(other.frame, frame) for frame in asked)


def unanswered(frame: Frame) -> Ask | None:
    """The ask that still waits for a frame."""
    return frame.asker if frame.asker is not None and not frame.asker.done else None
