"""The inbox: what people are asked, and how an answer of theirs is read, checked and carried out."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from organism.errors import (
    ConfigurationError,
    HandlerFailedError,
    InvalidPayloadError,
    NoQuestionError,
    UnexpectedReplyError,
)
from organism.kernel.failures import failed_by
from organism.kernel.grants import limited
from organism.kernel.outcome import used
from organism.kernel.times import running_time
from organism.names import ORGANISM
from organism.payloads import Vocabulary, flaw, takes_lines
from organism.payloads.primitives import BudgetRequest
from organism.results import Question, Requester
from organism.threads.lineage import descendants, root_of
from organism.threads.routing import answer_names, answers_to, known_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from organism.kernel import Kernel
    from organism.kernel.state import State
    from organism.pump.pump import Pump
    from organism.settings import HandlerSettings
    from organism.threads.frames import Message, Thread
    from organism.threads.outcomes import Failure

GONE = "it was answered already, or nobody waits for it any more"
NEVER = "no thread that runs here has asked it"


def questions(kernel: Kernel) -> tuple[Question, ...]:
    """What people are asked right now, the oldest first; what is not durable yet is not asked yet."""
    gate = kernel.schedule.gate
    return tuple(
        question_of(
            kernel.state,
            message,
            answer_names(message.payload, message.route.answers),
            message.payload.unit if isinstance(message.payload, BudgetRequest) else None,
        )
        for message in kernel.state.inbox.questions
        if not root_of(message.thread).waits_turn and (gate is None or message.position <= gate.durable)
    )


def question_of(state: State, message: Message, answers: tuple[str, ...], unit: str | None) -> Question:
    """A question that waits, which may be answered with these payloads. ``unit`` is what it asks more of, if it is a BudgetRequest."""
    return Question(
        id=message.id,
        thread=root_of(message.thread).id,
        handler=message.to,
        payload=message.payload,
        sender=message.sender,
        asked_at=state.inbox.questions[message],
        labels=message.thread.labels,
        accounts=message.thread.accounts,
        answers=answers,
        requester=_requester(state, message, unit),
    )


def _requester(state: State, asked: Message, unit: str | None) -> Requester | None:
    """Who asks for more budget, where the organism asks a person whether it is granted."""
    asker = asked.frame.asker
    if unit is None or asked.sender != ORGANISM or asker is None:
        return None
    wanting = asker.message  # what the organism works on
    thread = limited(wanting.thread, unit) or wanting.thread
    limit = getattr(thread.budget.limits, unit)
    seconds = running_time(state, thread, state.now)
    return Requester(
        handler=wanting.sender,
        thread=thread.id,
        unit=unit,
        used=used(thread, unit, seconds),
        limit=None if limit is None else Decimal(str(limit)),
    )


async def answer(pump: Pump, id_: str, payload: Any, refuse: str | None) -> None:
    """Answers a question, or refuses to, and waits until that is written down. Raises as :func:`carried_out`, and TypeError for both."""
    message = waiting(pump.kernel, id_)
    if payload is not None and refuse is not None:
        raise TypeError(f"question {id_} is answered or refused, and not both")
    try:
        carried_out(pump.kernel, message, payload, refuse, pump.now())
    finally:
        pump.carry_out()
        await pump.settled(message.thread)


def waiting(kernel: Kernel, id_: str) -> Message:
    """The question of this id. Raises NoQuestionError where it does not wait, or does not wait any more."""
    found = kernel.people.question(id_)
    if found is not None:
        return found
    name, _, seq = id_.rpartition("/")
    thread = kernel.state.threads.get(name)
    was_there = thread is not None and seq.isdecimal() and 0 < int(seq) <= thread.seq
    raise NoQuestionError(id_, GONE if was_there else NEVER)


def carried_out(kernel: Kernel, message: Message, payload: Any, refuse: str | None, at: float) -> None:
    """Makes an answer, or a refusal (``refuse`` says why), what a question came to.

    Raises UnexpectedReplyError for what is no answer to it: then it still waits. HandlerFailedError: its thread has no message
    left that could bring the answer, and the question has failed by that.
    """
    if refuse is not None:
        kernel.people.refuse(message, refuse, at)
        return
    answers = answers_to(message.payload, kernel.routes[message.to].answers)
    if type(payload) not in answers:
        raise UnexpectedReplyError(payload, f"{_any(answers)} of '{message.to}'")
    if wrong := flaw(payload):
        raise UnexpectedReplyError(payload, f"{_any(answers)} of '{message.to}' that is complete ({wrong})")
    failure: Failure | None = kernel.people.answer(message, payload, at)
    if failure is not None:
        raise failed_by(failure)


def read(handler: HandlerSettings, asked: object, text: str, *, said: str) -> Any:
    """The answer that a person typed to what was ``asked``: XML, JSON, or plain text where a text takes it. ``said`` is where.

    Raises ConfigurationError, with what the handler answers with.
    """
    expect = () if handler.human is None else answers_to(asked, handler.human.replies)
    try:
        return Vocabulary(expect).decode_text(text, expect)
    except InvalidPayloadError as error:
        head = f"{said}: {' '.join(str(error).split())}"
        raise ConfigurationError(
            [head, f"'{handler.name}' answers with:", *takes_lines(expect, known_of(asked))]
        ) from error


def typed(
    kernel: Kernel,
    handlers: Mapping[str, HandlerSettings],
    id_: str | None,
    text: str | None,
    refuse: str | None,
    at: float,
) -> str:
    """Answers a question as somebody typed it, or refuses to, and says so.

    Raises ConfigurationError for what is no answer to it, where it does not wait, and where its thread could not bear the answer.
    """
    try:
        message = waiting(kernel, id_ or "")
        asked, said = message.payload, f"question {id_}"
        payload = None if refuse is not None else read(handlers[message.to], asked, text or "", said=said)
        carried_out(kernel, message, payload, refuse, at)
    except (NoQuestionError, HandlerFailedError) as error:
        raise ConfigurationError([str(error)]) from error
    return f"question {id_} is {'answered' if refuse is None else 'refused'}"


def unrest(kernel: Kernel, root: Thread, at: float) -> None:
    """A thread on which nobody works stands still no more once its people have answered everything."""
    threads = list(descendants(root))
    if not any(map(kernel.state.inbox.of, threads)):
        for thread in threads:
            kernel.people.go_on(thread, at)


def _any(classes: Collection[type]) -> str:
    return " or ".join(each.__name__ for each in classes)
