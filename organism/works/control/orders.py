"""What one process asks of another that works on a journal: a line of JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final, cast

from attrs import frozen

from organism.errors import ConfigurationError, check_text
from organism.names import suggestion, told
from organism.record.images import Ordered
from organism.settings import UNITS
from organism.usage import adds, written

DO: Final = ("pause", "resume", "cancel", "add-budget", "answer", "retry", "prune", "status")
LONGEST: Final = 4 * 1024 * 1024
"""Bytes of a request."""
_TEXTS: Final = ("do", "thread", "account", "question", "text", "refuse", "id")
"""What is a text in a request."""
_NUMBERS: Final = ("until", "room")
"""What is a number in it."""
_PARTED: Final = ("cost_usd", "seconds")
"""Units of which there are parts."""
_SHAPE: Final = (
    "a request has the texts 'do', 'thread', 'account', 'question', 'text', 'refuse' and 'id', amounts by unit in 'units', "
    "and the numbers 'until' and 'room'"
)


@frozen(kw_only=True)
class Order:
    """What is asked for: ``do`` is one of DO. ``thread`` is the id of a root thread, or as much of its beginning as tells it;
    ``account`` is the account (``kind:name``, or ``ceiling``) that is given more instead; ``units`` are amounts by unit. ``question`` is the one in that thread that is answered: by ``text``, as a person types it,
    or not at all, for the reason in ``refuse``; or the dead letter that is sent again (``retry``). ``until`` and ``room`` are as in
    :class:`organism.journal.pruning.Mark`. An order to add budget that has an ``id`` is carried out once, however often it is given.
    """

    do: str
    thread: str | None = None
    account: str | None = None
    units: Mapping[str, Any] | None = None
    question: str | None = None
    text: str | None = None
    refuse: str | None = None
    until: float | None = None
    room: int | None = None
    id: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.do not in DO:
            raise ConfigurationError([f"{told(self.do)} is not an order; there are: {', '.join(DO)}"])
        if self.thread is None and self.account is None and self.do not in {"resume", "prune", "status"}:
            raise ConfigurationError([f"{self.do}: name the thread"])
        if self.account is not None and (self.do != "add-budget" or self.thread is not None):
            raise ConfigurationError([f"{self.do}: only add-budget takes an account, and then no thread"])
        if self.do == "add-budget":
            _check_units(self.units)
        if self.id is not None and (self.do != "add-budget" or not self.id.strip()):
            problem = "is empty" if self.do == "add-budget" else "only add-budget takes one"
            raise ConfigurationError([f"{self.do}: id {told(self.id, 40)}: {problem}"])
        if self.do == "answer" and (self.question is None or (self.text is None) == (self.refuse is None)):
            raise ConfigurationError(["answer: name the question, and give its answer or the reason why there is none"])
        if self.do == "retry" and self.question is None:
            raise ConfigurationError(["retry: name the dead letter"])
        if self.do == "prune" and self.until is None and self.room is None:
            raise ConfigurationError(["prune: give a time or a size in bytes"])

    @property
    def once(self) -> Ordered | None:
        """What of this is kept with what it does, so that it is not done twice; ``None`` where it has no id."""
        if self.id is None:
            return None
        return Ordered(id=self.id, units={unit: _digits(amount) for unit, amount in (self.units or {}).items()})

    def as_line(self) -> bytes:
        """The line of JSON that is sent."""
        given = {key: getattr(self, key) for key in (*_TEXTS, *_NUMBERS)} | {
            "units": None if self.units is None else dict(self.units)
        }
        line = json.dumps({key: value for key, value in given.items() if value is not None}).encode() + b"\n"
        if len(line) > LONGEST:
            raise ConfigurationError([f"{self.do}: {len(line):,} bytes are too long; {LONGEST:,} is the most"])
        return line

    @classmethod
    def of_line(cls, line: bytes) -> Order:
        """The order in a line; raises ConfigurationError for one that holds none."""
        try:
            given: Any = json.loads(line)
        except (ValueError, RecursionError):
            given = None
        if not isinstance(given, dict):
            raise ConfigurationError(['a request is a line with a JSON object, as {"do": "status"}'])
        fields = cast("dict[str, Any]", given)
        texts, numbers = (
            {key: fields[key] for key in keys if fields.get(key) is not None} for keys in (_TEXTS, _NUMBERS)
        )
        units = fields.get("units")
        if (
            "do" not in texts
            or not all(isinstance(each, str) for each in texts.values())
            or not all(type(each) in {int, float} for each in numbers.values())
            or not isinstance(units, dict | None)
        ):
            raise ConfigurationError([_SHAPE])
        return cls(**texts, **numbers, units=cast("dict[str, Any] | None", units))


def adding(thread: str | None, account: str | None, units: Mapping[str, float | str | Decimal], id_: str) -> Order:
    """The order to add these amounts. Raises TypeError, and ConfigurationError for what is none."""
    given = {"thread": thread, "account": account, "id": id_}
    for name, text in given.items():
        if text is not None or name == "id":
            check_text(name, text)
    amounts = {unit: str(each) if isinstance(each, Decimal) else each for unit, each in units.items()}
    return Order(do="add-budget", thread=thread, account=account, units=amounts, id=id_)


def _digits(amount: Any) -> str:
    """An amount as it is compared: the same, however it was typed."""
    try:
        return written(Decimal(str(amount)))
    except InvalidOperation:  # whoever reads it says what is wrong with it
        return str(amount)


def _check_units(units: Mapping[str, Any] | None) -> None:
    if not units:
        raise ConfigurationError(["add-budget: name a unit and an amount, as in tokens=1000"])
    wrong = [f"add-budget: {each}" for unit, amount in units.items() if (each := _wrong(unit, amount)) is not None]
    if wrong:
        raise ConfigurationError(wrong)


def _wrong(unit: str, amount: Any) -> str | None:
    if unit not in UNITS:
        known = suggestion(unit, UNITS) or f"; there are: {', '.join(UNITS)}"
        return f"{told(unit)} is not a unit{known}"
    if isinstance(amount, bool) or not isinstance(amount, int | float | str):
        return f"{unit} is a number"
    if not adds(amount) or (isinstance(amount, float) and not math.isfinite(amount)):
        return f"{unit}: {told(amount, 40)} must be above 0: it is added to the limit"
    if isinstance(amount, float) and unit not in _PARTED and not amount.is_integer():
        return f"{unit}: {amount!r} is not a whole number"
    return None
