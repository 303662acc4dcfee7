"""Dead letters: messages that failed for good, as people and programs see them, and how they are sent again (R9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from organism.errors import BudgetExhaustedError, ConfigurationError, RoutingError
from organism.kernel import Kernel
from organism.names import CONVERSATION, excerpt
from organism.payloads.primitives import ORGANISM_ONLY
from organism.results import DeadMessage
from organism.works.conversations import Conversations

if TYPE_CHECKING:
    from collections.abc import Iterable

    from organism.kernel.conversations import Beginning
    from organism.pump.handles import ThreadHandle
    from organism.record.facts import Buried
    from organism.works.durable import Durable
    from organism.works.ingress import Ingress

GO_ON: Final = "'organism resume' lets it go on"
"""What is said where a change was written down and nobody works on the journal."""


def dead_message(fact: Buried) -> DeadMessage:
    """What a fact tells of a dead letter."""
    return DeadMessage(
        id=f"{fact.thread}/{fact.seq}",
        thread=fact.thread,
        handler=fact.handler,
        payload=fact.payload,
        sender=fact.sender,
        code=fact.failure.code,
        text=fact.failure.text,
        died_at=fact.at,
        attempts=fact.attempts,
        labels=fact.labels,
        accounts=fact.accounts,
        conversation=fact.conversation,
        retry=_retry_of(fact.thread, fact.seq),
    )


async def dead_messages(kernel: Kernel, durable: Durable | None) -> tuple[DeadMessage, ...]:
    """All dead letters of a journal on a disk, else the last of this process; the oldest first."""
    found: Iterable[Buried] = kernel.retries.letters.buried if durable is None else await durable.buried()
    return tuple(sorted(map(dead_message, found), key=lambda each: each.died_at))


async def retried(kernel: Kernel, durable: Durable | None, ingress: Ingress, id_: str) -> ThreadHandle:
    """Sends a dead letter again, from outside and in a new thread; one that was sent again before is not sent twice.

    Raises RoutingError where there is no such dead letter, or what it holds cannot be sent any more, and as
    :meth:`organism.organism.Organism.send`.
    """
    letter = _named(id_, await dead_messages(kernel, durable))
    return await ingress.send(
        letter.handler,
        letter.payload,
        budget=None,
        labels=dict(letter.labels),
        conversation=letter.conversation,
        accounts=None if letter.conversation else dict(each.split(":", 1) for each in letter.accounts),
        id=letter.retry,
    )


async def sent_before(durable: Durable, id_: str) -> str | None:
    """What is said of a dead letter that was sent again before; ``None`` where it was not, or there is none of that id."""
    thread, _, seq = id_.rpartition("/")
    again = _retry_of(thread, seq)
    if await durable.chain_of(again) is None:
        return None
    return f"dead letter {id_} was sent again before, in thread {again}: nothing was sent"


def _retry_of(thread: str, seq: int | str) -> str:
    """The thread that a dead letter is sent again in: its id makes that known again."""
    return f"retry-{thread}-{seq}"


async def retry_written_down(durable: Durable, id_: str) -> str:
    """Takes a dead letter in again where no process works on the journal: whoever resumes delivers it. Says what was done; one that was sent again
    before is not sent twice.

    Raises ConfigurationError where that cannot be, and JournalError.
    """
    try:
        letter = _named(id_, [dead_message(each) for each in await durable.buried()])
    except RoutingError as error:
        raise ConfigurationError([str(error)]) from None
    before = await sent_before(durable, letter.id)
    if before is not None:
        return before
    try:
        await _note(letter, durable)
    except RoutingError as error:
        raise ConfigurationError([f"dead letter {letter.id} cannot be sent again: {error}"]) from error
    return said_of(letter.id, letter.retry, f"; {GO_ON}")


async def _note(letter: DeadMessage, durable: Durable) -> None:
    """Writes down that a dead letter is taken in again. Raises RoutingError, ConfigurationError where nothing bears it, and JournalError."""
    settings = durable.settings

    async def note(chain: str, turn_of: Beginning | None, accounts: tuple[str, ...] = ()) -> None:
        def change(kernel: Kernel, at: float) -> None:
            kernel.accept(
                letter.retry,
                letter.handler,
                letter.payload,
                settings.budget,
                dict(letter.labels),
                at,
                turn_of=turn_of,
                accounts=accounts,
            )

        await durable.note(chain, change)

    if letter.conversation is None:
        try:
            return await note(letter.retry, None, letter.accounts)
        except BudgetExhaustedError as refused:
            raise _unborne(letter, refused) from refused
    seen = Kernel(settings)

    async def see(chain: str) -> list[ThreadHandle]:
        await durable.look_at(chain, seen)
        return []

    conversations = Conversations(settings, seen, durable, see)
    turn_of = await conversations.next_turn(letter.conversation)
    last = conversations.to_end_first(turn_of)
    if last is not None:
        why = f"conversation {turn_of.id} has used its messages up, and goes on in a fresh one once {last.id} has ended"
        raise ConfigurationError([f"dead letter {letter.id} cannot be sent again yet: {why}: 'organism resume' first"])
    try:
        await note(f"{CONVERSATION}{turn_of.id}", turn_of)
    except BudgetExhaustedError as refused:
        following = conversations.rotated(turn_of, refused)
        if following is None:
            raise _unborne(letter, refused, turn_of.id) from refused
        await note(f"{CONVERSATION}{following.id}", following)


def _unborne(letter: DeadMessage, refused: BudgetExhaustedError, conversation: str | None = None) -> ConfigurationError:
    way_out = "" if conversation is None else f"; 'organism add-budget {conversation} {refused.unit}=N' gives it more"
    return ConfigurationError([f"dead letter {letter.id} cannot be sent again: {refused}{way_out}"])


def said_of(id_: str, thread: str, more: str = "") -> str:
    """What is said of a dead letter that was sent again."""
    return f"dead letter {id_} is sent again, in thread {thread}{more}"


def _named(id_: str, letters: Iterable[DeadMessage]) -> DeadMessage:
    found = next((each for each in letters if each.id == id_), None)
    if found is None:
        raise RoutingError(f"there is no dead letter '{excerpt(id_, 80)}'; 'organism dead' lists all")
    sent: object = found.payload
    if type(sent) in ORGANISM_ONLY:
        raise RoutingError(f"dead letter {found.id} is a {type(sent).__name__}: only the organism itself sends one")
    return found
