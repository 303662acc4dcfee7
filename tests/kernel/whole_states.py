"""Two states compared as the graphs that they are: what an image is restored to, what the record folds to, and what is live.

:func:`organism.kernel.comparable.comparable` names what it looks at. Here everything is looked at that is not named as forgotten.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

from organism.budget.node import Node
from organism.kernel.holds import Hold
from organism.kernel.imaging import image_of
from organism.kernel.index import Index
from organism.kernel.prompts import reports_of
from organism.kernel.restoring import restore
from organism.kernel.state import State
from organism.threads.frames import Ask, Below, Conversation, Dealings, Frame, Message, Thread
from organism.threads.lineage import chain_of
from organism.threads.outcomes import DeliveryWarnings, Ending, Outlay, Troubles, Warned
from organism.threads.restart import Past
from organism.threads.routing import Route, routes
from tests.compiled import slots_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FORGOTTEN: Final[Mapping[type, frozenset[str]]] = {
    Thread: frozenset({"busy", "head", "in_ready", "more", "asked", "conversation"}),
    Message: frozenset(
        {
            "behind",
            "holds",
            "payload",
            "position",
        }
    ),
    Past: frozenset({"old", "rerun"}),
    Dealings: frozenset({"ask", "more", "awaits", "clock_reads"}),
    Below: frozenset(),
    Troubles: frozenset(),
    DeliveryWarnings: frozenset(),
    Outlay: frozenset({"refused"}),
    Ending: frozenset(),
    Frame: frozenset(),
    Ask: frozenset({"answer", "first", "message"}),
    Node: frozenset({"crowd", "window", "above"}),
    Conversation: frozenset({"asked", "state"}),
    Hold: frozenset({"clamped", "message", "path", "thread"}),
    Warned: frozenset(),
}
"""What a restart forgets on purpose, or what is compared by name in its place: :func:`_named`."""


MADE_LATE: Final[Mapping[str, type]] = {
    "past": Past,
    "dealings": Dealings,
    "warned": DeliveryWarnings,
    "below": Below,
    "troubles": Troubles,
    "outlay": Outlay,
    "ending": Ending,
}
"""Parts that are not there before something is: to have none is to have one of which nothing is so."""


def unlike(one: State, other: State, chains: Iterable[str]) -> list[str]:
    """Where what belongs to these chains differs, one line a place."""
    found, of = _Graph(), set(chains)
    ours, theirs = _part(one, of), _part(other, of)
    if one.index is None or other.index is None:
        # One is live: an attempt that has begun waits no more, and no record tells of that.
        del ours["retries"], theirs["retries"]
    found.compare(ours, theirs, "")
    return found.lines


def restored(live: State, chain: str) -> State:
    """What an image of a chain is restored to in a state that has nothing else."""
    whole = live.chain(chain)
    assert whole is not None
    fresh = State(live.settings, routes(live.settings))
    fresh.index, fresh.now = Index(), live.now
    # The sums of what is shared are no part of an image; accounts are known to both by name.
    restore(fresh, fresh.index, {}, image_of(live, whole))
    return fresh


def _part(state: State, chains: set[str]) -> dict[str, Any]:
    """All of a state that belongs to some chains."""
    threads = {id_: each for id_, each in sorted(state.threads.items()) if chain_of(each) in chains}
    messages = {(id_, each.seq): each for id_, thread in threads.items() for each in state.open_messages(thread)}
    return {
        "threads": threads,
        "conversations": {each.id: each for each in state.conversations.values() if each.chain in chains},
        "messages": messages,
        "holds": {key: hold for key, hold in sorted(state.holds.items()) if hold.chain in chains},
        "streams": {
            thread.id: sorted(hold.key for hold in holds)
            for thread, holds in state.streams.items()
            if chain_of(thread) in chains
        },
        "retries": {each: state.retries.get(message) for each, message in messages.items()},
        "questions": {each: state.inbox.questions.get(message) for each, message in messages.items()},
        "resting": {id_: state.inbox.resting.get(thread) for id_, thread in threads.items()},
        "rings": {id_: None if state.rings is None else state.rings.image(thread) for id_, thread in threads.items()},
    }


def _named(value: Any) -> dict[str, Any]:  # noqa: PLR0911 - a case for each class
    """What of an object is compared by name: it is told so in facts, or it belongs to what is shared."""
    match value:
        case Thread():
            # A sub-thread has its turn's conversation.
            conversation = None if value.conversation is None else value.conversation.id
            return {"conversation": conversation, "reports": reports_of(value)}
        case Message():
            asks = [ask for ask in value.asks if ask.frame is not None]
            known = [(key, ask) for key, ask in (value.known or {}).items() if isinstance(ask, Ask)]
            return {
                "asks": sorted((ask.frame.thread.id, ask.frame.seq) for ask in asks if ask.frame is not None),
                "answers": {key: ask.answer for key, ask in known if ask.done},
                # The last word says the figures of the instant at which it was made, here or in another process.
                "payload": type(value.payload) if value.kind == "last" else value.payload,
            }
        case Ask():
            return {"message": (value.message.thread.id, value.message.seq)}
        case Conversation():
            # While a turn runs, what is remembered is that turn's.
            if value.turns:
                return {"state": {}, "reports": ()}
            return {"state": value.state, "reports": reports_of(value)}
        case Node():
            return {"above": [(each.scope, each.thread) for each in value.above], "windowed": value.window is not None}
        case Hold():
            thread, message = value.thread, value.message
            # Of one that has ended, only who lives above it is charged, and remembered.
            above = [each for each in _above(thread) if not each.ended]
            over = {each.id for each in _above(thread) if each.ended}
            of_thread = (
                thread.id,
                above[0].id if above else None,
                thread.owner is not None or thread.kind == "root",
                thread.ended,
                dict(thread.labels),
                thread.accounts,
                chain_of(thread),
            )
            of_message = None if message is None else (message.thread.id, message.seq, message.to)
            return {
                "thread": of_thread, "message": of_message,
                "path": [(each.scope, each.thread) for each in value.path if each.thread not in over],
            }  # fmt: skip
        case _:
            return {}


def _above(thread: Thread) -> Iterator[Thread]:
    """The threads that a sub-thread is below, the nearest first."""
    while thread.owner is not None:
        thread = thread.owner.thread
        yield thread


class _Graph:
    """Walks two graphs side by side. An object of one stands for the same object of the other wherever it is met."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._met: dict[int, Any] = {}
        self._kept: list[Any] = []

    def compare(self, one: Any, other: Any, path: str) -> None:
        if type(one) in FORGOTTEN and type(one) is type(other):
            self._objects(one, other, path)
        elif type(one) in FORGOTTEN:
            self.lines.append(f"{path}: {type(one).__name__} and {type(other).__name__}")
        elif isinstance(one, Mapping) or isinstance(other, Mapping):
            self._parts(one or {}, other or {}, path)
        elif isinstance(one, (list, tuple, deque)) or isinstance(other, (list, tuple, deque)):
            self._parts(dict(enumerate(one or ())), dict(enumerate(other or ())), path)
        elif isinstance(one, Route) and isinstance(other, Route):  # made of the same settings, for each state
            self.compare(one.name, other.name, f"{path}.name")
        elif one != other:
            self.lines.append(f"{path}: {one!r} and {other!r}")

    def _parts(self, ours: Mapping[Any, Any], theirs: Mapping[Any, Any], path: str) -> None:
        for name in {**ours, **theirs}:
            if name in ours and name in theirs:
                self.compare(ours[name], theirs[name], f"{path}.{name}")
            else:
                self.lines.append(f"{path}.{name}: only in the {'first' if name in ours else 'second'}")

    def _objects(self, one: Any, other: Any, path: str) -> None:
        known = self._met.get(id(one))
        if known is not None:
            if known is not other and not (isinstance(one, Ask) and one.done):  # what is over is nobody's any more
                self.lines.append(f"{path}: one {type(one).__name__} here, another there")
            return
        self._met[id(one)] = other
        self._kept.append(one)
        kind = type(one)
        every = [each.name for each in attrs.fields(kind)] if attrs.has(kind) else slots_of(kind)
        for name in every:
            if name not in FORGOTTEN[kind]:
                ours, theirs = getattr(one, name), getattr(other, name)
                if name in MADE_LATE:
                    ours, theirs = ours or MADE_LATE[name](), theirs or MADE_LATE[name]()
                self.compare(ours, theirs, f"{path}.{name}")
        self.compare(_named(one), _named(other), path)
