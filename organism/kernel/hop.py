"""The fast path of a delivery's end: a hop. It takes a delivery that ends with one plain answer and nothing else: a message to a handler
in its own thread, or a reply to whoever waits for it. Most deliveries are of that kind.

A hop has the same effect as the general path (:func:`organism.kernel.answers.check_answer`, :func:`organism.kernel.carrying.carry_out`
and the end of a delivery) in one pass. The new message takes the place of the delivery that is over, so that most counts stay as they
are. Whatever is not plain takes the general path, which also says why something may not be sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from organism.budget.crossings import has_crossed
from organism.budget.tree import bears_one, charge_messages
from organism.kernel.sendable import is_plain, known_route
from organism.kernel.steps import posted, ref
from organism.kernel.warnings import note_crossings, post_notices
from organism.message import Forward, Outgoing, Reply, Send
from organism.record import facts
from organism.threads.frames import Ask, Frame, Message, Thread

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from organism.kernel.book import Book
    from organism.kernel.state import State
    from organism.threads.routing import Route


_KINDS: Final[dict[type[Outgoing], str]] = {Send: "send", Forward: "forward", Reply: "reply"}


def hop(
    state: State,
    book: Book,
    message: Message,
    out: Outgoing,
    changes: Mapping[str, tuple[Any] | None] | None,
    at: float,
    placed: bool,  # noqa: FBT001 - nearly every delivery comes by
) -> bool:
    """Ends a delivery with the answer ``out``; ``changes`` are those of its handler's state. ``False``: it is not plain, and nothing has
    happened.
    """
    if message.dealings is not None or message.past is not None or message.route.tries_again or state.rings is not None:
        return False
    to = destination(state, message, out)
    if to is None:
        return False
    if type(to) is Ask or type(to) is Thread:
        return _hand_out(state, book, message, to, out.payload, changes, at, placed)
    quiet = not (book.listening or message.holds or state.inbox.watched or changes or at >= state.pools.rolls_at)
    if quiet:
        state.now = at
        book.half_done = True
    else:
        _begin(state, book, message, changes, at)
    thread, frame = message.thread, message.frame
    thread.seq = seq = thread.seq + 1
    heir = to if type(to) is Frame else _opened(frame, seq, to, out)
    if heir.above is not frame:
        frame.answered = True
    sent = Message(thread, seq, heir.route, out.payload, message.to, heir, _KINDS[type(out)])
    charge_messages(thread.node, 1)
    state.sums.count(sent)
    state.schedule.put(sent)
    if state.steps is not None:
        state.steps += _steps(sent, frame)
    if has_crossed(thread.node):
        note_crossings(state, thread, message, at_once=False)
        post_notices(state, message)
    if heir.above is not frame:  # else it counts its new child in place of the delivery
        _give_way(state, frame, heir)
    if quiet:
        state.schedule.done(message, placed=placed)
        book.half_done = False
    else:
        state.let_go(message, placed=placed)
        write_answered(book, message, changes)
    return True


def _begin(
    state: State, book: Book, message: Message, changes: Mapping[str, tuple[Any] | None] | None, at: float
) -> None:
    book.begin(at)
    if changes:
        state.set_state(message.thread, message.to, changes)


def write_answered(book: Book, message: Message, changes: Mapping[str, tuple[Any] | None] | None) -> None:
    """Ends the change by which a delivery was answered: writes its fact, where facts are wanted."""
    if book.listening:
        book.write(facts.Answered, message.thread, seq=message.seq, handler=message.to, state=changes or None)
    else:
        book.unheard(message.thread)


def _hand_out(
    state: State,
    book: Book,
    message: Message,
    to: Ask | Thread,
    payload: Any,
    changes: Mapping[str, tuple[Any] | None] | None,
    at: float,
    placed: bool,  # noqa: FBT001 - as above
) -> bool:
    """Gives a reply to the ask that waits for it, or to the outside. Nothing is charged for it."""
    if has_crossed(message.thread.node):
        return False  # a limit was lowered meanwhile: the general path raises the warning
    _begin(state, book, message, changes, at)
    if type(to) is Ask:
        state.resolve(to, payload)
    else:
        state.leave(message.frame, payload)
    state.finish(message, placed=placed)
    write_answered(book, message, changes)
    return True


def _opened(frame: Frame, seq: int, route: Route, out: Outgoing) -> Frame:
    """The frame of the new message: below this one for a Send, in place of it for a Forward."""
    thread = frame.thread
    if type(out) is Send:
        opened = Frame(thread, seq, route, frame, frame.depth + 1, None, frame)
    else:
        opened = Frame(thread, seq, route, frame.parent, frame.depth, None, frame.above)
        opened.answered = frame.answered
    opened.open = 1
    return opened


def destination(state: State, message: Message, out: Outgoing) -> Route | Frame | Ask | Thread | None:
    """Where a plain answer goes: a message to a handler to which its sender has sent this class before (its Route); a reply to the frame above
    (Frame), to the ask that waits for it (Ask), or out of the thread (Thread). ``None``: it is not plain.
    """
    thread, frame = message.thread, message.frame
    if thread.ending is not None:
        return None
    wrote: Any = out  # its fields may hold anything
    try:
        if type(out) is Reply:
            return _listener(frame, wrote.payload) if is_plain(state, wrote.payload) else None
        if type(out) is Send:
            depth = frame.depth + 1
        elif type(out) is Forward and frame.open == 1 and frame.asker is None:
            depth = frame.depth
        else:
            return None
        route = known_route(state, message.to, wrote.to, wrote.payload)
    except AttributeError:  # made without its constructor, it has no fields
        return None
    if route is None or not route.stays or not bears_one(thread.node, depth):
        return None
    return None if state.occupied and _may_wait(state, message, route) else route


def _listener(frame: Frame, payload: object) -> Frame | Ask | Thread | None:
    """Who gets a reply: the ask that waits; the outside (its thread); or the frame above, in the same thread, as its first reply."""
    asker, caller, thread = frame.asker, frame.parent, frame.thread
    if asker is not None:
        return None if asker.done else asker
    if caller is None:
        return thread
    takes = caller is frame.above and caller.thread is thread and not frame.answered
    return caller if takes and type(payload) in caller.route.accepts and bears_one(thread.node) else None


def _may_wait(state: State, message: Message, route: Route) -> bool:
    """Whether the receiver may be waiting for this very branch: the general path finds out."""
    at_work = state.occupied.get((message.thread, route.name))
    return at_work is not None and at_work is not message and bool(at_work.asks)


def _give_way(state: State, frame: Frame, heir: Frame) -> None:
    """Counts down ``frame``, whose delivery is over and whose new message went into ``heir``: the frame above (a reply), or the one that
    replaces it (a Forward). If ``frame`` closes, whoever counted it counts the new message in its place, and no other count changes;
    if not, the new message is counted in addition.
    """
    frame.open -= 1
    if frame.open and heir is frame.above:
        heir.open += 1
    elif frame.open:
        state.count_up(heir)


def _steps(sent: Message, frame: Frame) -> Iterator[facts.Step]:
    """The steps of the fact: the message, and for a Forward that its frame was handed on."""
    yield posted(sent, charged=True, opens=sent.kind != "reply")
    if sent.kind == "forward":
        yield facts.Handed(frame=ref(frame), to=ref(sent.frame))
