"""The branch below an ask: all that was opened on behalf of it, and goes with it where nobody waits for it any more (R4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.threads.lineage import descendants

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from organism.kernel.state import State
    from organism.threads.frames import Ask, Frame, Message, Thread


def branches(state: State, asks: Sequence[Ask]) -> tuple[dict[Ask, list[Message]], list[Message]]:
    """What is queued below each of these asks, and the suspended deliveries below any of them."""
    queued: dict[Ask, list[Message]] = {}
    running: list[Message] = []
    scattered: dict[Frame, Ask] = {}
    for ask in asks:
        if ask.frame is None:
            continue
        queued[ask] = []
        if not _follow(state, ask, queued[ask], running):
            scattered[ask.frame] = ask
    if scattered:
        _search(state, scattered, queued, running)
    return queued, running


def opened_for(asker: Message, under_way: Iterable[Message]) -> dict[Thread, None]:
    """The threads that were opened in branches below a delivery, by what is under way there. One that calls share (``per: thread``) is
    another call's as well, unless it belongs to a thread that is the branch's alone.
    """
    found: dict[Thread, None] = {}
    for message in under_way:
        down: list[Thread] = []
        each = message.thread
        while each is not asker.thread and each.owner is not None:
            down.append(each)
            each = each.owner.thread
        alone = False
        for each in reversed(down):
            alone = alone or each.kind != "shared"
            if alone:
                found[each] = None
    return found


def _follow(state: State, ask: Ask, queued: list[Message], running: list[Message]) -> bool:
    """Goes down from delivery to delivery, as each asked the next, and adds what it finds. ``False``, and nothing is added: the count of some
    frame says that there is more in it, as after a Send. However much else there is in the threads, nothing of it is looked at.
    """
    waits: list[Message] = []
    works: list[Message] = []
    below = [ask]
    for each in below:
        frame, first = each.frame, each.first
        if frame is None or first is None:
            return False
        asked: Sequence[Ask] = ()
        if state.occupied.get((first.thread, first.mailbox)) is first:
            asked = first.asks
            works.append(first)
        elif _is_queued(state, first):
            waits.append(first)
        else:
            return False
        if frame.open != 1 + len(asked) or any(one.frame is None or one.frame.above is not frame for one in asked):
            return False
        below += asked
    queued += waits
    running += works
    return True


def _is_queued(state: State, message: Message) -> bool:
    """Whether a message waits for its delivery, for its next attempt or for a person."""
    if message in state.retries or message in state.inbox.questions:
        return True
    thread = message.thread
    if thread.head is message or (thread.more is not None and message in thread.more):
        return True
    holder = None if thread.busy is None else thread.busy.get(message.mailbox)
    if holder is None or holder.behind is None:
        return holder is message
    return holder is message or message in holder.behind


def _search(
    state: State, scattered: dict[Frame, Ask], queued: dict[Ask, list[Message]], running: list[Message]
) -> None:
    """Looks through all that is under way in the threads of these branches: once, however many branches there are."""
    threads = dict.fromkeys(
        each for top in dict.fromkeys(frame.thread for frame in scattered) for each in descendants(top)
    )
    for thread in threads:
        for message in state.queued_in(thread):
            frame = _branch(message.frame, scattered)
            if frame is not None:
                queued[scattered[frame]].append(message)
        running += (each for each in state.at_work(thread) if _branch(each.frame, scattered) is not None)


def _branch(frame: Frame | None, branches: Collection[Frame]) -> Frame | None:
    """The one of these frames that ``frame`` is, or was opened on behalf of."""
    while frame is not None and frame not in branches:
        frame = frame.above
    return frame
