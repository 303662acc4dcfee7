"""A root thread as a frozen image, and back: a shortcut through its record that changes nothing of what follows (R20)."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from attrs import evolve

from organism.budget.caps import caps
from organism.budget.claims import NOTHING
from organism.budget.tree import Node, aim
from organism.frames import Ask, Conversation, Frame, Message, Thread, chain_of, descendants, root_of
from organism.images import (
    ConversationImage,
    FrameImage,
    HoldImage,
    Image,
    MessageImage,
    NodeImage,
    Recalled,
    ThreadImage,
)
from organism.kernel.calls import add_hold
from organism.kernel.conversations import enter_conversation
from organism.kernel.holds import Hold
from organism.kernel.opening import enter_thread
from organism.kernel.windows import path_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.budget.claims import Vector
    from organism.frames import Warned
    from organism.images import Ref
    from organism.kernel.index import Index
    from organism.kernel.state import State
from organism.kernel.recall import Done, Times
from organism.settings import BudgetSettings


def image_of(state: State, whole: Thread | Conversation) -> Image:
    """All that lasts of a live root thread and of what is below it, or of a conversation and its turns. It is known while facts
    are recorded.
    """
    conversation = whole if isinstance(whole, Conversation) else None
    roots = [whole] if isinstance(whole, Thread) else list(whole.turns)
    chained = whole.chain if isinstance(whole, Conversation) else whole.id
    threads = [thread for root in roots for thread in descendants(root)]
    messages = [message for thread in threads for message in state.open_messages(thread)]
    frames: dict[Frame, None] = {}
    for frame in chain((message.frame for message in messages), (thread.owner for thread in threads)):
        _collect(frames, frame)
    holds = [hold for hold in state.holds.values() if hold.chain == chained]
    open_ones = set(messages)
    return Image(
        threads=tuple(_of_thread(state, thread) for thread in threads),
        frames=tuple(_of_frame(frame) for frame in frames),
        messages=tuple(_of_message(message, state.inbox.questions.get(message)) for message in messages),
        holds=tuple(_of_hold(hold, is_open=hold.message in open_ones) for hold in holds),
        conversation=None if conversation is None else _of_conversation(conversation),
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


def _of_conversation(conversation: Conversation) -> ConversationImage:
    return ConversationImage(
        conversation=conversation.id,
        budget=conversation.budget,
        before=conversation.before,
        node=_of_node(conversation.node),
        # While a turn runs, what is remembered is that turn's.
        state={} if conversation.turns else {to: dict(kept) for to, kept in (conversation.state or {}).items()},
        calls=conversation.calls,
        seconds=conversation.seconds,
        turns=tuple(turn.id for turn in conversation.turns),
        accounts=conversation.accounts,
        unheard={handler: tuple(warned) for handler, warned in (conversation.unheard or {}).items()},
    )


def _of_thread(state: State, thread: Thread) -> ThreadImage:
    return ThreadImage(
        thread=thread.id,
        kind=thread.kind,
        handler=thread.handler,
        budget=thread.budget,
        owner=_ref(thread.owner),
        labels=thread.labels,
        accounts=() if thread.conversation is not None or thread.owner is not None else thread.accounts,
        opened_at=thread.opened_at,
        paused_at=thread.paused_at,
        waits_turn=thread.waits_turn,
        seq=thread.seq,
        calls=thread.calls,
        node=_of_node(thread.node),
        records=tuple(thread.records or ()),
        replies=tuple(thread.replies),
        failures=tuple(thread.failures or ()),
        warnings=_copies(thread.warnings),
        pending={handler: _copies(warned) for handler, warned in (thread.pending or {}).items()},
        state={handler: dict(state) for handler, state in (thread.state or {}).items()},
        partial=thread.partial,
        calls_like=thread.calls_like,
        exhausted=thread.exhausted,
        stopping=thread.stopping,
        closing=thread.closing,
        last_due=thread.last_due,
        graced=thread.graced,
        time_fired=thread.time_fired,
        stands_since=state.inbox.resting.get(thread),
        granted=tuple((thread.granted or {}).items()),
        estimates=tuple(thread.estimates or ()),
        ring=None if state.rings is None else state.rings.image(thread),
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
        estimated_own=node.estimated_own or None,
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


def _of_message(message: Message, asked_at: float | None) -> MessageImage:
    return MessageImage(
        message=(message.thread.id, message.seq),
        to=message.to,
        payload=message.payload,
        sender=message.sender,
        kind=message.kind,
        frame=(message.frame.thread.id, message.frame.seq),
        graced=message.graced,
        dropped=message.dropped,
        told=_copies(message.told),
        recalled=tuple(_of_known(key, answer) for key, answer in (message.known or {}).items()),
        asked_at=asked_at,
    )


def _copies(warned: Sequence[Warned] | None) -> tuple[Warned, ...]:
    """Who was told of a warning is still to change: an image is of one instant."""
    return tuple(evolve(each) for each in warned or ())


def _of_known(key: str, answer: Any) -> Recalled:
    if isinstance(answer, Ask):
        return Recalled(key=key, answer=answer.answer) if answer.done else Recalled(key=key, frame=_ref(answer.frame))
    if isinstance(answer, str):
        return Recalled(key=key, thread=answer)
    if isinstance(answer, Times):
        return Recalled(key=key, times=answer.read)
    if isinstance(answer, Done):
        return Recalled(key=key, done=answer.amount, text=answer.text)
    text, kept = answer
    return Recalled(key=key, text=text, kept=kept)


def _of_hold(hold: Hold, *, is_open: bool) -> HoldImage:
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
        tags=hold.tags,
        handler="" if hold.message is None or is_open else hold.message.to,
    )


def _living(thread: Thread) -> Thread:
    while thread.ended and thread.owner is not None:
        thread = thread.owner.thread
    return thread


# And back


def restore(state: State, index: Index, warned: dict[Ref, Warned], image: Image) -> dict[str, Thread]:
    """Makes an image part of a state in which none of its threads lives. The organism's own sums are not in it.

    ``index`` gets its frames and messages, ``warned`` its warnings by (root thread, number). Gives the threads that have ended and
    whose calls are still out.
    """
    conversation = None if image.conversation is None else _restore_conversation(state, image.conversation)
    frames = _Frames(state, index, image)
    _restore_threads(state, frames, warned, image, conversation)
    for frame in image.frames:
        frames.made_of(frame.frame)
    for message in image.messages:
        _restore_message(state, index, warned, message)
    for frame in image.frames:
        _restore_asker(state, index, frames.made_of(frame.frame), frame)
    for message in image.messages:
        _restore_known(index, message)
    for thread in image.threads:
        _share_warnings(state.threads[thread.thread], warned)
    parted: dict[str, Thread] = {}
    for hold in image.holds:
        thread_of = state.threads.get(hold.thread) or parted.get(hold.thread) or _gone(state, conversation, hold)
        _restore_hold(state, index, thread_of, hold)
        if thread_of.ended:
            parted[hold.thread] = thread_of
    return parted


def _restore_threads(
    state: State, frames: _Frames, warned: dict[Ref, Warned], image: Image, conversation: Conversation | None
) -> None:
    for thread in image.threads:
        # A sub-thread hangs on a frame of a thread above it, which stands before it.
        owner = None if thread.owner is None else frames.made_of(thread.owner)
        made = _restore_thread(state, owner, thread, None if owner is not None else conversation)
        for raised in chain(thread.warnings, *thread.pending.values()):
            warned.setdefault((root_of(made).id, raised.seq), evolve(raised))
    if conversation is not None and image.conversation is not None:
        conversation.turns.extend(state.threads[turn] for turn in image.conversation.turns)
        if conversation.turns:
            conversation.state = conversation.turns[0].state


def _restore_conversation(state: State, image: ConversationImage) -> Conversation:
    conversation = enter_conversation(state, image.conversation, image.budget, image.before, image.accounts)
    conversation.state = {handler: dict(kept) for handler, kept in image.state.items()} or None
    conversation.calls, conversation.seconds = image.calls, image.seconds
    conversation.unheard = {handler: list(warned) for handler, warned in image.unheard.items()} or None
    _restore_figures(conversation.node, image.node)
    return conversation


def _gone(state: State, conversation: Conversation | None, image: HoldImage) -> Thread:
    """A thread that has ended, for a call of it that is still out: what that costs is charged to those above that live."""
    budget = BudgetSettings()
    living = state.threads.get(image.under)
    above = living.node if living is not None else state.root if conversation is None else conversation.node
    policy = above.policy
    node = Node("thread", caps(budget.limits, policy, keeps_back=False), policy, thread=image.thread, above=above.path)
    owner = None if living is None else Frame(living, 0, living.handler, None, 0, None, above=None, top=True)
    labels = dict[str, str]() if living is None else living.labels
    thread = Thread(image.thread, "root" if owner is None else "call", "", node, owner, labels, state.now, budget)
    thread.ended = True
    if owner is None:
        thread.conversation = conversation
        thread.accounts = () if conversation is None else conversation.accounts
    return thread


def _restore_thread(state: State, owner: Frame | None, image: ThreadImage, conversation: Conversation | None) -> Thread:
    kind: Any = image.kind
    thread = enter_thread(
        state, image.thread, kind, image.handler, image.budget, owner, image.labels, conversation, image.accounts
    )
    thread.opened_at, thread.paused_at, thread.waits_turn = image.opened_at, image.paused_at, image.waits_turn
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
    if image.stands_since is not None:
        state.inbox.resting[thread] = image.stands_since
    thread.granted, thread.estimates = dict(image.granted) or None, list(image.estimates) or None
    if image.ring is not None and state.rings is not None:
        state.rings.restore(thread, image.ring)
    _restore_figures(thread.node, image.node)
    return thread


def _restore_figures(node: Node, figures: NodeImage) -> None:
    node.used, node.own, node.held = list(figures.used), list(figures.own), list(figures.held)
    node.overdraft = list(figures.overdraft)
    node.details, node.details_own = list(figures.details), list(figures.details_own)
    node.estimated, node.runways = figures.estimated, figures.runways
    node.estimated_own = bool(figures.estimated_own)
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


def _restore_message(state: State, index: Index, warned: dict[Ref, Warned], image: MessageImage) -> None:
    frame = index.frames[image.frame]
    root = root_of(frame.thread).id
    message = Message(
        state.threads[image.message[0]], image.message[1], image.to, image.payload, image.sender, frame, image.kind
    )
    message.graced, message.dropped = image.graced, image.dropped
    message.told = [warned.setdefault((root, each.seq), evolve(each)) for each in image.told] or None
    frame.open += 1
    index.posted(message)
    state.queue(message, state.now if image.asked_at is None else image.asked_at)


def _restore_asker(state: State, index: Index, frame: Frame, image: FrameImage) -> None:
    if image.asker is None:
        return
    message = index.messages.get(image.asker)
    if message is None:  # it is over, and only what is late needs to know that it asked
        id_, seq = image.asker
        message = Message(state.threads[id_], seq, "", None, "", frame, "ask")
    ask = frame.asker = Ask(message)
    ask.frame, ask.done = frame if image.waits else None, not image.waits
    if image.waits:
        message.asks = [*(message.asks or ()), ask]


def _restore_known(index: Index, image: MessageImage) -> None:
    message = index.messages[image.message]
    known: dict[str, Any] = {}
    for each in image.recalled:
        if each.thread is not None:
            known[each.key] = each.thread
        elif each.times:
            known[each.key] = Times(each.times)
        elif each.done is not None:
            known[each.key] = Done(each.done, each.text or "")
        elif each.text is not None:
            known[each.key] = (each.text, each.kept)
        elif each.frame is not None:
            known[each.key] = index.frames[each.frame].asker
        else:
            known[each.key] = ask = Ask(message)
            ask.done, ask.answer = True, each.answer
    message.known = known or None


def _share_warnings(thread: Thread, warned: dict[Ref, Warned]) -> None:
    """A warning that waits to be told is the one that results show."""
    root = root_of(thread).id
    if thread.pending is not None:
        thread.pending = {to: [warned[root, each.seq] for each in queue] for to, queue in thread.pending.items()}
    if thread.warnings is not None:
        thread.warnings = [warned[root, each.seq] for each in thread.warnings]


def _restore_hold(state: State, index: Index, thread: Thread, image: HoldImage) -> None:
    exhausted, graced = thread.exhausted, thread.graced
    message = index.messages.get((image.thread, image.seq))
    if message is None and image.handler:  # its delivery is over, and only who made it is still to be known
        frame = Frame(thread, image.seq, image.handler, None, 0, None, above=None, top=True)
        message = Message(thread, image.seq, image.handler, None, "", frame, "send")
    hold = Hold(
        id=image.hold, thread=thread, message=message, path=thread.node.path,
        need=image.need, output=image.output, clamped=False, alias=image.alias, backend=image.backend,
        attempt=image.attempt, grace=image.grace, streamed=image.streamed, held_at=image.held_at, chain=chain_of(thread),
        tags=image.tags,
    )  # fmt: skip
    add_hold(state, hold)
    thread.exhausted, thread.graced = exhausted, graced
    for node in path_of(hold):
        if node.window is not None:  # the others have it in their figures
            node.held = [have + more for have, more in zip(node.held, image.need, strict=True)]


__all__ = ["image_of", "restore"]
