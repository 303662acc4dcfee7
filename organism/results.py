"""How a thread ended, as the embedding program and the command line see it."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from attrs import asdict, fields, frozen

from organism.errors import HandlerFailedError
from organism.payloads import encode_json, encode_xml
from organism.payloads.expected import as_expected
from organism.quick import maker, quick
from organism.record.facts import Fact
from organism.threads.outcomes import Warned
from organism.threads.restart import Attempt
from organism.usage import Estimate, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from typing_extensions import TypeForm

    from organism.record.facts import Ended

P = TypeVar("P")


@frozen(kw_only=True)
class Statistics:
    """Counts at one instant: live ``threads``, sub-threads included; messages ``queued``; deliveries ``running``, without those that wait
    for others; model calls under way, for which budget is ``held``, and calls ``waiting_for_budget``; the pump's ``timers`` and ``workers``.
    """

    threads: int
    queued: int
    running: int
    held: int
    waiting_for_budget: int
    timers: int
    workers: int


@frozen(kw_only=True)
class Difference:
    """What a delivery did differently when it was replayed: ``what`` in a word or two, as it was ``recorded`` and as it is ``now``. ``entry``
    is the number of the entry in the record, from 1, and ``message`` that of the message that ``handler`` was handling in ``thread``.
    """

    thread: str
    message: int
    handler: str
    entry: int
    what: str
    recorded: str
    now: str


@frozen(kw_only=True)
class Replayed:
    """The result of a replay: how many ``deliveries`` and model ``calls`` were compared, and the ``differences``: the first of each delivery,
    in the order of the record; empty if there are none.

    ``unsure`` are deliveries that came out differently for reasons that the record cannot tell, as (handler, why); this need not be a
    fault.
    """

    deliveries: int
    calls: int
    differences: tuple[Difference, ...]
    unsure: tuple[tuple[str, str], ...]


@frozen(kw_only=True)
class Requester:
    """Who asks for more budget: the ``handler``. ``thread`` is the thread whose limit would be raised; ``used`` is what it has used, sub-threads
    included, of its ``limit`` in the requested ``unit``.
    """

    handler: str
    thread: str
    unit: str
    used: Decimal
    limit: Decimal | None

    def as_json(self) -> dict[str, Any]:
        """The object that ``organism inbox --json`` prints; amounts are texts, as in the request itself."""
        limit = None if self.limit is None else str(self.limit)
        return {**asdict(self), "used": str(self.used), "limit": limit}


@frozen(kw_only=True)
class Question:
    """A question that a person has not answered yet. ``id`` is that of the message, for ``organism.answer``.

    ``thread`` is the root thread that waits, ``handler`` the person, ``sender`` who asks (empty: from outside), ``payload`` what is
    asked. ``asked_at`` is in seconds since 1970. ``labels`` and ``accounts`` (``kind:name`` each) are those of its thread.
    ``answers`` are the names of the payload classes that an answer may have. ``requester`` is set if the organism asks whether a
    request for more budget is granted.
    """

    id: str
    thread: str
    handler: str
    payload: Any
    sender: str
    asked_at: float
    labels: Mapping[str, str]
    answers: tuple[str, ...]
    accounts: tuple[str, ...] = ()
    requester: Requester | None = None


@frozen(kw_only=True)
class DeadMessage:
    """A message that failed for good. ``id`` is that of the message, for ``organism.retry``; ``retry`` is the id that the thread has in
    which it is sent again.

    ``code`` and ``text`` say why its last attempt failed, at ``died_at``; ``attempts`` are all of them in order, each with ``at``,
    ``code`` and ``text``. Instants are in seconds since 1970. ``conversation`` is the one whose turn it began, if it came from outside.
    """

    id: str
    thread: str
    handler: str
    payload: Any
    sender: str
    code: str
    text: str
    died_at: float
    attempts: tuple[Attempt, ...]
    labels: Mapping[str, str]
    accounts: tuple[str, ...]
    conversation: str | None
    retry: str


@frozen(kw_only=True)
class Event:
    """A fact with its number in the record of its thread; ``events(after=seq)`` gives those that follow it."""

    seq: int
    fact: Fact


_IS_PAUSED: Final = (
    "thread {} is paused, and has not replied yet: it goes on once it is resumed, or people have answered it"
)


class _Unread:
    """Something whose fields come from a final record when the first of them is read: most look at no more than the reply."""

    __slots__ = ("_record",)
    _record: Callable[[], Ended]

    if not TYPE_CHECKING:  # no other attributes are there by it

        def __getattr__(self, name: str) -> Any:
            if name not in _FIELDS:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
            record = self._record()
            read = result_of(record)
            for each in _FIELDS:
                object.__setattr__(self, each, getattr(read, each))
            # Another thread may be reading as well; what the record was made of is let go.
            object.__setattr__(self, "_record", lambda: record)
            return getattr(self, name)


@quick
@frozen(kw_only=True)
class ThreadResult(_Unread):
    """How a thread ended.

    ``outcome`` is ``completed``, ``exhausted``, ``failed``, ``stopped`` or ``cancelled``, or ``paused`` if it has not ended. If a limit
    was reached, ``unit`` is the unit that ran out, ``scope`` whose limit it was (``thread``, ``sub-thread``, ``conversation``,
    ``account``, ``organism``), and ``account`` (``kind:name``) which account's.
    ``replies`` are (handler, payload); ``reply`` is the first payload, or ``None``. ``partial`` is the last text of an exhausted
    thread without an answer. ``usage`` includes sub-threads; ``threads`` has their results. ``error`` says why it did not complete,
    and ``code`` is that failure's code. ``estimates`` are what its own handlers forecast that they would need, and what they used.
    """

    thread: str
    outcome: str
    unit: str | None
    replies: tuple[tuple[str, Any], ...]
    partial: str | None
    usage: Usage
    warnings: tuple[Warned, ...]
    threads: tuple[ThreadResult, ...]
    error: str | None
    code: str | None
    labels: Mapping[str, str]
    handler: str = ""
    conversation: str | None = None
    estimates: tuple[Estimate, ...] = ()
    scope: str | None = None
    account: str | None = None

    @property
    def reply(self) -> Any:
        """The first reply's payload; ``None`` without one."""
        return self.replies[0][1] if self.replies else None

    @overload
    def reply_as(self, expect: None) -> Any: ...
    @overload
    def reply_as(self, expect: TypeForm[P]) -> P: ...

    def reply_as(self, expect: TypeForm[P] | None) -> Any:
        """The first reply's payload. Raises HandlerFailedError if there is none, UnexpectedReplyError if it is not an ``expect``."""
        if not self.replies:
            code = self.code or ("no_reply" if self.outcome == "completed" else self.outcome)
            text = self.error or (
                _IS_PAUSED.format(self.thread)
                if self.outcome == "paused"
                else f"'{self.handler}' finished without a reply"
            )
            raise HandlerFailedError(code, text, unit=self.unit, scope=self.scope, account=self.account)
        return as_expected(self.reply, expect)

    def as_json(self) -> dict[str, Any]:
        """The object that ``organism run --json`` prints, one line a root thread."""
        return {
            "thread": self.thread,
            "conversation": self.conversation,
            "handler": self.handler,
            "outcome": self.outcome,
            "unit": self.unit,
            "scope": self.scope,
            "account": self.account,
            "labels": dict(self.labels),
            "replies": [
                {"from": sender, "payload": encode_json(payload), "xml": encode_xml(payload).decode()}
                for sender, payload in self.replies
            ],
            "partial": self.partial,
            "usage": self.usage.as_json(),
            "warnings": [_warning(warned) for warned in self.warnings],
            "threads": [each.as_json() for each in self.threads],
            "error": self.error,
            "code": self.code,
            **({"estimates": [each.as_json() for each in self.estimates]} if self.estimates else {}),
        }


_FIELDS: Final = frozenset(field.name for field in fields(ThreadResult))


_new_result: Final = maker(ThreadResult)


def result_when_read(replies: Iterable[tuple[str, Any]], record: Callable[[], Ended]) -> ThreadResult:
    """The result of a thread that has ended: its replies, and all else of its final record when somebody looks at it."""
    result = ThreadResult.__new__(ThreadResult)
    object.__setattr__(result, "_record", record)
    object.__setattr__(result, "replies", tuple(replies))
    return result


def result_of(record: Ended) -> ThreadResult:
    """The result that a final record tells of."""
    return _new_result(
        thread=record.thread,
        outcome=record.outcome,
        unit=record.unit,
        replies=record.replies,
        partial=record.partial,
        usage=record.usage,
        warnings=record.warnings,
        threads=tuple(result_of(each) for each in record.threads),
        error=record.error,
        code=record.code,
        labels=record.labels,
        handler=record.handler,
        conversation=record.conversation,
        estimates=record.estimates,
        scope=record.scope,
        account=record.account,
    )


def _warning(warned: Warned) -> dict[str, Any]:
    return {
        "seq": warned.seq,
        "unit": warned.unit,
        "level": warned.level,
        "threshold": _number(warned.threshold),
        "used": _number(warned.used),
        "limit": _number(warned.limit),
        "scope": warned.scope,
        "to": warned.to,
    }


def _number(value: Any) -> Any:
    """A figure as JSON has it: whole numbers and shares as numbers."""
    if isinstance(value, (int, float)):
        return value
    return int(value) if value == value.to_integral() else float(value)
