"""What is said of a request that a recording has no answer to: which recorded one is nearest, and in what they differ. Pure."""

from __future__ import annotations

import json
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

from organism.models.formats import items, mapping
from organism.models.recordings.takes import document_of
from organism.names import excerpt, same_up_to

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MOST: Final = 2
"""Differences that are told."""
_LONG: Final = 48
"""Characters of a value that are shown."""
_NOTHING: Final = object()


def told_of(request: str, most: int, lines: Iterable[bytes]) -> str:
    """In words: ``request`` is what was asked, as canonical JSON, ``most`` the tokens of output that it may have; ``lines`` are
    those of the recording.
    """
    asked = {"max_output_tokens": most, **json.loads(request)}
    best: tuple[bool, int, int] | None = None
    found: list[str] = []
    number = 0
    for line in lines:
        try:
            document = document_of(line)
            other = {"max_output_tokens": document["max_output_tokens"], **document["request"]}
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
        number += 1
        differing = list(_differences(asked, other, ""))
        # The model first, then how far the two go together: that is where a run has left its recording.
        together = same_up_to(items(asked.get("messages")), items(other.get("messages")))
        rank = (asked["model"] != other.get("model"), -together, len(differing))
        if best is None or rank < best:
            best, found = rank, differing
    if best is None:
        return "has no answer to this request: it is empty"
    if not found:
        return "has a stream of this request whose reader left, and no whole answer"
    more = f", and {len(found) - _MOST} more" if len(found) > _MOST else ""
    return f"has no answer to this request; the nearest of {number} differs in {'; '.join(found[:_MOST])}{more}"


def _differences(ours: object, theirs: object, path: str) -> Iterator[str]:
    """Where two values of JSON differ, each with what stands here and there."""
    if ours == theirs:
        return
    kinds = type(ours), type(theirs)
    if kinds == (dict, dict):
        here, there = mapping(ours), mapping(theirs)
        for name in dict.fromkeys((*here, *there)):
            inner = f"{path}.{name}" if path else name
            yield from _differences(here.get(name, _NOTHING), there.get(name, _NOTHING), inner)
    elif kinds == (list, list):
        for index, (one, another) in enumerate(zip_longest(items(ours), items(theirs), fillvalue=_NOTHING)):
            yield from _differences(one, another, f"{path}[{index}]")
    else:
        yield f"{path}: {_shown(ours, theirs)} here, {_shown(theirs, ours)} there"


def _shown(value: object, other: object) -> str:
    """A value, cut to where it begins to differ from the other."""
    if value is _NOTHING:
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if not isinstance(value, str) or not isinstance(other, str):
        return excerpt(text, _LONG)
    return f"'{excerpt(text, _LONG, start=max(0, same_up_to(text, other) - _LONG // 3))}'"
