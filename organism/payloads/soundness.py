"""Whether a value of a payload class is what its class says: the constructor sees to that, and can be gone around.

``object.__new__`` makes a value without fields, and ``object.__setattr__`` puts anything into one. Whoever takes payloads from code that
it does not know looks at them here, so that what is posted can be written, compared and read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from organism.errors import InvalidPayloadError
from organism.names import class_name
from organism.payloads.construction import Check, check_of
from organism.payloads.definition import PerClass, describe, held, is_payload

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    check, nested = _looks(type(value))
    try:
        check(value)
        return _flaw_inside(value, nested) if nested else None
    except InvalidPayloadError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - what is no whole value may raise anything when it is looked at
        return f"{class_name(value)} is no whole value: {class_name(error)}"


def _flaw_inside(value: Any, nested: tuple[str, ...]) -> str | None:
    """The same of what is inside. Each value is looked at once: many may hold one and the same."""
    seen = {id(value)}
    way: list[tuple[Any, Iterator[Any]]] = [(value, _inside(value, nested))]
    while way:
        one = next(way[-1][1], None)
        if one is None:
            way.pop()
        elif id(one) not in seen:
            seen.add(id(one))
            check, below = _looks(type(one))
            check(one)
            if below:
                way.append((one, _inside(one, below)))
            if len(way) > _DEEPEST:
                return f"{class_name(value)} holds payloads more than {_DEEPEST} deep"
        elif any(one is above for above, _ in way):
            return f"{class_name(value)} holds itself"
    return None


def _inside(value: Any, nested: tuple[str, ...]) -> Iterator[Any]:
    """The payloads that stand in these fields."""
    waiting = [getattr(value, name) for name in nested]
    while waiting:
        one = waiting.pop()
        if isinstance(one, tuple):
            waiting += one
        elif isinstance(one, dict):
            waiting += one.values()
        elif is_payload(one):
            yield one


def check_alone(cls: type) -> Check | None:
    """The check of a payload class that is all there is to look at; ``None`` where its values may hold other payloads. It raises
    whatever comes up: :func:`flaw` says what is wrong.
    """
    check, nested = _looks(cls)
    return None if nested else check


__all__ = ["Check", "check_alone", "flaw"]
