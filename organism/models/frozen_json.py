"""JSON that stays as it is, and so may be shared: what an agent remembers is sent again with every call, and copied by none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn, final

if TYPE_CHECKING:
    from collections.abc import Iterable

OTHER: Final = object()
"""Stands for what is no texts alone."""
_DEEP: Final = 8
"""Levels of lists and mappings in one another that are looked into for texts."""
_NAMES: Final = frozenset({str})
_TEXTS: Final = frozenset({str, type(None)})


def _refuse(*_args: object, **_named: object) -> NoReturn:
    raise TypeError("what an agent remembers stays as it is: change a copy, as of dict(message)")


_stays: Any = _refuse  # it stands in the place of methods of many shapes


@final
class Fixed(dict[str, Any]):
    """An object that nobody changes, and neither what is in it. It is equal to a dict of the same, and written as one; a copy of it is
    one. ``known`` is for whoever knows it again; it is not there until then, since most are made and forgotten.
    """

    __slots__ = ("known",)

    known: tuple[object, Any]

    __setitem__ = __delitem__ = __ior__ = _stays
    clear = pop = popitem = setdefault = update = _stays

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (dict(self),)


@final
class FixedList(list[Any]):
    """A list that nobody changes."""

    __slots__ = ()

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _stays
    append = clear = extend = insert = pop = remove = reverse = sort = _stays

    def __reduce__(self) -> tuple[type[list[Any]], tuple[list[Any]]]:
        return list, (list(self),)


def fixed(value: Any) -> Any:
    """The same JSON value, with nothing in it that could be changed."""
    whole: Any = value  # what isinstance makes of a container has no types inside
    if isinstance(value, dict):
        return Fixed({key: fixed(each) for key, each in whole.items()})
    return FixedList([fixed(each) for each in whole]) if isinstance(value, (list, tuple)) else value


def fixed_texts(value: object, deep: int = _DEEP, *, in_ascii: bool = False) -> Any:
    """The same, fixed, where it is a mapping of texts, as most messages are, or has lists and mappings of such, which JSON has a form for
    whatever they say; else :data:`OTHER`. With ``in_ascii`` a text that is not in ASCII makes it that as well; names may be in any.
    """
    whole: Any = value  # as above
    kind, held = type(value), whole
    if kind is dict:
        if not _NAMES.issuperset(map(type, whole)):
            return OTHER
        if _TEXTS.issuperset(map(type, whole.values())):
            return OTHER if in_ascii and not _are_ascii(whole.values()) else Fixed(whole)
        places, held = whole.items(), dict(whole)
    elif kind is list:
        places, held = enumerate(whole), list(whole)
    else:
        return OTHER
    for place, each in places:
        if type(each) not in _TEXTS:
            inner = fixed_texts(each, deep - 1, in_ascii=in_ascii) if deep else OTHER
            if inner is OTHER:
                return OTHER
            held[place] = inner
        elif in_ascii and each and not each.isascii():
            return OTHER
    return Fixed(held) if kind is dict else FixedList(held)


def _are_ascii(texts: Iterable[str | None]) -> bool:
    return all(map(str.isascii, filter(None, texts)))
