"""Everything that organism raises, in one tree.

::

    OrganismError
    ├── ConfigurationError            what is written in organism.yaml or given to Organism() is wrong (exit 2)
    ├── PayloadError                  a class is not a payload, or a value is not valid for one
    │   ├── PayloadTypeError          the class itself cannot be a payload (raised when it is declared)
    │   └── InvalidPayloadError       a value, XML or JSON document does not fit its payload class
    ├── RoutingError                  an address is unknown, or not a peer
    │   └── IdTakenError              the id of a thread is taken by another message, or by a sub-thread
    ├── NotRunningError               the organism, thread or delivery has not started, or has ended
    ├── QueueFullError                the queue is full and ``on_full`` is ``refuse``, or a reader of events fell too far behind
    ├── Refused                       raised *by* a handler: a failure for the caller that is not retried
    ├── HandlerFailedError            a callee failed; ``code`` says how
    ├── EscalatedError                a handler failed for good, and that stopped the organism
    ├── NoQuestionError               no question waits for this answer (any more)
    ├── UnexpectedReplyError          a callee replied with another class than ``expect``
    ├── BudgetExhaustedError          a limit refuses a call or a message, before anything was spent
    ├── ModelError                    every backend of an alias failed
    └── JournalError                  the journal is damaged, or cannot be written
        └── JournalHeldError          another process owns it

Errors build their text from their fields, so that a program can read what a person reads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isnan
from typing import TYPE_CHECKING, Any, Final, cast

from organism.names import excerpt, told

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from decimal import Decimal


class OrganismError(Exception):
    """The root of everything that organism raises on purpose."""


class ConfigurationError(OrganismError):
    """The configuration has mistakes; all that were found, each with its place.

    ``mistakes`` holds one line each, as ``organism.yaml:14:9 handlers.writer.peers[0]: 'shoter' is not a handler; ...``.
    """

    def __init__(self, mistakes: Sequence[str]) -> None:
        self.mistakes: tuple[str, ...] = tuple(mistakes)
        super().__init__("\n".join(self.mistakes))


class PayloadError(OrganismError):
    """Something about a payload is wrong."""


class PayloadTypeError(PayloadError, TypeError):
    """A class cannot be a payload; raised when it is declared."""


class InvalidPayloadError(PayloadError, ValueError):
    """A value or a document does not fit its payload class.

    ``where`` is the path of the field (``Question.tags[2]``, empty for the whole), ``problem`` the reason. If several things are
    wrong, ``parts`` has an error for each of the first 20.
    """

    def __init__(self, problem: str, *, where: str = "", parts: Sequence[InvalidPayloadError] = ()) -> None:
        self.problem = problem
        self.where = where
        self.parts = tuple(parts)
        super().__init__(f"{where}: {problem}" if where else problem)


class RoutingError(OrganismError):
    """An address is unknown to the organism."""


class IdTakenError(RoutingError):
    """Something was sent or forked under the ``id`` of a thread that began with another message, or ordered under that of another order; ``why``
    says how the two differ.
    """

    def __init__(self, id_: str, why: str, *, of: str = "thread") -> None:
        self.id = id_
        self.why = why
        super().__init__(f"{of} id {told(id_)} {why}")


class NotRunningError(OrganismError):
    """This needs an organism, thread or delivery that runs; it has not started, or has ended."""


class QueueFullError(OrganismError):
    """The organism's queue is full and ``on_full`` is ``refuse``."""


class Refused(OrganismError):  # noqa: N818 - a verdict that handlers raise; the contract names it so
    """Raised by a handler to fail without a retry; the caller gets the text as ``HandlerFailed`` with code ``refused``."""


class HandlerFailedError(OrganismError):
    """A callee failed. ``code`` is one of the codes of ``HandlerFailed``, ``retry`` whether trying again could help.

    If the code is ``exhausted``, ``unit`` and ``scope`` name the limit, and ``account`` (``kind:name``) the account whose limit it was,
    if it was one's.
    """

    def __init__(
        self,
        code: str,
        text: str,
        *,
        retry: bool = False,
        unit: str | None = None,
        scope: str | None = None,
        account: str | None = None,
    ) -> None:
        self.code = code
        self.text = text
        self.retry = retry
        self.unit = unit
        self.scope = scope
        self.account = account
        super().__init__(f"{code}: {text}" if text else code)


class EscalatedError(OrganismError):
    """The organism has stopped, since a handler with ``on_failure: {do: escalate}`` failed for good. Closing it raises this."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(f"the organism has stopped: {why}")


class NoQuestionError(OrganismError):
    """The question ``id`` takes no answer: it was never asked, was answered already, or nobody waits for its answer any more."""

    def __init__(self, id_: str, why: str) -> None:
        self.id = id_
        self.why = why
        super().__init__(f"question {excerpt(id_, 80)}: {why}")


class UnexpectedReplyError(OrganismError):
    """A callee replied with another class than was expected; ``reply`` is the reply."""

    def __init__(self, reply: object, expected: str) -> None:
        self.reply = reply
        self.expected = expected
        super().__init__(f"expected {expected}, got {type(reply).__name__}")


def reason_of(error: BaseException) -> str:
    """Why something failed: for errors of the operating system what it says of them, without number and path."""
    return str(getattr(error, "strerror", None) or error)


def check_text(name: str, given: object) -> None:
    """Raises TypeError for what is no text, such as a handle where an id belongs, before anything is done."""
    if not isinstance(given, str):
        raise TypeError(f"{name} must be a text, not {told(given)}")


def check_seconds(name: str, seconds: object) -> None:
    """Raises TypeError or ValueError for what is no number of seconds, before anything is done."""
    if not isinstance(seconds, int | float):
        raise TypeError(f"{name} must be a number of seconds, not {told(seconds)}")
    if isnan(seconds):
        raise ValueError(f"{name} must be a number of seconds, not {seconds!r}")


def texts_of(name: str, given: Any, *, are: str, such_as: Mapping[str, str]) -> dict[str, str]:
    """A mapping of texts, as labels and accounts are. Raises TypeError for what is none, before anything is done."""
    if not isinstance(cast("object", given), Mapping):
        raise TypeError(f"{name} are {are}, as in {such_as}, not {told(given)}")
    pairs = dict[Any, Any](given)
    for key, value in pairs.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"{name} are {are}, not {told(key)}: {told(value)}")
    return pairs


def pairs_of(function: str, given: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """What goes to whom. Raises TypeError where what a function of this name was given does not say that, before anything is sent."""
    try:
        return [(to, payload) for to, payload in given]
    except (TypeError, ValueError):
        raise TypeError(f"{function} takes a list of (handler, payload), not {told(given)}") from None


def titled(scope: str, account: str | None) -> str:
    """What whoever limits something is called: its scope, and which one where it is an account (``kind:name``)."""
    return scope if account is None else f"{scope} {account}"


class BudgetExhaustedError(OrganismError):
    """A limit refuses a call or a message before anything was spent.

    ``unit`` is what ran short, ``scope`` the kind of node whose limit it is (``thread``, ``organism``, ...), and ``account``
    (``kind:name``) the account, if it is one's. ``used``, ``held``, ``limit`` and ``need`` are in that unit: int, Decimal in USD for
    ``cost_usd``, and float where ``seconds`` are not whole.
    """

    def __init__(
        self,
        unit: str,
        scope: str,
        used: float | Decimal,
        held: float | Decimal,
        limit: float | Decimal,
        need: float | Decimal,
        *,
        hint: str = "",
        account: str | None = None,
    ) -> None:
        self.unit = unit
        self.scope = scope
        self.account = account
        self.used = used
        self.held = held
        self.limit = limit
        self.need = need
        self.hint = hint
        text = f"{unit} of the {titled(scope, account)}: {used:,} used, {held:,} held, limit {limit:,}, needed {need:,}"
        super().__init__(f"{text}; {hint}" if hint else text)


def out_of_seconds(scope: str, used: float, limit: float) -> BudgetExhaustedError:
    """The refusal of what comes when the seconds of this scope are used up; thousandths are the smallest parts that it names."""
    spent, most = (int(each) if each.is_integer() else each for each in (round(float(used), 3), round(float(limit), 3)))
    return BudgetExhaustedError("seconds", scope, spent, 0, most, 1)


_ATTEMPT: Final = re.compile(r": attempt \d+: ")


def _once(causes: Sequence[str]) -> list[str]:
    """The causes of attempts, those in a row that say the same told as one."""
    told: list[tuple[str, int]] = []
    for cause in causes:
        if told and _ATTEMPT.sub("", cause, count=1) == _ATTEMPT.sub("", told[-1][0], count=1):
            told[-1] = (told[-1][0], told[-1][1] + 1)
        else:
            told.append((cause, 1))
    return [cause if often == 1 else _ATTEMPT.sub(f": {often} attempts: ", cause, count=1) for cause, often in told]


class ModelError(OrganismError):
    """Every backend of an alias failed; ``causes`` has one line per attempt. The text of the error gives repeated causes once."""

    def __init__(self, alias: str, causes: Sequence[str]) -> None:
        self.alias = alias
        self.causes: tuple[str, ...] = tuple(causes)
        super().__init__(f"model '{alias}' failed: " + "; ".join(_once(self.causes)))


class JournalError(OrganismError):
    """The journal is damaged, or cannot be written."""


class JournalHeldError(JournalError):
    """Another process owns the journal; ``owner`` says which."""

    def __init__(self, journal: str, owner: str) -> None:
        self.journal = journal
        self.owner = owner
        super().__init__(
            f"{journal} is held by {owner}; one process owns a journal: stop that one, or use another journal"
        )
