"""Classes that are quickly made: values that come and go with every message.

What attrs writes for a frozen class asks ``object.__setattr__`` for each field, and finds it by name. A slot can be set by what
reads and writes it, in a third of the time (:func:`quick`). Calling a class still packs what it is given by name into a dict and takes it out
again; a function of the same arguments takes a third of that again (:func:`maker`).
"""

from __future__ import annotations

from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import attrs

from organism.generated import Source

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

_FACTORY: Any = attrs.Factory
_MORE = ("__attrs_pre_init__", "__attrs_init__")
"""What a class has where its constructor begins with something else, or is its author's own."""
_SETTABLE: Any = {
    "__slots__": (),
    "__init__": object.__init__,
    "__setattr__": object.__setattr__,
    "__delattr__": object.__delattr__,
}


def quick(cls: type[T]) -> type[T]:
    """Gives a frozen attrs class with slots a constructor that does the same, sooner. A class whose constructor does more than
    to take its arguments and call ``__attrs_post_init__`` keeps its own.
    """
    made: Any = cls
    if _only_takes(made):
        before = made.__init__
        init = _constructor(made)
        for name in ("__qualname__", "__module__", "__doc__", "__annotations__"):
            setattr(init, name, getattr(before, name))
        made.__init__ = init
    return cls


def maker(cls: Callable[P, T]) -> Callable[P, T]:
    """A function that makes what an attrs class with slots makes of the same arguments, sooner: for where each message or call makes one.
    The class itself where its constructor does more.
    """
    made: Any = cls
    return _function(made) if _only_takes(made) else cls


def _only_takes(cls: type[attrs.AttrsInstance]) -> bool:
    if issubclass(cls, BaseException) or any(hasattr(cls, each) for each in _MORE):
        return False
    return all(_is_taken(cls, each) for each in attrs.fields(cls))


def _is_taken(cls: type, field: Any) -> bool:
    """Whether a field is set to the argument it is given, or to its default."""
    default: Any = field.default
    anew = isinstance(default, _FACTORY) and default.takes_self
    own = isinstance(getattr(cls, field.name, None), MemberDescriptorType)
    return own and field.init and field.validator is None and field.converter is None and not anew


def _constructor(cls: type[attrs.AttrsInstance]) -> Callable[..., None]:
    source = _source("constructor", cls)
    parameters, values = _taken(cls, source)
    lines = [
        f"{source.constant(getattr(cls, each.name).__set__)}(self, {value})"
        for each, value in zip(attrs.fields(cls), values, strict=True)
    ]
    init: Callable[..., None] = source.function(f"self, {parameters}", [*lines, *_afterwards(cls)] or ["pass"])
    init.__name__ = "__init__"
    return init


def _function(cls: type[attrs.AttrsInstance]) -> Callable[..., Any]:
    """What is frozen is made as one of a class that is not, and has the same slots: they are set as those of any class are."""
    source = _source("maker", cls)
    parameters, values = _taken(cls, source)
    frozen = cls.__setattr__ is not object.__setattr__
    open_one: Any = type(cls.__name__, (cls,), {**_SETTABLE, "__module__": cls.__module__}) if frozen else None
    own = source.constant(cls)
    return source.function(
        parameters,
        [
            f"self = {source.constant(open_one)}()" if frozen else f"self = {source.constant(object.__new__)}({own})",
            *(f"self.{each.name} = {value}" for each, value in zip(attrs.fields(cls), values, strict=True)),
            *([f"self.__class__ = {own}"] if frozen else []),
            *_afterwards(cls),
            "return self",
        ],
    )


def _source(what: str, cls: type[attrs.AttrsInstance]) -> Source:
    taken = {each.alias or each.name for each in attrs.fields(cls)}
    return Source(f"{what} of {cls.__module__}.{cls.__qualname__}", taken)


def _taken(cls: type[attrs.AttrsInstance], source: Source) -> tuple[str, list[str]]:
    """The parameters of a class but ``self``, and the value of each of its fields by them."""
    given, named, values = list[str](), list[str](), list[str]()
    for each in attrs.fields(cls):
        name = value = each.alias or each.name
        default = ""
        kept: Any = each.default
        if isinstance(kept, _FACTORY):
            left_out = source.constant(attrs.NOTHING)
            default, value = f"={left_out}", f"{source.constant(kept.factory)}() if {name} is {left_out} else {name}"
        elif kept is not attrs.NOTHING:
            default = f"={source.constant(kept)}"
        (named if each.kw_only else given).append(name + default)
        values.append(value)
    return ", ".join([*given, *(["*", *named] if named else [])]), values


def _afterwards(cls: type[attrs.AttrsInstance]) -> list[str]:
    return ["self.__attrs_post_init__()"] if hasattr(cls, "__attrs_post_init__") else []
