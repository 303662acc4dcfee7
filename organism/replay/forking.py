"""Forks: a thread's first facts in a chain of their own, from which it goes on another way (R24).

The copy is made from facts alone: neither handlers nor payload classes are needed for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import islice, takewhile
from types import UnionType
from typing import TYPE_CHECKING, Any, Final, Union, get_args, get_origin, get_type_hints

from attrs import asdict, evolve, fields, frozen, has

from organism.budget.claims import Charge
from organism.errors import ConfigurationError, IdTakenError
from organism.journal.codec import decode_entry
from organism.names import counted, is_of_limits, told
from organism.record import facts
from organism.record.images import Ref
from organism.settings import NOTHING, BudgetSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from organism.journal import Journal
    from organism.payloads import Vocabulary
    from organism.record.facts import Fact

_NAMES: Final = {"thread", "node", "under"}
"""Fields that hold the id of a thread, where they hold a text."""
_PAIRS: Final = {"pending_caller"}
"""Fields that begin with one, besides those of type Ref."""
_ROOMS: Final = {
    *(f"organism.record.{each}" for each in ("fact", "facts", "images", "model_calls", "steps")),
    "organism.threads.outcomes",
    "organism.budget.claims",
}
"""Where the classes are that name threads; what is in payloads and prompts stays as it was said."""


@frozen
class Cut:
    """How much of a record can be copied: ``last`` is the highest number of facts after which the thread had not ended.

    ``over`` says that it has ended since, and ``entries`` how many facts there are.
    """

    last: int
    entries: int
    over: bool


def _says_so(_: Sequence[Fact]) -> bool:
    """The record says whether the thread has ended."""
    return False


def cut_of(record: Sequence[Fact], has_ended: Callable[[Sequence[Fact]], bool] = _says_so) -> Cut:
    """Where the root thread of a record can be forked: after 1 to ``last`` facts. ``has_ended`` tells whether it has by its last fact, of
    a record that does not say so yet: its process was killed between the two.
    """
    root = record[0].thread if record else ""
    caused = 0
    for number, fact in enumerate(record):
        if not isinstance(fact, facts.Ended):
            caused = number  # ends follow from the fact before them
        elif fact.thread == root:
            return Cut(caused, len(record), over=True)
    over = has_ended(record)
    return Cut(caused if over else len(record), len(record), over=over)


def fork(
    record: Sequence[Fact],
    new: str,
    *,
    entries: int | None = None,
    budget: Callable[[BudgetSettings], BudgetSettings] | None = None,
    labels: Mapping[str, str] = NOTHING,
    has_ended: Callable[[Sequence[Fact]], bool] = _says_so,
) -> list[Fact]:
    """The facts of a new chain: those of ``record``, which has some, up to ``entries`` under the root id ``new``, paused where they end.

    ``entries`` is by default the last at which the thread had not ended. ``budget`` makes the fork's limits from the thread's;
    ``labels`` are laid over the thread's. Calls that were out are not the fork's to pay: they are released, and made again once it goes on. Raises
    ConfigurationError where it cannot be forked there; the text says where it can. ``has_ended`` is as for :func:`cut_of`.
    """
    count = _checked(record, entries, cut_of(record, has_ended))
    root, copied = record[0].thread, list(record[:count])
    names = _names(copied, root, new)
    # It stands at the instant at which the copy ends: what has passed since is no running time of it.
    begins, ends = copied[0].at, copied[-1].at
    made: list[Fact] = [facts.Forked(at=begins, thread=new, origin=root, entries=count)]
    copy = _Copy(names, labels)
    made += [_renamed(fact, copy) for fact in copied]
    if not _is_paused(made, new):
        made.append(facts.Paused(at=ends, thread=new))
    made += [_released(held, ends) for held in _open_holds(made)]
    opened = _limits_of(made, new)
    changed = opened if budget is None else budget(opened)
    if changed != opened:
        made.append(facts.LimitsSet(at=ends, thread=new, budget=changed))
    return made


def fork_in(
    journal: Journal,
    thread: str,
    new: str,
    *,
    entries: int | None = None,
    budget: Callable[[BudgetSettings], BudgetSettings] | None = None,
    labels: Mapping[str, str] = NOTHING,
    vocabulary: Vocabulary | None = None,
    has_ended: Callable[[Sequence[Fact]], bool] = _says_so,
) -> int:
    """Writes a fork of a root thread into the journal that holds it, as a chain of its own; gives how many entries were copied. Where ``new`` is this
    very fork already, nothing is written.

    Resuming the thread ``new`` goes on with it. With a ``vocabulary``, its classes must be able to read what is copied; ``has_ended`` is
    as for :func:`cut_of`. Raises IdTakenError where ``new`` is another thread, ConfigurationError where it cannot be forked there, and
    JournalError where the journal cannot be read or written; then nothing was written.
    """
    if journal.root_of(new) is not None:
        return _check_same(journal, thread, new, entries, budget, labels)
    _check_whole(journal, thread)
    record = [
        decode_entry(each, vocabulary if entries is None or number <= entries else None)
        for number, each in enumerate(journal.documents(thread), 1)
    ]
    made = fork(record, new, entries=entries, budget=budget, labels=labels, has_ended=has_ended)
    for error in journal.write([(new, fact) for fact in made]).values():
        raise error
    begun = made[0]
    assert isinstance(begun, facts.Forked)  # noqa: S101 - it is what a fork begins with
    return begun.entries


def _check_same(
    journal: Journal,
    thread: str,
    new: str,
    entries: int | None,
    budget: Callable[[BudgetSettings], BudgetSettings] | None,
    labels: Mapping[str, str],
) -> int:
    """How many entries were copied into a fork that is there. Raises IdTakenError where it is no fork, or another one than is asked for."""
    record = (decode_entry(each, None) for each in journal.documents(new))
    begun = next(record, None)
    if not isinstance(begun, facts.Forked):
        raise _taken(new, f"that one is no fork, this one is of {_named(thread, entries)}")
    if thread != begun.origin or entries not in {None, begun.entries}:
        that = _named(begun.origin, begun.entries)
        raise _taken(new, f"that one is a fork of {that}, this one is of {_named(thread, entries)}")
    copied = list(islice(record, begun.entries))
    limits = _limits_of(copied, new)
    wanted = limits if budget is None else budget(limits)
    given = next(
        (each.budget for each in takewhile(_finishes_copy, record) if isinstance(each, facts.LimitsSet)), limits
    )
    if given != wanted:
        now = asdict(wanted.limits)
        differ = [
            f"{unit} {was}, this one {now[unit]}" for unit, was in asdict(given.limits).items() if was != now[unit]
        ]
        raise _taken(new, f"that one has {differ[0] if differ else 'other keys of budget'}")
    has = _labels_in(copied, new)
    first = (decode_entry(each, None) for each in journal.documents(thread, kinds={"Accepted"}, of=thread))
    had = _labels_in(first, thread) if journal.root_of(thread) == thread else has  # it may have been removed since
    if has != {**had, **labels}:
        raise _taken(new, f"that one has the labels {told(dict(has))}, this one {told({**had, **labels})}")
    return begun.entries


def _taken(new: str, how: str) -> IdTakenError:
    return IdTakenError(new, f"is that of another thread: {how}; choose another id")


def _named(thread: str, entries: int | None) -> str:
    return f"{told(thread)}{'' if entries is None else f' at {entries}'}"


def _finishes_copy(fact: Fact) -> bool:
    """Whether this may stand behind what was copied, and before the fork goes on. The limits that it was given are the last of it."""
    return isinstance(fact, (facts.Paused, facts.CallSettled)) or (
        isinstance(fact, facts.LimitsSet) and fact.order is None
    )


def _labels_in(record: Iterable[Fact], root: str) -> Mapping[str, str]:
    opened = (step for fact in record for step in fact.steps if isinstance(step, facts.ThreadOpened))
    return next((step.labels for step in opened if step.thread == root), NOTHING)


def _check_whole(journal: Journal, thread: str) -> None:
    """Raises ConfigurationError for a thread that the journal does not have, and for one that is a part of another chain."""
    root = journal.root_of(thread)
    if root is None or is_of_limits(root):
        raise ConfigurationError([f"fork: there is no thread {told(thread)} in the journal"])
    if root != thread:
        raise ConfigurationError(
            [f"fork: thread {told(thread)} is a part of {told(root)}: only threads of their own can be forked"]
        )


def _checked(record: Sequence[Fact], entries: int | None, cut: Cut) -> int:
    """How many facts are copied. Raises ConfigurationError."""
    root = record[0].thread
    opened = next((step for fact in record for step in fact.steps if isinstance(step, facts.ThreadOpened)), None)
    if opened is not None and not opened.handler:
        raise ConfigurationError([f"fork: thread {root} has no handler: nothing would go on with a fork of it"])
    if opened is not None and getattr(opened, "conversation", None) is not None:
        raise ConfigurationError(
            [f"fork: thread {root} is a turn of a conversation: only threads of their own can be forked"]
        )
    count = cut.last if entries is None else entries
    opens = next((number for number, fact in enumerate(record, 1) if isinstance(fact, facts.Accepted)), 1)
    if opens <= count <= cut.last:
        return count
    why = f"ended with entry {cut.last + 1} of {cut.entries}" if cut.over else f"has {counted(cut.entries, 'entry')}"
    raise ConfigurationError([f"fork: thread {root} {why}: it can be forked at {opens} to {cut.last}, not at {count}"])


def _names(copied: Sequence[Fact], root: str, new: str) -> dict[str, str]:
    """The new id of every thread that was opened in the copy."""
    names = {root: new}
    for fact in copied:
        opened = [step.thread for step in fact.steps if isinstance(step, facts.ThreadOpened)]
        if isinstance(fact, facts.Snapshot):
            opened += [each.thread for each in fact.image.threads] + [each.thread for each in fact.image.holds]
        for id_ in opened:
            names[id_] = new + id_[len(root) :] if id_.startswith(root) else f"{new}.{id_}"
    return names


def _open_holds(made: Sequence[Fact]) -> list[facts.CallHeld]:
    held: dict[int, facts.CallHeld] = {}
    for fact in made:
        if isinstance(fact, facts.CallHeld):
            held[fact.hold] = fact
        elif isinstance(fact, facts.CallSettled):
            held.pop(fact.hold, None)
    return list(held.values())


def _released(held: facts.CallHeld, at: float) -> facts.CallSettled:
    return facts.CallSettled(
        at=at, thread=held.thread, hold=held.hold, seq=held.seq, handler="", alias=held.alias, backend=held.backend,
        held_at=held.at, charge=Charge(),
    )  # fmt: skip


def _limits_of(made: Sequence[Fact], root: str) -> BudgetSettings:
    """The root thread's limits as they stand at the end of the copy."""
    found = BudgetSettings()
    for fact in made:
        match fact:
            case facts.LimitsSet(thread=limited, budget=budget) | facts.Granted(node=limited, budget=budget):
                found = budget if limited == root else found
            case _:
                pass
        for step in fact.steps:
            if isinstance(step, facts.ThreadOpened) and step.thread == root:
                found = step.budget
    return found


def _is_paused(made: Sequence[Fact], root: str) -> bool:
    last = [fact for fact in made if isinstance(fact, (facts.Paused, facts.Resumed)) and fact.thread == root][-1:]
    return bool(last) and isinstance(last[0], facts.Paused)


# Renaming


@frozen
class _Copy:
    """What the copy says otherwise: new ids by old ones, and what is laid over labels."""

    names: Mapping[str, str]
    labels: Mapping[str, str]


def _renamed(value: Any, copy: _Copy) -> Any:
    """A fact, a step or a part of a snapshot as the copy says it."""
    changes: dict[str, Any] = {}
    for field in fields(value.__class__):
        given = getattr(value, field.name)
        changed = _part(value.__class__, field.name, given, copy)
        if changed is not given:
            changes[field.name] = changed
    return evolve(value, **changes) if changes else value


def _part(cls: type, name: str, given: Any, copy: _Copy) -> Any:
    inner: Any = given
    match given:
        case str():
            return copy.names.get(given, given) if name in _NAMES else given
        case tuple() if name in _PAIRS or name in _refs(cls):
            return _pair(inner, copy)
        case tuple() if name in _many_refs(cls):
            return tuple(_pair(each, copy) for each in inner)
        case Mapping() if name == "labels":
            return {**inner, **copy.labels} if copy.labels else inner
        case Mapping():  # the warnings that wait, by handler; anything else is as it was said
            return {key: _inside(each, copy) if isinstance(each, tuple) else each for key, each in inner.items()}
        case _:
            return _inside(given, copy)


def _inside(value: Any, copy: _Copy) -> Any:
    cls: Any = value.__class__
    inner: Any = value
    if isinstance(value, tuple):
        return tuple(_inside(each, copy) for each in inner)
    return _renamed(value, copy) if has(cls) and cls.__module__ in _ROOMS else value


def _pair(ref: Sequence[Any], copy: _Copy) -> tuple[Any, ...]:
    id_, *rest = ref
    return (copy.names.get(id_, id_), *rest)


@cache
def _refs(cls: type) -> frozenset[str]:
    """The fields of a class that hold a Ref, or none."""
    return frozenset(name for name, hint in _hints(cls).items() if Ref in (hint, *_members(hint)))


@cache
def _many_refs(cls: type) -> frozenset[str]:
    return frozenset(name for name, hint in _hints(cls).items() if hint == tuple[Ref, ...])


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in {Union, UnionType} else ()


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)
