"""A root thread as a frozen image, and back: a shortcut through its record that changes nothing of what follows (R20)."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from organism.budget.claims import NOTHING
from organism.budget.tree import aim
from organism.frames import Ask, Frame, Message, Thread, descendants
from organism.images import FrameImage, HoldImage, Image, MessageImage, NodeImage, Recalled, ThreadImage
from organism.kernel.calls import add_hold
from organism.kernel.holds import Hold

if TYPE_CHECKING:
    from organism.budget.claims import Vector
    from organism.budget.tree import Node
    from organism.frames import Warned
    from organism.images import Ref
    from organism.kernel.index import Index
    from organism.kernel.state import State


def image_of(state: State, root: Thread) -> Image:
    """All that lasts of a live root thread and of what is below it. It is known while facts are recorded."""
    threads = list(descendants(root))
    messages = [message for thread in threads for message in state.open_messages(thread)]
    frames: dict[Frame, None] = {}
    for frame in chain((message.frame for message in messages), (thread.owner for thread in threads)):
        _collect(frames, frame)
    holds = [hold for hold in state.holds.values() if hold.root == root.id]
    return Image(
        threads=tuple(_of_thread(thread) for thread in threads),
        frames=tuple(_of_frame(frame) for frame in frames),
        messages=tuple(_of_message(message) for message in messages),
        holds=tuple(_of_hold(hold) for hold in holds),
    )


def _collect(frames: dict[Frame, None], frame: Frame | None) -> None:
    """Adds a frame behind those that it refers to."""
    if frame is not None and frame not in frames:
        _collect(frames, frame.parent)
        _collect(frames, frame.above)
        _collect(frames, frame.thread.owner)
        frames[frame] = None


def _ref(frame: Frame | None) -> Ref | None:
    return None if frame is None else (frame.thread.id, frame.seq)


def _of_thread(thread: Thread) -> ThreadImage:
    return ThreadImage(
        thread=thread.id,
        kind=thread.kind,
        handler=thread.handler,
        budget=thread.budget,
        owner=_ref(thread.owner),
        labels=thread.labels,
        opened_at=thread.opened_at,
        paused_at=thread.paused_at,
        seq=thread.seq,
        calls=thread.calls,
        node=_of_node(thread.node),
        records=tuple(thread.records or ()),
        replies=tuple(thread.replies),
        failures=tuple(thread.failures or ()),
        warnings=tuple(thread.warnings or ()),
        pending={handler: tuple(warned) for handler, warned in (thread.pending or {}).items()},
        state={handler: dict(state) for handler, state in (thread.state or {}).items()},
        partial=thread.partial,
        calls_like=thread.calls_like,
        exhausted=thread.exhausted,
        stopping=thread.stopping,
        closing=thread.closing,
        last_due=thread.last_due,
        graced=thread.graced,
        time_fired=thread.time_fired,
    )


def _of_node(node: Node) -> NodeImage:
    details, own = tuple(node.details), tuple(node.details_own)
    return NodeImage(
        used=_vector(node.used),
        own=_vector(node.own),
        held=_vector(node.held),
        overdraft=_vector(node.overdraft),
        details=(details[0], details[1], details[2]),
        details_own=(own[0], own[1], own[2]),
        estimated=node.estimated,
        fired=tuple(tuple(sorted(levels)) for levels in node.fired),
        runways=node.runways,
    )


def _vector(amounts: list[int]) -> Vector:
    tokens, given, said, cost, calls, messages = amounts
    return tokens, given, said, cost, calls, messages


def _of_frame(frame: Frame) -> FrameImage:
    asker = frame.asker
    return FrameImage(
        frame=(frame.thread.id, frame.seq),
        handler=frame.handler,
        parent=_ref(frame.parent),
        above=_ref(frame.above),
        depth=frame.depth,
        top=frame.top,
        open=frame.open > 0,
        answered=frame.answered,
        asker=None if asker is None else (asker.message.thread.id, asker.message.seq),
        waits=asker is not None and not asker.done,
    )


def _of_message(message: Message) -> MessageImage:
    return MessageImage(
        message=(message.thread.id, message.seq),
        to=message.to,
        payload=message.payload,
        sender=message.sender,
        kind=message.kind,
        frame=(message.frame.thread.id, message.frame.seq),
        graced=message.graced,
        dropped=message.dropped,
        told=tuple(message.told or ()),
        recalled=tuple(_of_known(key, answer) for key, answer in (message.known or {}).items()),
    )


def _of_known(key: str, answer: Any) -> Recalled:
    if isinstance(answer, Ask):
        return Recalled(key=key, answer=answer.answer) if answer.done else Recalled(key=key, frame=_ref(answer.frame))
    if isinstance(answer, str):
        return Recalled(key=key, thread=answer)
    text, kept = answer
    return Recalled(key=key, text=text, kept=kept)


def _of_hold(hold: Hold) -> HoldImage:
    return HoldImage(
        hold=hold.id,
        thread=hold.thread.id,
        under=_living(hold.thread).id,
        seq=0 if hold.message is None else hold.message.seq,
        need=hold.need,
        output=hold.output,
        alias=hold.alias,
        backend=hold.backend,
        attempt=hold.attempt,
        grace=hold.grace,
        streamed=hold.streamed,
        held_at=hold.held_at,
    )


def _living(thread: Thread) -> Thread:
    while thread.ended and thread.owner is not None:
        thread = thread.owner.thread
    return thread


# And back


def restore(state: State, index: Index, warned: dict[Ref, Warned], image: Image) -> dict[str, Thread]:
    """Makes an image part of a state in which none of its threads lives. The organism's own sums are not in it.

    ``index`` gets its frames and messages, ``warned`` its warnings by (root thread, number). Gives the threads that have ended and
    whose calls are still out: the living thread above them stands for each.
    """
    root = image.threads[0].thread
    frames = _Frames(state, index, image)
    for thread in image.threads:
        # A sub-thread hangs on a frame of a thread above it, which stands before it.
        _restore_thread(state, None if thread.owner is None else frames.made_of(thread.owner), thread)
        for raised in chain(thread.warnings, *thread.pending.values()):
            warned.setdefault((root, raised.seq), raised)
    for frame in image.frames:
        frames.made_of(frame.frame)
    for message in image.messages:
        _restore_message(state, index, warned, root, message)
    for frame in image.frames:
        _restore_asker(state, index, frames.made_of(frame.frame), frame)
    for message in image.messages:
        _restore_known(index, message)
    for thread in image.threads:
        _share_warnings(state.threads[thread.thread], root, warned)
    for hold in image.holds:
        _restore_hold(state, index, root, hold)
    return {each.thread: state.threads[each.under] for each in image.holds if each.under != each.thread}


def _restore_thread(state: State, owner: Frame | None, image: ThreadImage) -> None:
    kind: Any = image.kind
    thread = state.enter_thread(image.thread, kind, image.handler, image.budget, owner, image.labels)
    thread.opened_at, thread.paused_at = image.opened_at, image.paused_at
    thread.seq, thread.calls = image.seq, image.calls
    thread.records = list(image.records) or None
    thread.replies = [(handler, payload) for handler, payload in image.replies]
    thread.failures = list(image.failures) or None
    thread.warnings = list(image.warnings) or None
    thread.pending = {handler: list(warned) for handler, warned in image.pending.items()} or None
    thread.state = {handler: dict(kept) for handler, kept in image.state.items()} or None
    thread.partial, thread.calls_like = image.partial, image.calls_like
    thread.exhausted, thread.stopping = image.exhausted, image.stopping
    thread.closing, thread.last_due, thread.graced = image.closing, image.last_due, image.graced
    thread.time_fired = image.time_fired
    node, figures = thread.node, image.node
    node.used, node.own, node.held = list(figures.used), list(figures.own), list(figures.held)
    node.overdraft = list(figures.overdraft)
    node.details, node.details_own = list(figures.details), list(figures.details_own)
    node.estimated, node.runways = figures.estimated, figures.runways
    node.fired = [frozenset(levels) for levels in figures.fired]
    for unit in range(len(NOTHING)):
        aim(node, unit)


class _Frames:
    """The frames of an image, each made with those that it refers to."""

    def __init__(self, state: State, index: Index, image: Image) -> None:
        self._state = state
        self._index = index
        self._images = {each.frame: each for each in image.frames}
        self._made: dict[Ref, Frame] = {}

    def made_of(self, ref: Ref) -> Frame:
        """The frame of this name."""
        known = self._made.get(ref)
        if known is not None:
            return known
        image = self._images[ref]
        parent = None if image.parent is None else self.made_of(image.parent)
        above = None if image.above is None else self.made_of(image.above)
        thread = self._state.threads[ref[0]]
        frame = Frame(thread, ref[1], image.handler, parent, image.depth, None, above=above, top=image.top)
        frame.answered = image.answered
        self._made[ref] = frame
        if image.open:
            self._state.count_up(frame)
            self._index.opened(frame)
        return frame


def _restore_message(state: State, index: Index, warned: dict[Ref, Warned], root: str, image: MessageImage) -> None:
    frame = index.frames[image.frame]
    message = Message(
        state.threads[image.message[0]], image.message[1], image.to, image.payload, image.sender, frame, image.kind
    )
    message.graced, message.dropped = image.graced, image.dropped
    message.told = [warned.setdefault((root, each.seq), each) for each in image.told] or None
    frame.open += 1
    index.posted(message)
    state.schedule.put(message)


def _restore_asker(state: State, index: Index, frame: Frame, image: FrameImage) -> None:
    if image.asker is None:
        return
    message = index.messages.get(image.asker)
    if message is None:  # it is over, and only what is late needs to know that it asked
        id_, seq = image.asker
        message = Message(state.threads[id_], seq, "", None, "", frame, "ask")
    ask = frame.asker = Ask(message)
    ask.frame, ask.done = frame, not image.waits
    if image.waits:
        message.asks = [*(message.asks or ()), ask]


def _restore_known(index: Index, image: MessageImage) -> None:
    message = index.messages[image.message]
    known: dict[str, Any] = {}
    for each in image.recalled:
        if each.thread is not None:
            known[each.key] = each.thread
        elif each.text is not None:
            known[each.key] = (each.text, each.kept)
        elif each.frame is not None:
            known[each.key] = index.frames[each.frame].asker
        else:
            known[each.key] = ask = Ask(message)
            ask.done, ask.answer = True, each.answer
    message.known = known or None


def _share_warnings(thread: Thread, root: str, warned: dict[Ref, Warned]) -> None:
    """A warning that waits to be told is the one that results show."""
    if thread.pending is not None:
        thread.pending = {to: [warned[root, each.seq] for each in queue] for to, queue in thread.pending.items()}
    if thread.warnings is not None:
        thread.warnings = [warned[root, each.seq] for each in thread.warnings]


def _restore_hold(state: State, index: Index, root: str, image: HoldImage) -> None:
    thread = state.threads[image.under]
    exhausted, graced = thread.exhausted, thread.graced
    hold = Hold(
        id=image.hold, thread=thread, message=index.messages.get((image.thread, image.seq)), path=thread.node.path,
        need=image.need, output=image.output, clamped=False, alias=image.alias, backend=image.backend,
        attempt=image.attempt, grace=image.grace, streamed=image.streamed, held_at=image.held_at, root=root,
    )  # fmt: skip
    add_hold(state, hold)
    thread.exhausted, thread.graced = exhausted, graced
    # Its own nodes have it in their figures.
    state.root.held = [have + more for have, more in zip(state.root.held, image.need, strict=True)]


__all__ = ["image_of", "restore"]
