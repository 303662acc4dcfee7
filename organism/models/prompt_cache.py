"""What was said to models before, taken apart once: an agent sends nearly all of its history again with every call.

A message is known by what it says and by all that was said before it, and by being the same object only where that stays as it is:
whoever changes a message between two calls has said something new. Only JSON's own types are known again; a message with anything else in it is taken
apart each time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast
from weakref import ref

from attrs import frozen

from organism.models.chat import format_of, tool_of
from organism.models.fixed import Fixed, FixedList
from organism.models.profiles import Text
from organism.models.prompt import Prompt, beside_of, canonical, digest_of, unbounded_in

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from organism.models.contract import Message, ToolSpec

MOST: Final = 8 << 20
"""Bytes of messages that are kept before the older half begins to be forgotten: some dozens of long histories."""
_EACH: Final = 512
"""Bytes that each takes beside its text."""
_DEEP: Final = 12
"""Levels of lists and mappings in one another that are looked into."""


@frozen(eq=False)
class _Said:
    """A message behind all that was said before it: ``digest`` stands for all of it, ``size`` counts its bytes."""

    text: Text
    digest: bytes
    size: int
    unbounded: str
    """The place of the first part, of all that was said, whose tokens its bytes do not bound."""


_NOTHING: Final = _Said(Text(b""), digest_of(b""), 0, "")


class PromptCache:
    """The prompts of one router, up to ``most`` bytes of messages and as much again that was said longer ago."""

    def __init__(self, *, most: int = MOST) -> None:
        self._most = most
        self._weight = 0
        self._known: dict[Hashable, _Said] = {}
        self._before: dict[Hashable, _Said] = {}
        """What was known when there was last too much: it is forgotten unless it is said again."""

    def of(
        self, messages: Sequence[Message], *, tools: Sequence[ToolSpec] = (), returns: Mapping[str, Any] | None = None
    ) -> Prompt:
        """As :func:`organism.models.prompt.prompt_of`, sooner."""
        beside = self._beside(tools, returns) if tools or returns is not None else ()
        last, known = _NOTHING, self._known
        parts, digests = [last.text], [last.digest]
        for index, message in enumerate(messages):
            stays = message if isinstance(message, Fixed) else None
            behind = None if stays is None else stays.known
            found = behind[1]() if behind is not None and behind[0] is last.digest else None
            if found is None:
                key = _key_of_message(message)
                place = None if key is None else (last.digest, key)
                found = known.get(place)
                if found is None:
                    found = self._said(last, message, index, place)
                    known = self._known
                if stays is not None:
                    stays.known = (last.digest, ref(found))
            last = found
            parts.append(last.text)
            digests.append(last.digest)
        size = last.size + sum([text.size + 1 for _, text in beside])
        return Prompt(
            parts=tuple(parts), digests=tuple(digests), beside=beside, unbounded=last.unbounded, size=size
        )  # fmt: skip

    def _said(self, last: _Said, message: Message, index: int, place: Hashable) -> _Said:
        """A message that was not said lately; it is known from now on where it has a ``place``."""
        if place is not None and (found := self._before.pop(place, None)) is not None:
            self._keep(place, found)
            return found
        body = canonical(message, f"messages[{index}]")
        unbounded = last.unbounded or next(unbounded_in(message, index), "")
        said = _Said(Text(body), digest_of(last.digest + body), last.size + len(body), unbounded)
        if place is not None:
            self._keep(place, said)
        return said

    def _keep(self, place: Hashable, said: _Said) -> None:
        self._known[place] = said
        self._weight += said.text.size + _EACH
        if self._weight > self._most:
            self._known, self._before, self._weight = {}, self._known, 0

    def _beside(
        self, tools: Sequence[ToolSpec], returns: Mapping[str, Any] | None
    ) -> tuple[tuple[bytes, Text], ...]:  # fmt: skip
        """The digest and the JSON of each tool and schema."""
        found = [self._tool(tool) for tool in tools]
        return tuple(found if returns is None else [*found, self._schema(format_of(returns))])

    def _tool(self, tool: ToolSpec) -> tuple[bytes, Text]:
        """The same of one tool."""
        parameters = tool.parameters
        if not isinstance(parameters, Fixed):
            return self._schema(tool_of(tool))
        known = parameters.known
        if known is None or known[0] is not tool:
            known = parameters.known = (tool, self._schema(tool_of(tool)))
        said: tuple[bytes, Text] = known[1]
        return said

    def _schema(self, schema: Mapping[str, Any]) -> tuple[bytes, Text]:
        key = _key_of(schema, _DEEP)
        place = None if key is None else ("beside", key)
        found = None if place is None else self._known.get(place) or self._before.pop(place, None)
        if found is None:
            digest, text = beside_of(schema)
            found = _Said(text, digest, text.size, "")
        if place is not None and place not in self._known:
            self._keep(place, found)
        return found.digest, found.text


def _key_of_message(message: Message) -> Hashable:
    """What tells a message from any other; ``None`` where nothing does that could be had for less than its JSON."""
    kind: type = type(cast("object", message))
    if (kind is Fixed or kind is dict) and len(message) == 2:
        role: object = message.get("role")
        content: object = message.get("content")
        if type(role) is str and type(content) is str:  # nearly all of them
            return (role, content)
    return _key_of(message, _DEEP)


def _key_of(value: object, deep: int) -> Hashable:
    """What tells a value from any other that is another one as JSON: 1, 1.0 and True are three, and equal to Python."""
    kind = type(value)
    key: Hashable = None
    if kind is str or value is None:
        key = (value,)
    elif kind is bool or kind is int:
        key = (kind, value)
    elif kind is float:
        key = (kind, repr(value))
    elif (kind is dict or kind is Fixed) and deep:
        key = _key_of_items(cast("dict[object, object]", value), deep - 1)
    elif (kind is list or kind is tuple or kind is FixedList) and deep:
        keys = [_key_of(each, deep - 1) for each in cast("Sequence[object]", value)]
        key = None if None in keys else (list, *keys)
    return key


def _key_of_items(value: dict[object, object], deep: int) -> Hashable:
    found: list[Hashable] = [dict]
    for name, each in value.items():
        key = _key_of(each, deep)
        if key is None or type(name) is not str:
            return None
        found += (name, key)
    return tuple(found)
