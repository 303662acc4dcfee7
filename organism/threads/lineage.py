"""The tree of threads: the root of a thread, the live threads below it, and the journal's chain that all of them are recorded in.

Pure questions about threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from organism.threads.frames import Thread


def descendants(thread: Thread) -> Iterator[Thread]:
    """The thread and its live sub-threads, all the way down."""
    yield thread
    for sub in (thread.subs or {}).values():
        yield from descendants(sub)


def shared_by(thread: Thread, handler: str) -> Thread | None:
    """The live sub-thread that the calls of a thread to this handler share."""
    return None if thread.below is None else (thread.below.shared or {}).get(handler)


def root_of(thread: Thread) -> Thread:
    """The root thread that a thread belongs to."""
    while thread.owner is not None:
        thread = thread.owner.thread
    return thread


def chain_of(thread: Thread) -> str:
    """The chain that a thread is recorded in: that of its conversation, or of its root thread."""
    root = root_of(thread)
    return root.id if root.conversation is None else root.conversation.chain
