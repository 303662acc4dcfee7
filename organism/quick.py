"""Frozen classes that are quickly made: values that come and go with every message.

What attrs writes for a frozen class asks ``object.__setattr__`` for each field, and finds it by name. A slot can be set by what
reads and writes it, in a third of the time.
"""

from __future__ import annotations

from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from organism.generated import Source

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_FACTORY: Any = attrs.Factory


def quick(cls: type[T]) -> type[T]:
    """Gives a frozen attrs class with slots a constructor that does the same, sooner. A class whose constructor does more than
    to take its arguments and call ``__attrs_post_init__`` keeps its own.
    """
    made: Any = cls
    if _only_takes(made):
        before = made.__init__
        init = _written(made)
        for name in ("__qualname__", "__module__", "__doc__", "__annotations__"):
            setattr(init, name, getattr(before, name))
        made.__init__ = init
    return cls


def _only_takes(cls: type[attrs.AttrsInstance]) -> bool:
    return not issubclass(cls, BaseException) and all(_is_taken(cls, each) for each in attrs.fields(cls))


def _is_taken(cls: type, field: Any) -> bool:
    """Whether a field is set to the argument it is given, or to its default."""
    default: Any = field.default
    anew = isinstance(default, _FACTORY) and default.takes_self
    own = isinstance(getattr(cls, field.name, None), MemberDescriptorType)
    return own and field.init and field.validator is None and field.converter is None and not anew


def _written(cls: type[attrs.AttrsInstance]) -> Callable[..., None]:
    taken = {each.alias or each.name for each in attrs.fields(cls)}
    source = Source(f"constructor of {cls.__module__}.{cls.__qualname__}", taken)
    given, named, lines = ["self"], list[str](), list[str]()
    for each in attrs.fields(cls):
        name, value = each.alias or each.name, each.alias or each.name
        slot: Any = getattr(cls, each.name)
        default = ""
        kept: Any = each.default
        if isinstance(kept, _FACTORY):
            left_out = source.constant(attrs.NOTHING)
            default, value = f"={left_out}", f"{source.constant(kept.factory)}() if {name} is {left_out} else {name}"
        elif kept is not attrs.NOTHING:
            default = f"={source.constant(kept)}"
        (named if each.kw_only else given).append(name + default)
        lines.append(f"{source.constant(slot.__set__)}(self, {value})")
    if hasattr(cls, "__attrs_post_init__"):
        lines.append("self.__attrs_post_init__()")
    init: Callable[..., None] = source.function(
        ", ".join([*given, *(["*", *named] if named else [])]), lines or ["pass"]
    )
    init.__name__ = "__init__"
    return init


__all__ = ["quick"]
