"""The changes that are asked for, made to threads that live here or were left by an earlier process, and what is said of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import asdict

from organism.errors import ConfigurationError
from organism.kernel.charges import abandoned_charge
from organism.names import ACCOUNT, chain_of_limits, told
from organism.pump.accounts import CEILING
from organism.pump.handles import raised
from organism.settings import UNITS
from organism.threads.frames import Conversation
from organism.threads.lineage import root_of
from organism.threads.outcomes import Failure
from organism.works import inbox
from organism.works.dead import GO_ON
from organism.works.ordered import amounts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from organism.kernel import Kernel
    from organism.settings import BudgetSettings
    from organism.threads.frames import Thread
    from organism.works.control.orders import Order
    from organism.works.durable import Durable

REASON: Final = "cancelled by hand"


async def written_down(durable: Durable, chain: str, id_: str, order: Order) -> str:
    """Writes an order behind what an earlier process left of a thread, and says what was done. Nothing is delivered.

    Raises ConfigurationError where there is nothing to do it to, and JournalError.
    """
    said: list[str] = []

    def change(kernel: Kernel, at: float) -> None:
        whole = kernel.state.chain(chain)
        if order.do == "add-budget" and isinstance(whole, Conversation) and whole.id == id_:
            before = whole.budget
            kernel.calls.set_conversation_limits(whole, raised(before, more(whole, order)), at, order.once)
            said.append(raised_from(before, whole))
            return
        thread = _thread_in(kernel, chain, id_)
        if order.do == "answer":
            said.append(inbox.typed(kernel, durable.settings.handlers, order.question, order.text, order.refuse, at))
            inbox.unrest(kernel, thread, at)
        else:
            said.append(_changed(kernel, thread, order, at))

    try:
        await durable.note(chain, change)
    except LookupError:
        return await too_late(durable, id_, order)
    if order.do != "answer":
        return said[0]
    if await durable.end_of(id_) is None:
        return f"{said[0]}; {GO_ON}"
    # What a person was asked from outside is replied to with the answer: nothing of it is left to go on.
    return f"{said[0]}; {await over(durable, id_)}; 'organism show {id_}' shows how"


async def done_before(durable: Durable, order: Order) -> str | None:
    """What is said of an order that was carried out before; ``None`` where it has no id, or was not. Raises IdTakenError and JournalError."""
    once = order.once
    if once is None:
        return None
    name = order.thread or ""
    if order.account is not None:
        name = chain_of_limits("" if order.account == CEILING else f"{ACCOUNT}{order.account}")
    if not await durable.done_before(name, once):
        return None
    return f"order {told(once.id)} ({amounts(once)}) was carried out before: nothing was changed"


def _thread_in(kernel: Kernel, chain: str, id_: str) -> Thread:
    """The root thread that is meant; raises LookupError where it is over."""
    state = kernel.state
    whole = state.chain(chain)
    if isinstance(whole, Conversation) and whole.id == id_ and whole.turns:
        return whole.turns[0]
    thread = state.threads[id_]
    if thread.owner is not None:
        raise ConfigurationError([sub_thread(id_, root_of(thread).id)])
    return thread


def _changed(kernel: Kernel, thread: Thread, order: Order, at: float) -> str:
    """Makes the change to a thread of which nothing runs."""
    match order.do:
        case "pause" if thread.paused_at is not None:
            return f"thread {thread.id} is paused already; {GO_ON}"
        case "pause":
            kernel.ends.pause(thread, at)
            return f"thread {thread.id} is paused; {GO_ON}"
        case "cancel":
            for hold in [each for each in kernel.state.holds.values() if root_of(each.thread) is thread]:
                kernel.calls.settle(hold, abandoned_charge(hold), at)
            kernel.ends.stop(thread, Failure("cancelled", REASON), at)
            return f"thread {thread.id} is cancelled"
        case _:
            before = thread.budget
            kernel.calls.set_limits(thread, raised(before, more(thread, order)), at, order.once)
            return raised_from(before, thread)


def _named(whole: Thread | Conversation) -> str:
    """What it is called to people."""
    return f"conversation {whole.id}" if isinstance(whole, Conversation) else f"thread {whole.id}"


def more(whole: Thread | Conversation, order: Order) -> dict[str, Any]:
    """The amounts that are to be added; raises ConfigurationError for a unit that is not limited."""
    units = dict(order.units or {})
    wrong = [unit for unit in units if getattr(whole.budget.limits, unit) is None]
    if wrong:
        raise ConfigurationError([f"{_named(whole)} has no limit of {wrong[0]} that could be raised"])
    return units


def raised_from(before: BudgetSettings, whole: Thread | Conversation) -> str:
    """What is said of limits that were raised."""
    return f"{_named(whole)}: {changed_from(asdict(before.limits), asdict(whole.budget.limits))}"


def changed_from(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Limits by unit, as they were and as they are."""
    changes = [f"{unit} {_figure(old)} -> {_figure(after[unit])}" for unit, old in before.items() if old != after[unit]]
    return ", ".join(changes) or "its limits stay as they are"


def _figure(value: Any) -> str:
    return f"{value:,}".removesuffix(".0")


async def too_late(durable: Durable, id_: str, order: Order) -> str:
    """What is said of an order to a thread that is over, where it has come to what is ordered. Otherwise raises ConfigurationError, with the way
    out where there is one.
    """
    said = await over(durable, id_)
    end = await durable.end_of(id_)
    if order.do == "cancel" and end is not None and end.outcome == "cancelled":
        return f"{said}: nothing was changed"
    if order.do == "add-budget":
        unit = next(iter(order.units or {}), UNITS[0])
        said = f"{said}; to continue a copy with a higher limit: organism fork {id_} --set budget.{unit}=LIMIT"
    raise ConfigurationError([said])


async def over(durable: Durable, id_: str) -> str:
    """What is said where a thread is over."""
    end = await durable.end_of(id_)
    return f"thread {id_} has ended" + ("" if end is None else f" ({end.outcome})")


def sub_thread(id_: str, root: str) -> str:
    """What is said where only a whole thread can be meant."""
    return f"{id_} is a sub-thread: only a whole thread can be paused, cancelled or given more; that is {root}"
