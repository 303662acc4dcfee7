"""What the names of types stand for: ``NewType``, ``type X = ...`` with and without parameters, and ``Annotated``."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Annotated, Any, Final, NewType, TypeVar, Union, get_args, get_origin

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_NESTING: Final = 50
"""Names that may stand for one another."""


def unnamed(annotation: Any) -> Any:
    """What an annotation stands for, without the names and texts around it; one that stands for itself without end, as it is.
    Raises what a name raises that only type checkers know: Python looks at what ``type X = ...`` names when it is asked for.
    """
    for _ in range(MAX_NESTING):
        inner = get_args(annotation)[0] if get_origin(annotation) is Annotated else without_a_name(annotation)
        if inner is annotation:
            break
        annotation = inner
    return annotation


def without_a_name(annotation: Any) -> Any:
    """What one name stands for; an annotation that is none, as it is. Raises as :func:`unnamed`."""
    if isinstance(annotation, NewType):
        return annotation.__supertype__
    if _is_alias(annotation):
        return annotation.__value__
    alias = get_origin(annotation)
    return _filled(annotation, alias) if _is_alias(alias) else annotation


def members(annotation: object, within: tuple[object, ...] = ()) -> Iterator[object]:
    """The members of a union, also of those that it names, or the one class. Raises as :func:`unnamed` does."""
    one = unnamed(annotation)
    if get_origin(one) not in {Union, types.UnionType}:
        yield one
    elif one not in within:  # what it names may name it
        for each in get_args(one):
            yield from members(each, (*within, one))


def _is_alias(annotation: Any) -> bool:
    return type(annotation).__name__ == "TypeAliasType"  # ``type X = ...`` of Python 3.12


def _filled(annotation: Any, alias: Any) -> Any:
    """What ``X[A]`` stands for where ``type X[T] = ...``; itself where its parameters are no plain ones, or others in number."""
    parameters, given = alias.__type_params__, get_args(annotation)
    if len(parameters) != len(given) or not all(isinstance(each, TypeVar) for each in parameters):
        return annotation
    stands_for = dict(zip(parameters, given, strict=True))
    value = alias.__value__
    if isinstance(value, TypeVar):
        return stands_for.get(value, value)
    free = getattr(value, "__parameters__", ())
    return value[tuple(stands_for.get(each, each) for each in free)] if free else value
