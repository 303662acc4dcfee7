"""A dict that nobody can change: what a payload makes of the dicts it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def _refuse(*_args: object, **_named: object) -> NoReturn:
    raise TypeError("a payload cannot be changed; build a new one, from dict(...) of this")


_stays: Any = _refuse  # it stands in the place of methods of many shapes


class FrozenDict(dict[str, Any]):
    """A dict from str that refuses every change with TypeError, and can be hashed where its values can.

    It is a real dict, because fields are annotated as such: it equals other dicts, and ``json`` writes it. ``dict(x)``
    or ``x | {...}`` give a dict that may be changed. It has its keys in their order, as a journal gives them back: whoever goes through
    it after a restart finds what it found before.
    """

    __slots__ = ()

    def __init__(self, items: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> None:
        given = dict(items)
        super().__init__(sorted(given.items()) if len(given) > 1 else given)

    def __hash__(self) -> int:  # type: ignore[override] # dict says None, since it can be changed
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type[Self], tuple[dict[str, Any]]]:
        return type(self), (dict(self),)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self

    __setitem__ = __delitem__ = __ior__ = _stays
    clear = pop = popitem = setdefault = update = _stays
