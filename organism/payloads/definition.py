"""What a payload class carries with it: its definition, and whatever is made from it once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from attrs import define, field

from organism.errors import PayloadTypeError
from organism.payloads.types import Choice, FieldType, Many, Maybe, Nested, OneOf, PayloadType, Scalar, Table

T = TypeVar("T")

_ATTRIBUTE: Final = "__organism_payload__"


@define(eq=False)
class Definition:
    """Stands on the payload class itself, so that it is gone when the class is; there is no registry.

    ``resolve`` reads the field types. It may run later than the declaration, where an annotation names a class that
    is not defined yet; it raises PayloadTypeError. ``hook`` is the ``__attrs_post_init__`` that the author of the class
    or of one of its bases wrote. ``kept`` holds what :class:`PerClass` made.
    """

    cls: type
    resolve: Callable[[], PayloadType]
    hook: Callable[[Any], None] | None = None
    described: PayloadType | None = None
    kept: dict[Any, Any] = field(factory=dict[Any, Any])

    def attach(self) -> None:
        """Makes the class a payload."""
        setattr(self.cls, _ATTRIBUTE, self)


def definition_if_any(cls: type) -> Definition | None:
    """The definition of a payload class, None for other classes. A subclass that is not decorated itself has none, and neither has
    a class that was given something of that name, or the definition of another one.
    """
    found: object = cls.__dict__.get(_ATTRIBUTE)
    return found if type(found) is Definition and found.cls is cls else None


def definition_of(cls: type) -> Definition:
    """The definition of a payload class; raises PayloadTypeError for other classes."""
    definition = definition_if_any(cls)
    if definition is None:
        raise PayloadTypeError(
            f"{cls.__module__}.{cls.__qualname__} is not a payload; decorate the class with @payload"
        )
    return definition


def is_payload(cls_or_value: object) -> bool:
    """Whether it is a payload class, or a value of one."""
    cls = cls_or_value if isinstance(cls_or_value, type) else type(cls_or_value)
    return definition_if_any(cls) is not None


def describe(cls: type) -> PayloadType:
    """What a payload class is.

    Raises PayloadTypeError for other classes, and where an annotation names something that still does not exist.
    """
    definition = definition_of(cls)
    if definition.described is None:
        definition.described = definition.resolve()
    return definition.described


class PerClass(Generic[T]):
    """A function of a payload class whose result is made once and kept on the class. Used as a decorator."""

    def __init__(self, make: Callable[[type], T]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    def __call__(self, cls: type) -> T:
        """What was made for the class; raises PayloadTypeError where it is no payload."""
        try:  # in one step, since every message passes here
            made: T = cls.__dict__[_ATTRIBUTE].kept[self]
        except KeyError:
            kept = definition_of(cls).kept
            made = kept[self] = self._make(cls)
        return made


@PerClass
def within(cls: type) -> tuple[type, ...]:
    """The class and every payload class that its values may hold, each once, outer ones first.

    Raises PayloadTypeError where two of them have one name.
    """
    found: dict[str, type] = {}
    waiting = [cls]
    while waiting:
        one = waiting.pop(0)
        known = found.setdefault(one.__name__, one)
        if known is not one:
            raise PayloadTypeError(clash(known, one))
        waiting += [
            inner
            for field in describe(one).fields
            for inner in held(field.type)
            if found.get(inner.__name__) is not inner
        ]
    return tuple(found.values())


def clash(one: type, other: type) -> str:
    """What is wrong with two payload classes of one name."""
    places = " and ".join(f"{cls.__module__}.{cls.__qualname__}" for cls in (one, other))
    return f"two payload classes are named {one.__name__}: {places}; rename one, names are unique in an organism"


def held(type_: FieldType) -> tuple[type, ...]:
    """The payload classes that a type names."""
    match type_:
        case Scalar() | Choice():
            return ()
        case Nested():
            return (type_.cls,)
        case OneOf():
            return type_.classes
        case Many():
            return held(type_.item)
        case Table():
            return held(type_.value)
        case Maybe():
            return held(type_.inner)
