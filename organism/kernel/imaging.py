"""Snapshots, first half: the image of a live root thread or conversation. Restored, it equals what its whole record folds to (R20)."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from attrs import evolve

from organism.budget.claims import six
from organism.kernel.outcome import records_below
from organism.kernel.prompts import prompts_of, reports_of
from organism.kernel.recall import Done, Times
from organism.kernel.steps import ref, ref_of
from organism.record.images import (
    ConversationImage,
    CutShort,
    FrameImage,
    HoldImage,
    Image,
    MessageImage,
    NodeImage,
    Recalled,
    ThreadImage,
)
from organism.threads.frames import Ask, Conversation, Frame, Message, Thread
from organism.threads.lineage import descendants
from organism.threads.outcomes import DeliveryWarnings, Ending, Outlay, Troubles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.budget.node import Node
    from organism.kernel.holds import Hold
    from organism.kernel.state import State
    from organism.threads.outcomes import Warned


def image_of(state: State, whole: Thread | Conversation) -> Image:
    """The image of a live root thread with all below it, or of a conversation with its turns. Some of that is kept only while facts are recorded."""
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
    """Adds a frame, after those that it refers to: as many as a thread is deep, which is more than Python calls may be nested."""
    waiting = [] if frame is None or frame in frames else [frame]
    while waiting:
        each = waiting[-1]
        lacking = [of for of in (each.thread.owner, each.above, each.parent) if of is not None and of not in frames]
        if lacking:
            waiting += lacking
        else:
            frames[waiting.pop()] = None


def _of_conversation(conversation: Conversation) -> ConversationImage:
    return ConversationImage(
        conversation=conversation.id,
        budget=conversation.budget,
        before=conversation.before,
        node=_of_node(conversation.node),
        # While a turn runs, its thread has the state.
        state={} if conversation.turns else {to: dict(kept) for to, kept in (conversation.state or {}).items()},
        calls=conversation.calls,
        seconds=conversation.seconds,
        turns=tuple(turn.id for turn in conversation.turns),
        accounts=conversation.accounts,
        unheard={handler: tuple(warned) for handler, warned in (conversation.unheard or {}).items()},
        reports=() if conversation.turns else reports_of(conversation),
        prompts=() if conversation.turns else prompts_of(conversation),
    )


def _of_thread(state: State, thread: Thread) -> ThreadImage:
    troubles, outlay, ending = thread.troubles or Troubles(), thread.outlay or Outlay(), thread.ending or Ending()
    return ThreadImage(
        thread=thread.id,
        kind=thread.kind,
        handler=thread.handler,
        budget=thread.budget,
        owner=ref(thread.owner),
        labels=thread.labels,
        accounts=() if thread.conversation is not None or thread.owner is not None else thread.accounts,
        opened_at=thread.opened_at,
        paused_at=thread.paused_at,
        waits_turn=thread.waits_turn,
        seq=thread.seq,
        calls=thread.calls,
        node=_of_node(thread.node),
        records=records_below(thread),
        replies=tuple(thread.replies),
        failures=tuple(troubles.failures or ()),
        warnings=_copies(troubles.warnings or ()),
        pending={handler: _copies(warned) for handler, warned in (troubles.pending or {}).items()},
        state={handler: dict(state) for handler, state in (thread.state or {}).items()},
        partial=outlay.partial,
        calls_like=outlay.calls_like,
        exhausted=ending.exhausted,
        stopping=ending.stopping,
        closing=ending.closing,
        last_due=ending.last_due,
        graced=ending.graced,
        time_fired=thread.time_fired,
        stands_since=state.inbox.resting.get(thread),
        granted=tuple((outlay.granted or {}).items()),
        estimates=tuple(outlay.estimates or ()),
        letter=thread.letter or None,
        reports=reports_of(thread),
        prompts=prompts_of(thread),
        ring=None if state.rings is None else state.rings.image(thread),
    )


def _of_node(node: Node) -> NodeImage:
    details, own = tuple(node.details), tuple(node.details_own)
    return NodeImage(
        used=six(node.used),
        own=six(node.own),
        held=six(node.held),
        overdraft=six(node.overdraft),
        details=(details[0], details[1], details[2]),
        details_own=(own[0], own[1], own[2]),
        estimated=node.estimated,
        estimated_own=node.estimated_own or None,
        unpriced=node.unpriced or None,
        unpriced_own=node.unpriced_own or None,
        fired=tuple(tuple(sorted(levels)) for levels in node.fired),
        runways=node.runways,
    )


def _of_frame(frame: Frame) -> FrameImage:
    asker = frame.asker
    return FrameImage(
        frame=ref(frame),
        handler=frame.handler,
        parent=ref(frame.parent),
        above=ref(frame.above),
        depth=frame.depth,
        top=frame.top,
        open=frame.open > 0,
        answered=frame.answered,
        asker=None if asker is None else ref_of(asker.message),
        waits=asker is not None and not asker.done,
    )


def _of_message(message: Message, asked_at: float | None) -> MessageImage:
    warnings = message.warned or DeliveryWarnings()
    return MessageImage(
        message=ref_of(message),
        to=message.to,
        payload=message.payload,
        sender=message.sender,
        kind=message.kind,
        frame=ref(message.frame),
        dropped=message.dropped,
        told=_copies(warnings.told),
        telling=_copies(warnings.telling),
        heard=_copies(warnings.heard),
        recalled=tuple(_of_known(key, answer) for key, answer in (message.known or {}).items()),
        asked_at=asked_at,
        tries=message.tries,
        idempotency=message.idempotency or None,
    )


def _copies(warned: Sequence[Warned]) -> tuple[Warned, ...]:
    """Copies of warnings: who was told of them may still change, and an image is of one instant."""
    return tuple(evolve(each) for each in warned)


def _of_known(key: str, answer: Any) -> Recalled:
    if isinstance(answer, Ask):
        return Recalled(key=key, answer=answer.answer) if answer.done else Recalled(key=key, frame=ref(answer.frame))
    if isinstance(answer, str):
        return Recalled(key=key, thread=answer)
    if isinstance(answer, Times):
        return Recalled(key=key, times=tuple(answer.read))
    if isinstance(answer, Done):
        return Recalled(key=key, done=answer.amount, text=answer.text)
    if isinstance(answer, CutShort):
        return Recalled(key=key, cut=answer)
    text, kept = answer
    return Recalled(key=key, text=text, kept=kept)


def _of_hold(hold: Hold, *, is_open: bool) -> HoldImage:
    return HoldImage(
        hold=hold.id,
        thread=hold.thread.id,
        under=_living(hold.thread).id,
        seq=hold.seq,
        need=six(hold.need),
        output=hold.output,
        alias=hold.alias,
        backend=hold.backend,
        attempt=hold.attempt,
        grace=hold.grace,
        streamed=hold.streamed,
        held_at=hold.held_at,
        tags=hold.tags,
        asked=hold.asked or None,
        handler="" if is_open else hold.handler,
        labels=hold.thread.labels if hold.thread.labels and _living(hold.thread).ended else None,
    )


def _living(thread: Thread) -> Thread:
    while thread.ended and thread.owner is not None:
        thread = thread.owner.thread
    return thread
