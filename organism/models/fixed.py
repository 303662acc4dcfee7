"""JSON that stays as it is, and so may be shared: what an agent remembers is sent again with every call, and copied by none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, final

if TYPE_CHECKING:
    from collections.abc import Mapping


def _refuse(*_args: object, **_named: object) -> NoReturn:
    raise TypeError("what an agent remembers stays as it is: change a copy, as of dict(message)")


_stays: Any = _refuse  # it stands in the place of methods of many shapes


@final
class Fixed(dict[str, Any]):
    """An object that nobody changes, and neither what is in it. It is equal to a dict of the same, and written as one; a copy of it is
    one. ``known`` is for whoever knows it again.
    """

    __slots__ = ("known",)

    known: tuple[object, Any] | None

    def __init__(self, given: Mapping[str, Any]) -> None:
        super().__init__(given)
        self.known = None

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


__all__ = ["Fixed", "FixedList", "fixed"]
