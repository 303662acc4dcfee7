"""Snapshots, second half: restoring an image. The state is the same as after folding the facts that the image stands for (R20)."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from attrs import evolve

from organism.budget.caps import caps
from organism.budget.claims import NOTHING
from organism.budget.node import Node, aim
from organism.kernel.charges import add_hold
from organism.kernel.conversations import enter_conversation
from organism.kernel.holds import Hold
from organism.kernel.opening import enter_thread
from organism.kernel.prompts import recalled
from organism.kernel.recall import Done, Times
from organism.kernel.retries import take_back
from organism.kernel.windows import path_of
from organism.settings import BudgetSettings
from organism.threads.frames import Ask, Conversation, Frame, Message, Thread
from organism.threads.lineage import chain_of, root_of
from organism.threads.outcomes import Ending, Memory, Outlay, Troubles

if TYPE_CHECKING:
    from organism.kernel.index import Index
    from organism.kernel.state import State
    from organism.record.images import (
        ConversationImage,
        FrameImage,
        HoldImage,
        Image,
        MessageImage,
        NodeImage,
        Ref,
        ThreadImage,
    )
    from organism.threads.outcomes import Warned


def restore(state: State, index: Index, warned: dict[Ref, Warned], image: Image) -> dict[str, Thread]:
    """Restores an image into a state in which none of its threads lives. It holds no totals, and no figures of shared budgets.

    ``index`` gets its open frames and messages, ``warned`` its warnings by (root thread's id, number). Returns the threads that have ended while
    calls of theirs are still open, by id.
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
        # A sub-thread refers to a frame of a thread above it, which precedes it in the image.
        owner = None if thread.owner is None else frames.made_of(thread.owner)
        made = _restore_thread(state, owner, thread, None if owner is not None else conversation)
        for raised in chain(thread.warnings, *thread.pending.values()):
            warned.setdefault((root_of(made).id, raised.seq), evolve(raised))
    if conversation is not None and image.conversation is not None:
        conversation.turns.extend(state.threads[turn] for turn in image.conversation.turns)


def _restore_conversation(state: State, image: ConversationImage) -> Conversation:
    conversation = enter_conversation(state, image.conversation, image.budget, image.before, image.accounts)
    conversation.state = {handler: Memory(kept) for handler, kept in image.state.items()} or None
    conversation.asked = recalled(image.reports, image.prompts)
    conversation.calls, conversation.seconds = image.calls, image.seconds
    conversation.unheard = {handler: list(warned) for handler, warned in image.unheard.items()} or None
    _restore_figures(conversation.node, image.node)
    return conversation


def _gone(state: State, conversation: Conversation | None, image: HoldImage) -> Thread:
    """A stand-in for a thread that has ended while a call of it is open: its charge goes to the live nodes above."""
    budget = BudgetSettings()
    living = state.threads.get(image.under)
    above = living.node if living is not None else state.root if conversation is None else conversation.node
    policy = above.policy
    scope = "thread" if image.under == image.thread else "sub-thread"
    node = Node(scope, caps(budget.limits, policy, keeps_back=False), policy, thread=image.thread, above=above.path)
    owner = None if living is None else Frame(living, 0, state.routes[living.handler], None, 0, None, None)
    labels = (image.labels or {}) if living is None else living.labels
    thread = Thread(image.thread, "root" if owner is None else "call", "", node, owner, labels, state.now, budget)
    thread.ended_at = state.now
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
    thread.replies = [(handler, payload) for handler, payload in image.replies] or ()
    thread.state = {handler: Memory(kept) for handler, kept in image.state.items()} or None
    thread.asked = recalled(image.reports, image.prompts)
    _restore_rest(thread, image)
    thread.time_fired, thread.letter = image.time_fired, bool(image.letter)
    if image.stands_since is not None:
        state.inbox.resting[thread] = image.stands_since
    if image.ring is not None and state.rings is not None:
        state.rings.restore(thread, image.ring)
    _restore_figures(thread.node, image.node)
    return thread


def _restore_rest(thread: Thread, image: ThreadImage) -> None:
    """Restores what only some threads have."""
    if image.records:
        thread.have_below().records = {each.thread: each for each in image.records}
    pending = {handler: list(warned) for handler, warned in image.pending.items()}
    troubles = Troubles(list(image.failures) or None, list(image.warnings) or None, pending or None)
    outlay = Outlay(image.partial, image.calls_like, dict(image.granted) or None, list(image.estimates) or None)
    ending = Ending(image.exhausted, image.closing, image.last_due, image.graced, image.stopping)
    thread.troubles = None if troubles == Troubles() else troubles
    thread.outlay = None if outlay == Outlay() else outlay
    thread.ending = None if ending == Ending() else ending


def _restore_figures(node: Node, figures: NodeImage) -> None:
    node.used, node.own, node.held = list(figures.used), list(figures.own), list(figures.held)
    node.overdraft = list(figures.overdraft)
    node.details, node.details_own = list(figures.details), list(figures.details_own)
    node.estimated, node.runways = figures.estimated, figures.runways
    node.estimated_own = bool(figures.estimated_own)
    node.unpriced, node.unpriced_own = bool(figures.unpriced), bool(figures.unpriced_own)
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
        waiting = [] if ref in self._made else [ref]
        while waiting:  # they may be more than Python calls may be nested
            image = self._images[waiting[-1]]
            lacking = [of for of in (image.above, image.parent) if of is not None and of not in self._made]
            if lacking:
                waiting += lacking
            elif waiting.pop() not in self._made:
                self._make(image)
        return self._made[ref]

    def _make(self, image: FrameImage) -> None:
        parent = None if image.parent is None else self._made[image.parent]
        above = None if image.above is None else self._made[image.above]
        id_, seq = image.frame
        frame = Frame(
            self._state.threads[id_], seq, self._state.routes[image.handler], parent, image.depth, None, above
        )
        frame.answered = image.answered
        self._made[image.frame] = frame
        if image.open:
            self._state.count_up(frame)
            self._index.opened(frame)


def _restore_message(state: State, index: Index, warned: dict[Ref, Warned], image: MessageImage) -> None:
    frame = index.frames[image.frame]
    root = root_of(frame.thread).id
    thread, seq = state.threads[image.message[0]], image.message[1]
    message = Message(thread, seq, state.routes[image.to], image.payload, image.sender, frame, image.kind)
    message.dropped = image.dropped
    if image.idempotency:
        message.be_known_as(image.idempotency)
    frame.open += 1
    index.posted(message)
    state.queue(message, state.now if image.asked_at is None else image.asked_at)
    if image.tries:
        take_back(state, message, image.tries)
    if image.told or image.telling or image.heard:
        warnings = message.have_dealings().have_warned()
        warnings.told, warnings.telling, warnings.heard = (
            tuple(warned.setdefault((root, each.seq), evolve(each)) for each in images)
            for images in (image.told, image.telling, image.heard)
        )


def _restore_asker(state: State, index: Index, frame: Frame, image: FrameImage) -> None:
    if image.asker is None:
        return
    message = index.messages.get(image.asker)
    if message is None:  # it is over: late replies only need to know that there was an asker
        id_, seq = image.asker
        message = Message(state.threads[id_], seq, state.routes[""], None, "", frame, "ask")
    ask = frame.asker = Ask(message)
    ask.frame, ask.done = frame if image.waits else None, not image.waits
    if image.waits:
        ask.first = index.messages.get(image.frame)  # a message that opens a frame has the same number
        message.have_dealings().wait_for(ask)


def _restore_known(index: Index, image: MessageImage) -> None:
    message = index.messages[image.message]
    known: dict[str, Any] = {}
    for each in image.recalled:
        if each.thread is not None:
            known[each.key] = each.thread
        elif each.times:
            known[each.key] = Times([*each.times])
        elif each.cut is not None:
            known[each.key] = each.cut
        elif each.done is not None:
            known[each.key] = Done(each.done, each.text or "")
        elif each.text is not None:
            known[each.key] = (each.text, each.kept)
        elif each.frame is not None:
            known[each.key] = index.frames[each.frame].asker
        else:
            known[each.key] = ask = Ask(message)
            ask.done, ask.answer = True, each.answer
    if known:
        message.have_dealings().known = known


def _share_warnings(thread: Thread, warned: dict[Ref, Warned]) -> None:
    """Makes warnings that wait to be told the same objects as those in the results, which note who was told."""
    root = root_of(thread).id
    troubles = thread.troubles
    if troubles is not None and troubles.pending is not None:
        troubles.pending = {to: [warned[root, each.seq] for each in queue] for to, queue in troubles.pending.items()}
    if troubles is not None and troubles.warnings is not None:
        troubles.warnings = [warned[root, each.seq] for each in troubles.warnings]


def _restore_hold(state: State, index: Index, thread: Thread, image: HoldImage) -> None:
    ending = None if thread.ending is None else evolve(thread.ending)
    message = index.messages.get((image.thread, image.seq))
    if message is None and image.handler:  # its delivery is over: a stand-in that only says whose call it was
        route = state.routes[image.handler]
        frame = Frame(thread, image.seq, route, None, 0, None, None)
        message = Message(thread, image.seq, route, None, "", frame, "send")
    hold = Hold(
        id=image.hold, thread=thread, message=message, path=thread.node.path,
        need=image.need, output=image.output, clamped=False, alias=image.alias, backend=image.backend,
        attempt=image.attempt, grace=image.grace, streamed=image.streamed, held_at=image.held_at, chain=chain_of(thread),
        tags=image.tags, asked=image.asked or "",
    )  # fmt: skip
    add_hold(state, hold)
    thread.ending = ending  # add_hold may have set it for a grace call; the image of the thread has the real one
    for node in path_of(hold):
        # Restored nodes have it in their figures; shared nodes and the stand-in of an ended thread do not.
        if node.window is not None or (thread.ended and node is thread.node):
            node.held = [have + more for have, more in zip(node.held, image.need, strict=True)]
