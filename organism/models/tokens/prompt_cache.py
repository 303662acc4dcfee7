"""What was said to models before, taken apart once: an agent sends nearly all of its history again with every call.

A message is known by what it says and by all that was said before it, and by being the same object only where that stays as it is:
whoever changes a message between two calls has said something new. Only JSON's own types are known again; a message with anything else in it is taken
apart each time.
"""

from __future__ import annotations

from itertools import islice
from operator import is_
from sys import getsizeof
from typing import TYPE_CHECKING, Any, Final, cast
from weakref import ref

from attrs import define, frozen

from organism.models.contract import Message
from organism.models.frozen_json import Fixed, FixedList
from organism.models.openai.request import format_of, tool_of
from organism.models.reasoning import kept_in
from organism.models.tokens.profiles import Text
from organism.models.tokens.prompt import Prompt, beside_of, canonical, canonical_text, digest_of, unbounded_in
from organism.quick import maker

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from organism.models.contract import ToolSpec

MOST: Final = 12 << 20
"""Bytes that are kept before the older half begins to be forgotten: some dozens of long histories."""
_EACH: Final = 640
"""Bytes of all that is made for one message beside its text: what it is known by, its digest, its profile and their places."""
_PLAIN: Final = 3
"""What the place of a message with nothing but a text is made of: the digest of what was said before, its role and its content."""
_OFFERS: Final = 256
"""Tuples of tools that are known again."""
_DEEP: Final = 12
"""Levels of lists and mappings in one another that are looked into."""
LONG: Final = 16
"""Messages from which a prompt is kept as a whole: shorter ones are looked through as soon."""
_LOOK: Final = 8
"""Messages at the end of a prompt that may be new, beyond those that were said last."""


@define(eq=False)
class _Said:
    """A message behind all that was said before it: ``digest`` stands for all of it, ``size`` counts its bytes. Nobody changes one."""

    text: Text
    digest: bytes
    size: int
    unbounded: str
    """The place of the first part, of all that was said, whose tokens its bytes do not bound."""
    kept_for: frozenset[str] = frozenset()
    """For whom something is kept in all that was said."""


@frozen(eq=False)
class _Beside:
    """What is sent beside the messages: the digest and the JSON of each, which of them there are, and their bytes, each with a comma."""

    texts: tuple[tuple[bytes, Text], ...]
    offer: frozenset[bytes]
    size: int


def _beside_of(texts: tuple[tuple[bytes, Text], ...]) -> _Beside:
    return _Beside(texts, frozenset([digest for digest, _ in texts]), sum([text.size + 1 for _, text in texts]))


_new_prompt: Final = maker(Prompt)
_new_said: Final = maker(_Said)
_NOTHING_BESIDE: Final = _beside_of(())
_NOTHING: Final = _Said(Text(b""), digest_of(b""), 0, "")


@define(eq=False)
class _Beginning:
    """The first messages of a long prompt, none of which anybody can change, with the ``parts`` and ``digests`` that it begins with for
    them (one more than messages). ``last`` stands for all of it. Nobody changes one.
    """

    messages: tuple[Message, ...]
    parts: tuple[Text, ...]
    digests: tuple[bytes, ...]
    last: _Said
    weight: int


class LongPrompts:
    """The beginnings of the long prompts that were said last, ``most`` bytes in all; each is known by the last of its messages.

    The next prompt of an agent begins with all of its last one: what it adds is all that is looked at.
    """

    def __init__(self, *, most: int) -> None:
        self._most = most
        self.weight = 0
        """Bytes that are kept: the messages too, since nobody else may have them any more."""
        self._known: dict[int, _Beginning] = {}

    def of(self, messages: Sequence[Message]) -> _Beginning | None:
        """A beginning of this prompt that is all the same objects as one that was said."""
        for place in range(len(messages) - 1, max(-1, len(messages) - 1 - _LOOK), -1):
            found = self._known.get(id(messages[place]))
            if found is not None and len(found.messages) == place + 1 and all(map(is_, found.messages, messages)):
                return found
        return None

    def keep(self, beginning: _Beginning, instead_of: _Beginning | None) -> None:
        """Keeps one, ``instead_of`` the one that it goes on from."""
        if instead_of is not None:
            self._forget(instead_of)
        self._forget(self._known.get(id(beginning.messages[-1])))
        self._known[id(beginning.messages[-1])] = beginning
        self.weight += beginning.weight
        while self.weight > self._most:
            self._forget(next(iter(self._known.values())))

    def _forget(self, beginning: _Beginning | None) -> None:
        if beginning is not None and self._known.get(id(beginning.messages[-1])) is beginning:
            del self._known[id(beginning.messages[-1])]
            self.weight -= beginning.weight


class PromptCache:
    """The prompts of one router, up to ``most`` bytes, as much again that was said longer ago, and of long prompts."""

    def __init__(self, *, most: int = MOST) -> None:
        self._most = most
        self._weight = 0
        self._known: dict[Hashable, _Said] = {}
        self._before: dict[Hashable, _Said] = {}
        """What was known when there was last too much: it is forgotten unless it is said again."""
        self.long = LongPrompts(most=most)
        self._offered: dict[int, tuple[Sequence[ToolSpec], _Beside]] = {}
        """What was lately sent beside the messages, by the tools that it is of, where nobody can change them."""

    def of(
        self, messages: Sequence[Message], *, tools: Sequence[ToolSpec] = (), returns: Mapping[str, Any] | None = None
    ) -> Prompt:
        """The prompt of these messages. Raises TypeError, naming the message, where one holds what is no JSON.

        Tools and the schema of the answer count as they are sent in the chat-completions dialect, which is the longest form
        that is in use.
        """
        beside = self._beside(tools, returns) if tools or returns is not None else _NOTHING_BESIDE
        before = self.long.of(messages) if len(messages) >= LONG else None
        if before is None:
            start, last = 0, _NOTHING
            parts, digests = [last.text], [last.digest]
        else:
            start, last = len(before.messages), before.last
            parts, digests = [*before.parts], [*before.digests]
        stay = _stays_until(messages, start) if len(messages) >= LONG else 0
        known, first, end = self._known, last, last
        for index, message in enumerate(islice(messages, start, None), start):
            stays = message if isinstance(message, Fixed) else None
            behind = getattr(stays, "known", None)
            found = behind[1]() if behind is not None and behind[0] is last.digest else None
            if found is None:
                key = _key_of_message(message, index)
                place = None if key is None else (last.digest, *key)
                found = known.get(place)
                if found is None:
                    found = self._said(last, message, index, place)
                    known = self._known
                if stays is not None:
                    stays.known = (last.digest, ref(found))
            last = found
            parts.append(last.text)
            digests.append(last.digest)
            if index < stay:
                end = last
        told = _new_prompt(
            parts=tuple(parts),
            digests=tuple(digests),
            beside=beside.texts,
            unbounded=last.unbounded,
            size=last.size + beside.size,
            offer=beside.offer,
            kept_for=last.kept_for,
        )
        if stay >= LONG and stay > start:
            kept = tuple(messages[:stay]), told.parts[: stay + 1], told.digests[: stay + 1]
            weight = sum(map(_bytes_of, kept[0][start:]), end.size - first.size + (stay - start) * _EACH)
            weight += 0 if before is None else before.weight
            self.long.keep(_Beginning(*kept, last=end, weight=weight), before)
        return told

    def _said(self, last: _Said, message: Message, index: int, place: tuple[Hashable, ...] | None) -> _Said:
        """A message that was not said lately; it is known from now on where it has a ``place``."""
        if place is not None and (found := self._before.pop(place, None)) is not None:
            self._keep(place, found)
            return found
        unbounded, kept_for = last.unbounded, last.kept_for
        if place is not None and len(place) == _PLAIN:
            body = canonical_text(message["role"], message["content"])
        else:
            known: object = None if place is None else place[1]
            body = known if type(known) is bytes else canonical(message, f"messages[{index}]")
            unbounded = unbounded or next(unbounded_in(message, index), "")
            kept_for |= kept_in(message)
        said = _new_said(Text(body), digest_of(last.digest + body), last.size + len(body), unbounded, kept_for)
        if place is not None:
            self._keep(place, said)
        return said

    def _keep(self, place: tuple[Hashable, ...], said: _Said) -> None:
        self._known[place] = said
        body = said.text.body
        self._weight += _EACH + _bytes_of(place) + (0 if place[-1] is body else len(body))
        if self._weight > self._most:
            self._known, self._before, self._weight = {}, self._known, 0

    def _beside(self, tools: Sequence[ToolSpec], returns: Mapping[str, Any] | None) -> _Beside:
        """The digest and the JSON of each tool and schema. An agent offers the same ones again and again."""
        latest = self._offered.get(id(tools))
        if latest is not None and latest[0] is tools and returns is None:
            return latest[1]
        found = [self._tool(tool) for tool in tools]
        beside = _beside_of(tuple(found if returns is None else [*found, self._schema(format_of(returns))]))
        # Kept with the tools, whose id is theirs as long as they are.
        stay = isinstance(tools, tuple) and all(isinstance(tool.parameters, Fixed) for tool in tools)
        if returns is None and stay:
            if len(self._offered) >= _OFFERS:
                self._offered.clear()
            self._offered[id(tools)] = (tools, beside)
        return beside

    def _tool(self, tool: ToolSpec) -> tuple[bytes, Text]:
        """The same of one tool."""
        parameters = tool.parameters
        if not isinstance(parameters, Fixed):
            return self._schema(tool_of(tool))
        known = getattr(parameters, "known", None)
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


def _bytes_of(value: object) -> int:
    """The bytes that a value takes with all that is in it, but for names and figures, which are mostly shared."""
    kind = type(value)
    if kind is str or kind is bytes:
        return getsizeof(value)
    if kind is dict or kind is Fixed:
        return sum(map(_bytes_of, cast("dict[str, object]", value).values()), getsizeof(value))
    if kind is tuple or kind is list or kind is FixedList:
        return sum(map(_bytes_of, cast("Sequence[object]", value)), getsizeof(value))
    return 0


def _stays_until(messages: Sequence[Message], start: int) -> int:
    """The place of the first message from ``start`` on that somebody may change."""
    for place in range(start, len(messages)):
        if type(messages[place]) is not Fixed:
            return place
    return len(messages)


def _key_of_message(message: Message, index: int) -> tuple[Hashable, ...] | None:
    """What tells a message from any other: its role and its content where it is a text, and is all that it says. Of one that stays as it
    is, which is looked at only once, it is its JSON. ``None`` where nothing does that could be had for less than that.
    """
    kind: type = type(cast("object", message))
    if (kind is Fixed or kind is dict) and len(message) == 2:
        role: object = message.get("role")
        content: object = message.get("content")
        if type(role) is str and type(content) is str:  # nearly all of them
            return (role, content)
    if kind is Fixed:
        return (canonical(message, f"messages[{index}]"),)
    key = _key_of(message, _DEEP)
    return None if key is None else (key,)


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
