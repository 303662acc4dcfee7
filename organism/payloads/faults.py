"""What is wrong with a value or a document: said with its place, in bounded text, all at once."""

from __future__ import annotations

import reprlib
from itertools import islice
from typing import TYPE_CHECKING, Final

from attrs import frozen

from organism.errors import InvalidPayloadError
from organism.names import excerpt, nearest, suggestion

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

MISSING: Final = "is missing"
UNKNOWN: Final = "is not a field"
_AT_MOST: Final = 20
_LONGEST_NAME: Final = 64

_repr: Final = reprlib.Repr()
_repr.maxstring = _repr.maxother = 80
_repr.maxlong = 40
_repr.maxlevel = 2


class Misfit(Exception):  # noqa: N818 - never leaves the room: callers see InvalidPayloadError
    """A value does not fit its type. ``path`` leads from the field to the spot, as ``[2]`` or ``['key']``."""

    def __init__(self, problem: str = "", path: str = "") -> None:
        self.problem = problem
        self.path = path
        super().__init__(problem)


@frozen
class Fault:
    """One thing that is wrong with a document. ``where`` is a path such as ``Question.tags[2]``."""

    where: str
    problem: str


def shown(value: object) -> str:
    """A representation of at most about 80 characters, of any value."""
    try:
        return _repr.repr(value)
    except ValueError:  # an int of more digits than Python prints
        return "(too long to print)"


def expected(what: str, value: object) -> str:
    """``expected int, got str 'x'``; of what was expected at most about 200 characters."""
    wanted = excerpt(what, 200)
    return (
        f"expected {wanted}, got None"
        if value is None
        else f"expected {wanted}, got {type(value).__name__} {shown(value)}"
    )


def unknown_field(name: str, known: Iterable[str]) -> str:
    """What is wrong with a field that the class does not have, with the nearest one it has."""
    names = list(known)
    hint = _near(name, names)
    return f"{UNKNOWN}{hint}" if hint or not names else f"{UNKNOWN}; there are {', '.join(names)}"


def apart(error: InvalidPayloadError) -> Iterator[InvalidPayloadError]:
    """The single things that are wrong, less the fields that are missing because another name was written in their place."""
    parts = error.parts or (error,)
    missing = {each.where for each in parts if each.problem.startswith(MISSING)}
    meant: set[str] = set()
    for each in parts:
        path, _, name = each.where.rpartition(".")
        if each.problem.startswith(UNKNOWN):
            beside = [where.rpartition(".")[2] for where in missing if where.rpartition(".")[0] == path]
            meant.add(f"{path}.{nearest(name, beside)}")
    return (each for each in parts if each.where not in missing & meant)


def invalid(faults: Iterator[Fault], name: str) -> InvalidPayloadError | None:
    """One error for all the faults (for the first 20 of them), or None where there are none.

    Takes no more of the iterator than it shows, so that a hostile document cannot make it work for long.
    """
    first = [InvalidPayloadError(fault.problem, where=fault.where) for fault in islice(faults, _AT_MOST + 1)]
    if len(first) <= 1:
        return first[0] if first else None
    parts = first[:_AT_MOST]
    many = f"{len(first)} problems" if len(first) <= _AT_MOST else f"more than {_AT_MOST} problems"
    return InvalidPayloadError(f"{many}: {'; '.join(map(str, parts))}", where=name, parts=parts)


class OtherPayloadError(InvalidPayloadError):
    """A document is of another payload than those that are expected, which says nothing of whether it is whole."""


def chosen(name: str, classes: Mapping[str, type], expect: Collection[type] | None) -> type:
    """The class of a document that says it is a ``name``; InvalidPayloadError if there is none, or not among ``expect``."""
    cls = classes.get(name)
    if cls is not None and (expect is None or cls in expect):
        return cls
    wanted = sorted(classes if expect is None else {one.__name__ for one in expect})
    short = excerpt(name, _LONGEST_NAME)
    if expect is not None:
        raise OtherPayloadError(f"expected {' or '.join(wanted) or 'no payload'}, got {short!r}{_near(name, wanted)}")
    raise InvalidPayloadError(f"{short!r} is not a payload of this organism{_near(name, wanted)}")


def _near(name: str, known: list[str]) -> str:
    return suggestion(name, known) if len(name) <= _LONGEST_NAME and name not in known else ""
