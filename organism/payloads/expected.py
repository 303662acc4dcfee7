"""What a caller expects of a reply: a payload class, a union of them, or a name of one."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from organism.errors import UnexpectedReplyError
from organism.names import told
from organism.payloads.aliases import members


def check_expect(expect: Any) -> None:
    """Raises TypeError for what is none of that, before anything is asked. ``None``: anything is expected."""
    if expect is not None and type(expect) is not type:
        _classes(expect)


def as_expected(reply: Any, expect: Any) -> Any:
    """The reply; raises UnexpectedReplyError where it is no ``expect``, else as :func:`check_expect`. ``None``: anything is expected."""
    if expect is None or isinstance(reply, expect if type(expect) is type else _classes(expect)):
        return reply
    raise UnexpectedReplyError(reply, expect.__name__ if isinstance(expect, type) else str(expect))


def _classes(expect: Any) -> tuple[Any, ...]:
    """What a reply may be an instance of."""
    try:
        classes: list[Any] = [one for each in _several(expect) for one in members(each)]
    except Exception as error:  # a name that only type checkers know may raise anything
        raise TypeError(f"expect: {told(expect)} cannot be resolved ({type(error).__name__}: {error})") from error
    for one in classes:
        try:
            isinstance(None, one)
        except TypeError:
            raise TypeError(_misfit(expect, one)) from None
    return tuple(classes)


def _several(expect: Any) -> tuple[Any, ...]:
    if not isinstance(cast("object", expect), tuple):
        return (expect,)
    several: tuple[Any, ...] = expect
    return several


def _misfit(expect: Any, member: Any) -> str:
    """Why a reply cannot be compared with one of what is expected, and what to write."""
    if isinstance(member, TypeVar):
        name = getattr(expect, "__name__", "X")
        return f"expect must name its payload classes: {told(expect)} leaves {told(member)} open; write {name}[SomePayload]"
    holds = "" if member is expect else f", which holds {told(member)}"
    return f"expect must be a payload class, or a union of them, not {told(expect)}{holds}"
