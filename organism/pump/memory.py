"""``ctx.state``: what a handler remembers within its thread, and which values may be kept there (R7)."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, cast

from organism.errors import NotRunningError
from organism.models.frozen_json import OTHER, Fixed, FixedList, fixed_texts
from organism.names import class_name, told
from organism.payloads import flaw, is_payload
from organism.threads.outcomes import Memory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from organism.pump.delivery import Delivery


class HandlerState(MutableMapping[str, Any]):
    """A handler's memory in its thread: JSON values and payloads. Reads are copies; writes take effect when the ``delivery`` ends well, and raise
    NotRunningError afterwards. Keys are sorted, in it and in the dicts it holds, as a journal gives them back.
    """

    __slots__ = ("_changes", "_delivery", "_stored")

    def __init__(self, stored: Mapping[str, Any], delivery: Delivery) -> None:
        self._stored = stored
        self._delivery = delivery
        self._changes: dict[str, tuple[Any] | None] = {}

    def __getitem__(self, key: str) -> Any:
        change = self._changes.get(key, self)
        if change is None:
            raise KeyError(key)
        return copied(self._stored[key] if change is self else change[0])  # type: ignore[index]

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key; ``default`` where there is none."""
        change = self._changes.get(key, self)
        if change is self:
            return copied(self._stored[key]) if key in self._stored else default
        return default if change is None else copied(change[0])  # type: ignore[index]

    def __setitem__(self, key: str, value: Any) -> None:
        check_running(self._delivery)
        if type(key) is not str or not key.isascii():
            key = _sound("a key of state", _key("", key))
        # The common case, plain values, needs no further check.
        plain = -_SMALL < value < _SMALL if type(value) is int else type(value) is str and value.isascii()
        self._changes[key] = (value if plain else _storable(key, value),)

    def __delitem__(self, key: str) -> None:
        check_running(self._delivery)
        if key not in self:
            raise KeyError(key)
        if key in self._stored:
            self._changes[key] = None
        else:  # set and deleted in the same delivery: no change
            del self._changes[key]

    def __contains__(self, key: object) -> bool:
        change = self._changes.get(cast("str", key), self)
        return key in self._stored if change is self else change is not None

    def __iter__(self) -> Iterator[str]:
        yield from sorted(key for key in {*self._stored, *self._changes} if key in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def changes(self) -> dict[str, tuple[Any] | None]:
        """What was changed: ``(value,)``, or ``None`` for a key that went."""
        return self._changes

    # Frozen values, for agents' histories

    def fixed(self, key: str) -> Any:
        """The value of a key, frozen: where it was written by :meth:`fix` it is no copy."""
        change = self._changes.get(key, self)
        if change is None:
            raise KeyError(key)
        value: Any = self._stored[key] if change is self else change[0]  # type: ignore[index]
        return value if type(value) is Fixed else fixed_copy(key, value)

    def fix(self, key: str, value: Mapping[str, Any]) -> Fixed:
        """Writes a frozen copy of a mapping, and returns that."""
        check_running(self._delivery)
        kept = fixed_copy(key, value)
        self._changes[key] = (kept,)
        return kept

    def take_reading(self) -> object | None:
        """Takes what an earlier delivery left by :meth:`leave_reading`; ``None`` where there is nothing, or the memory has changed since."""
        stored = self._stored
        if not isinstance(stored, Memory) or stored.reading is None:
            return None
        (changed, reading), stored.reading = stored.reading, None
        return reading if changed == stored.changed else None

    def leave_reading(self, reading: object) -> None:
        """Leaves for the next delivery what was parsed of the memory, as it is once this delivery has ended well. It is a cache: no
        record or snapshot has it.
        """
        if isinstance(self._stored, Memory):
            self._stored.reading = (self._stored.changed + bool(self._changes), reading)


def check_running(delivery: Delivery) -> None:
    """Raises NotRunningError once a delivery is over."""
    if delivery.over:
        raise NotRunningError(
            f"the delivery of {delivery.message.id} is over: its context cannot be used by tasks that outlive it"
        )


def copied(value: Any) -> Any:
    """A copy of a value: lists and dicts are copied all the way down, what they hold besides is not."""
    whole: Any = value  # what isinstance makes of a container has no types inside
    if isinstance(value, dict):
        return {key: copied(each) for key, each in whole.items()}
    return [copied(each) for each in whole] if isinstance(value, list) else value


_DEEPEST: Final = 200
"""How deep lists and dicts may be nested in a value that is kept: JSON is parsed by recursion."""
_SMALL: Final = 1 << 62
"""Integers of a smaller magnitude need no further check."""
_LONGEST: Final = 14_000
"""How many bits an integer that is kept may have: Python converts no more than 4,300 digits."""


def fixed_copy(key: str, value: Mapping[str, Any]) -> Fixed:
    """A frozen copy of a mapping, checked for what may be kept."""
    if type(value) is Fixed:
        return value
    kept: Any = fixed_texts(value)
    if kept is not OTHER:
        return cast("Fixed", kept)
    return cast("Fixed", _fixed(key, value if type(value) is dict else dict(value), 0))


def _fixed(key: str, value: Any, depth: int) -> Any:
    """A frozen copy of what an agent heard and said, which may contain any text."""
    whole: Any = value  # what isinstance makes of a container has no types inside
    if type(whole) is str or type(whole) is Fixed or type(whole) is FixedList:
        return whole
    if isinstance(value, dict):
        _check_depth(key, depth)
        held: dict[str, Any] = {}
        for name, each in whole.items():
            own = name if type(name) is str else _key(key, name)
            held[own] = each if type(each) is str else _fixed(key, each, depth + 1)
        return Fixed(held)
    if isinstance(value, (list, tuple)):
        _check_depth(key, depth)
        return FixedList([each if type(each) is str else _fixed(key, each, depth + 1) for each in whole])
    return _single(key, whole, fixed=True)


def _storable(key: str, value: Any, depth: int = 0) -> Any:
    """A copy of a value, checked for what may be kept; payloads are kept as they are."""
    whole: Any = value  # as above
    if isinstance(value, (list, tuple)):
        _check_depth(key, depth)
        return [_storable(key, each, depth + 1) for each in whole]
    if isinstance(value, dict):
        _check_depth(key, depth)
        kept = {_name(key, name): _storable(key, each, depth + 1) for name, each in whole.items()}
        return dict(sorted(kept.items()))
    return _single(key, whole, fixed=False)


def _check_depth(key: str, depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError(f"state['{key}'] is nested more than {_DEEPEST} deep, or holds itself")


def _single(key: str, value: Any, *, fixed: bool) -> Any:
    """A value that is neither a list nor a dict."""
    if value is None:
        return None
    if isinstance(value, (str, int, float)):
        return _bare(key, value, fixed=fixed)
    if is_payload(value):
        wrong = flaw(value)
        if wrong is not None:
            raise ValueError(f"state['{key}']: {wrong}")
        return value
    raise TypeError(f"state['{key}'] holds JSON values and payloads, not {class_name(value)}")


def _bare(key: str, value: str | float, *, fixed: bool) -> Any:
    """A single value. One of a subclass (of str, int, float) becomes one of that class itself: a subclass may override anything.

    Lone surrogates, infinities and NaN, which JSON readers need not understand, are refused as in payloads, but not in what is ``fixed``.
    """
    if isinstance(value, str):
        text = str.__str__(value)
        return text if fixed else _sound(f"state['{key}']", text)
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        if int.bit_length(value) > _LONGEST:
            raise ValueError(f"state['{key}'] holds an integer of more than 4,200 digits")
        return int.__int__(value)
    number = float.__float__(value)
    if not (fixed or isfinite(number)):
        raise ValueError(
            f"state['{key}']: {number} cannot be kept; a float must be finite (None says that there is none)"
        )
    return number


def _sound(where: str, text: str) -> str:
    """The text; raises ValueError for one with a lone surrogate, which cannot be encoded."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            half = f"U+{ord(text[error.start]):04X}"
            raise ValueError(
                f"{where} holds a lone surrogate ({half}) at index {error.start}, which is not a character; write it as "
                "text.encode('utf-8', 'backslashreplace').decode()"
            ) from None
    return text


def _name(path: str, name: Any) -> str:
    """A key of a dict in the state."""
    return _sound(f"a key in state['{path}']", _key(path, name))


def _key(path: str, key: Any) -> str:
    if type(key) is str:
        return key
    if not isinstance(key, str):
        where = f"state['{path}']" if path else "state"
        raise TypeError(f"{where} has keys of type str, not {told(key)}")
    return str.__str__(key)
