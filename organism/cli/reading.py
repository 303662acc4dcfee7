"""What a chain tells of its root threads: how they ended or how far they are, and which one a person means."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from attrs import define, evolve, field, frozen

from organism.cli.text import one_line
from organism.errors import ConfigurationError, JournalError
from organism.journal.codec import decode_entry
from organism.journal.contract import Chain
from organism.journal.standing import opens_nothing
from organism.journal.values import PlainPayload
from organism.kernel.outcome import final_of
from organism.kernel.reading import Reading
from organism.kernel.times import so_far
from organism.names import CONVERSATION, ambiguous, begun, is_of_limits, successor_of, suggestion, told
from organism.payloads import encode_json, encode_xml
from organism.record import facts
from organism.results import ThreadResult, result_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from organism.cli.streams import Streams
    from organism.journal import Journal
    from organism.kernel.state import State
    from organism.record.facts import Fact
    from organism.threads.frames import Thread


@frozen(kw_only=True)
class ThreadRow:
    """A root thread as a list shows it. ``result.outcome`` is ``running``, ``paused`` or ``unfinished`` where it has not ended;
    then its figures are those so far, as of the last entry of its chain. ``began`` and ``ended_at`` are instants in seconds since 1970.
    ``limits`` are its last ones by unit, without those that it does not have; ``accounts`` are those that it is under; ``origin`` is the thread that it was forked from.
    """

    result: ThreadResult
    chain: str
    began: float
    ended_at: float | None
    limits: Mapping[str, Any]
    accounts: tuple[str, ...]
    origin: str | None

    @property
    def conversation(self) -> str | None:
        """The conversation whose turn it is."""
        return self.chain.removeprefix(CONVERSATION) if self.chain.startswith(CONVERSATION) else None

    def as_json(self) -> dict[str, Any]:
        """The object that ``organism run --json`` prints, and what only the journal knows."""
        return {
            **json_of(self.result),
            "conversation": self.conversation,
            "began_at": self.began,
            "ended_at": self.ended_at,
            "limits": dict(self.limits),
            "accounts": list(self.accounts),
            "forked_from": self.origin,
        }


def json_of(result: ThreadResult) -> dict[str, Any]:
    """The object of a result whose payloads may be without their classes."""
    bare = evolve(result, replies=(), threads=())
    replies = [{"from": sender, **payload_json(payload)} for sender, payload in result.replies]
    return {**bare.as_json(), "replies": replies, "threads": [json_of(each) for each in result.threads]}


def payload_json(payload: Any) -> dict[str, Any]:
    """The JSON and the XML of a payload, with its class or without."""
    if isinstance(payload, PlainPayload):
        return {"payload": {payload.name: payload.fields}, "xml": payload.xml}
    return {"payload": encode_json(payload), "xml": encode_xml(payload).decode()}


def facts_of(documents: Iterable[Mapping[str, Any]]) -> Iterator[Fact]:
    """The facts of entries, payloads without their classes. Raises JournalError for an entry that this version cannot read."""
    return map(decode_entry, documents)


def threads_of(journal: Journal, chain: Chain, *, owned: bool) -> list[ThreadRow]:
    """The root threads of a chain in the order they began. ``owned``: a process works on the journal, so that what is open runs.

    Raises JournalError where the chain is damaged.
    """
    terms = _Terms()
    began: dict[str, float] = {}
    ends: dict[str, facts.Ended] = {}
    # Where a chain is over, each of its threads says at its end what it came to, and there may be very many.
    reading, kinds = (Reading(), None) if chain.open else (None, (*_Terms.KINDS, "Ended"))
    for number, document in enumerate(journal.documents(chain.root, kinds=kinds), 1):
        terms.take(document)
        kind, thread = document["fact"], document["thread"]
        if kind == "Accepted":
            began.setdefault(thread, document["at"])
        if reading is None and not (kind == "Ended" and thread in began):
            continue
        (fact,) = facts_of([document])
        odd = opens_nothing(fact) if number == 1 else None
        if odd is not None:
            raise JournalError(f"thread {told(chain.root)}: {odd}")
        if isinstance(fact, facts.Ended):
            ends[fact.thread] = fact
        if reading is not None:
            reading.take(fact)
    open_ones: dict[str, Thread] = {}
    if reading is not None:
        # One whose end was not written any more is finished by a restart, as others are that are open.
        cut = (each for each in reading.unsaid.values() if each.owner is None)
        open_ones = {thread.id: thread for thread in (*reading.state.roots, *cut)}
        began = {**{id_: thread.opened_at for id_, thread in open_ones.items()}, **began}

    def row(thread: str, result: ThreadResult, ended_at: float | None) -> ThreadRow:
        return ThreadRow(
            result=result, chain=chain.root, began=began[thread], ended_at=ended_at,
            limits=terms.limits.get(thread, {}), accounts=terms.accounts_of(thread), origin=terms.origin,
        )  # fmt: skip

    ended = {id_: row(id_, result_of(fact), fact.at) for id_, fact in ends.items() if id_ in began}
    if reading is None:
        return list(ended.values())
    live = {id_: row(id_, _so_far(reading.state, thread, owned=owned), None) for id_, thread in open_ones.items()}
    rows = ended | live
    return [rows[each] for each in began if each in rows]


def _so_far(state: State, thread: Thread, *, owned: bool) -> ThreadResult:
    """What a thread has come to that has not ended."""
    stands = thread in state.inbox.resting or (thread.paused_at is not None and not thread.waits_turn)
    return evolve(
        result_of(final_of(thread) if thread.ended else so_far(state, thread, state.now)),
        outcome="paused" if stands else "running" if owned else "unfinished",
        unit=None, scope=None, account=None, partial=None, error=None, code=None, estimates=(),
    )  # fmt: skip


@define
class _Terms:
    """What is said of root threads before and while they run: where a chain comes from, and the limits and the accounts of each."""

    KINDS: ClassVar[tuple[str, ...]] = ("Forked", "Accepted", "LimitsSet", "Granted")

    origin: str | None = None
    limits: dict[str, Mapping[str, Any]] = field(factory=dict[str, Mapping[str, Any]])
    accounts: dict[str, tuple[str, ...]] = field(factory=dict[str, tuple[str, ...]])
    shared: tuple[str, ...] = ()
    """The accounts of the conversation, which all its turns are under."""

    def accounts_of(self, thread: str) -> tuple[str, ...]:
        """The accounts that a root thread is under."""
        return self.accounts.get(thread) or self.shared

    def take(self, document: Mapping[str, Any]) -> None:
        match document:
            case {"fact": "Forked", "origin": str(origin)}:
                self.origin = origin
            case {"fact": "LimitsSet", "thread": str(limited), "budget": {"limits": limits}}:
                self.limits[limited] = limits
            case {"fact": "Granted", "node": str(limited), "budget": {"limits": limits}}:
                self.limits[limited] = limits
            case {"fact": "Accepted", "steps": [*steps]}:
                for step in cast("list[Mapping[str, Any]]", steps):
                    if step.get("step") == "ThreadOpened":
                        self.limits[step["thread"]] = step.get("budget", {}).get("limits", {})
                        self.accounts[step["thread"]] = tuple(step.get("accounts", ()))
                    elif step.get("step") == "ConversationOpened":
                        self.shared = tuple(step.get("accounts", ()))
            case _:
                pass


LATEST: Final = "latest"
"""What is typed for the thread or conversation in which something happened last. One whose id is so, or alone begins so, goes first."""


@frozen
class Meant:
    """What a person means: a thread and the chain it is in. ``thread`` is the chain's own id where all of it is meant. ``latest``: it was
    not named, and they should be told which it is.
    """

    chain: Chain
    thread: str
    latest: bool = False

    @property
    def named(self) -> str:
        """What it is, and its name."""
        what = "conversation" if self.thread.startswith(CONVERSATION) else "thread"
        return f"{what} {one_line(self.thread.removeprefix(CONVERSATION))}"

    def told(self, streams: Streams) -> Meant:
        """The same, after it was said which it is where nobody named it."""
        if self.latest:
            streams.note(f"latest: {self.named}")
        return self


def meant(journal: Journal, text: str | None, *, limits: bool = False) -> Meant:
    """The thread with this id, or with the only id that begins so; a turn is one too, and a conversation is named by its own id. ``LATEST``
    or nothing means the one with the newest entry.

    Sub-threads are named in full; with ``limits``, what tells how an account's were raised is named so too. Raises ConfigurationError
    where there is none, or more than one.
    """
    whole = None if text is None else _named_in_full(journal, text, limits=limits)
    if whole is not None:
        return whole
    chains = {chain.root: chain for chain in journal.chains() if limits or not is_of_limits(chain.root)}
    known = [root for root in chains if not is_of_limits(root)]  # of those, only whole names are meant
    if text is None:
        return _latest(chains, known)
    roots = [root for root in known if text and root.removeprefix(CONVERSATION).startswith(text)]
    if len(roots) == 1:
        return Meant(chains[roots[0]], roots[0])
    turns = {} if roots else dict(_turns(journal, chains))
    names = roots or begun(text, turns)
    if len(names) == 1:
        return Meant(turns[names[0]], names[0])
    if names:
        raise ConfigurationError([ambiguous(text, names, "threads")])
    if text == LATEST:
        return _latest(chains, known)
    shown = one_line(text)
    if not known:
        raise ConfigurationError([f"there is no thread '{shown}': the journal holds none"])
    hint = suggestion(text, chains)
    raise ConfigurationError([f"there is no thread '{shown}'{one_line(hint)}; 'organism threads' lists all"])


def _named_in_full(journal: Journal, text: str, *, limits: bool) -> Meant | None:
    """What has this very name. The others need not be looked through, of which there may be very many."""

    def chain(root: str | None) -> Chain | None:
        return None if root is None or (is_of_limits(root) and not limits) else journal.chain(root)

    for root in (text, CONVERSATION + text):
        if (there := chain(root)) is not None:
            return Meant(there, root)
    inside = chain(journal.root_of(text))
    return None if inside is None else Meant(inside, text)


def _latest(chains: Mapping[str, Chain], known: Sequence[str]) -> Meant:
    """The thread or conversation with the newest entry. Raises ConfigurationError where there is none."""
    if not known:
        raise ConfigurationError(["there is no latest thread: the journal holds none"])
    newest = max(reversed(known), key=lambda root: (chains[root].last, chains[root].began))
    return Meant(chains[newest], newest, latest=True)


def successor_in(journal: Journal, conversation: str) -> str | None:
    """The conversation that one goes on in, also where that one itself was removed; ``None`` where there is none."""
    name = conversation
    while (
        journal.chain(CONVERSATION + (name := successor_of(name))) is not None
    ):  # one of that name may be no successor
        with suppress(JournalError):
            for document in journal.documents(CONVERSATION + name, kinds=("Accepted",)):
                if any(step.get("before") == conversation for step in document.get("steps", ())):
                    return name
    return None


def _turns(journal: Journal, chains: Mapping[str, Chain]) -> Iterator[tuple[str, Chain]]:
    """The turns of all conversations: what is not damaged of them."""
    for root, chain in chains.items():
        if root.startswith(CONVERSATION):
            with suppress(JournalError):
                for document in journal.documents(root, kinds=("Accepted",)):
                    yield document["thread"], chain
