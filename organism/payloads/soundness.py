"""Whether a value of a payload class is what its class says: the constructor sees to that, and can be gone around.

``object.__new__`` makes a value without fields, and ``object.__setattr__`` puts anything into one. Whoever takes payloads from code that
it does not know looks at them here, so that what is posted can be written, compared and read.
"""

from __future__ import annotations

from typing import Any, Final, cast

from organism.errors import InvalidPayloadError
from organism.names import class_name
from organism.payloads.construction import Check, check_of
from organism.payloads.definition import PerClass, describe, held
from organism.payloads.frozendict import FrozenDict

_DEEPEST: Final = 200
"""How deep payloads may be nested; documents are read and written by recursion."""


@PerClass
def _looks(cls: type) -> tuple[Check, tuple[str, ...]]:
    """The check of a class, and the fields that may hold payloads."""
    described = describe(cls)
    return check_of(described), tuple(field.attribute for field in described.fields if held(field.type))


def flaw(value: Any) -> str | None:
    """What is wrong with a value of a payload class, or with one inside of it; ``None`` where nothing is.

    Lists and dicts that were put into it become what the constructor would have made of them.
    """
    try:
        _look_inside(value, 0)
    except InvalidPayloadError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - what is no whole value may raise anything when it is looked at
        return f"{class_name(value)} is not a whole value: {class_name(error)}"
    return None


def _look_inside(value: Any, depth: int) -> None:
    """Checks a payload, or those in a field whose own type was checked."""
    kind = cast("type[object]", type(value))
    if kind is tuple:
        for each in value:
            _look_inside(each, depth)
    elif kind is FrozenDict:
        for each in value.values():
            _look_inside(each, depth)
    elif value is not None:
        if depth > _DEEPEST:
            raise InvalidPayloadError(f"holds payloads more than {_DEEPEST} deep, or itself", where=class_name(value))
        check, nested = _looks(kind)
        check(value)
        for name in nested:
            _look_inside(getattr(value, name), depth + 1)


@PerClass
def _endless(cls: type) -> bool:
    """Whether payloads may be nested in its values without end: a class is among those that it holds."""
    holds: dict[type, set[type]] = {}
    waiting = [cls]
    while waiting:
        one = waiting.pop()
        if one not in holds:
            holds[one] = {each for field in describe(one).fields for each in held(field.type)}
            waiting += holds[one]
    # Whoever holds nothing but what comes to an end comes to one: what is left then are rings, and whoever holds one.
    while ends := [one for one, inner in holds.items() if holds.keys().isdisjoint(inner)]:
        for one in ends:
            del holds[one]
    return bool(holds)


def check_depth(value: Any) -> None:
    """Raises InvalidPayloadError where payloads are nested too deep in a value that is right but for that, as it was read."""
    if _endless(cast("type[object]", type(value))):  # few are
        _look_inside(value, 0)


def check_alone(cls: type) -> Check | None:
    """The check of a payload class that is all there is to look at; ``None`` where its values may hold other payloads. It raises
    whatever comes up: :func:`flaw` says what is wrong.
    """
    check, nested = _looks(cls)
    return None if nested else check
