"""What an agent remembers within its thread: its system prompt and the messages so far, in its handler's state.

Each message is one key, so that a delivery writes down only what it added; its number is never used again. Where the history was cut
short, a recap stands for the messages before ``from``, and those that are ``pinned`` stay beside it; the others leave the state and
stand in the record alone. Notices of budgets are never kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from organism.agent.pruning import Boundary, pruned, said_by
from organism.agent.recaps import recapped
from organism.agent.speech import is_by_xml
from organism.models.frozen_json import Fixed
from organism.models.reasoning import KEPT, THINKING, says_nothing
from organism.names import excerpt
from organism.pump.memory import HandlerState, fixed_copy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, MutableMapping, Sequence

    from organism.agentsettings import Prune

_SYSTEM: Final = "system"
_COUNT: Final = "count"
_RECAP: Final = "recap"
_FROM: Final = "from"
_PINNED: Final = "pinned"
_BREAKER: Final = "breaker"
_REFUSED: Final = "refused"
NO_NUMBER: Final = -1
"""Of the recap, which is no message that was said."""
SHORTEST: Final = 200
"""Characters of a result that a cut leaves at least."""
_FEWEST: Final = 80
"""Characters below which cutting the texts of a document says nothing any more."""


@frozen
class Plan:
    """How a history is cut short: all before message ``start`` is ``replaced`` by a recap, but for what is ``pinned``. ``since``:
    the first message that no earlier recap stands for.
    """

    since: int
    start: int
    pinned: tuple[int, ...]
    replaced: tuple[Mapping[str, Any], ...]

    @property
    def digest(self) -> str:
        """Of what is replaced."""
        text = json.dumps(self.replaced, sort_keys=True, separators=(",", ":"), default=str)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


class History:
    """The history in ``state``; what is added is kept when the delivery ends well. ``prune`` says what is left out of its prompts.

    What it has read stays as it is and is shared with every prompt: a long history is read once, and not by each delivery.
    """

    def __init__(self, state: MutableMapping[str, Any], prune: Prune | None = None) -> None:
        self._state: MutableMapping[str, Any] = state
        self._prune = prune
        self.system: str | None = state.get(_SYSTEM)
        self.count: int = state.get(_COUNT, 0)
        """The number of the next message."""
        self.task = self.count
        """The number of the message that the delivery handles, which is the first that it adds."""
        self.numbers: list[int] = []
        self.messages: list[Mapping[str, Any]] = []
        self._measured = 0
        """Of how many messages is known what is asked for each prompt; what comes after the last one is never asked for."""
        self._characters = 0
        self._has_xml = False
        self._boundary = Boundary(prune)
        self._pruned: tuple[int, Sequence[Mapping[str, Any]]] = (0, ())
        self._start = 0
        self._whole: dict[int, Mapping[str, Any]] = {}
        """Results as they were before they were cut."""
        self._head = _head(self.system)
        if self.count:
            self._read()

    @classmethod
    def of(cls, state: HandlerState, prune: Prune | None) -> History:
        """The history in ``state``: as an earlier delivery left it, or read anew."""
        left = state.take_reading()
        if not isinstance(left, History):
            return cls(state, prune)
        left.go_on(state)
        return left

    def go_on(self, state: HandlerState) -> None:
        """Takes it up where an earlier delivery left it."""
        self._state, self.task = state, self.count

    def leave(self) -> None:
        """Leaves it to the next delivery, where this one ends well. It is not to be used any more."""
        state, self._state, self._whole = self._state, {}, {}
        if self.count > self.task:
            state[_COUNT] = self.count
        if isinstance(state, HandlerState):
            state.leave_reading(self)

    def begin(self, system: str) -> None:
        """Keeps the system prompt: it is rendered once a thread."""
        self.system = self._state[_SYSTEM] = system
        self._head = _head(system)

    def add(self, message: Mapping[str, Any]) -> None:
        """Appends a message, unless it is an answer that says nothing."""
        if says_nothing(message):
            return
        number = self.count
        kept = self._fix(_key(number), message)
        self.messages.append(kept)
        self.numbers.append(number)
        self.count = number + 1

    @property
    def characters(self) -> int:
        """Of all messages, with what they call."""
        self._measure()
        return self._characters

    @property
    def has_xml(self) -> bool:
        """Whether any of them may be an answer to XML."""
        self._measure()
        return self._has_xml

    @property
    def boundary(self) -> Boundary:
        """Before which of them results are left out."""
        self._measure()
        return self._boundary

    def prompt(self, *after: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
        """The whole prompt, with what is said only this time at its end."""
        return (self._head, *self.messages, *after)

    def prompt_from(self, place: int, *after: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
        """The whole prompt, with the results before ``place`` left out."""
        if not place:
            return self.prompt(*after)
        if self._pruned[0] != place:
            self._pruned = (place, pruned(self.messages, place))
        return (self._head, *self._pruned[1], *self.messages[place:], *after)

    def groups(self) -> list[Sequence[Mapping[str, Any]]]:
        """The messages after the first, so grouped that calls are not parted from their results."""
        groups: list[list[Mapping[str, Any]]] = []
        for message in self.messages[1:]:
            if message.get("role") == "tool" and groups:
                groups[-1].append(message)
            else:
                groups.append([message])
        return list(groups)

    # Cut short

    def plan(self, keep_turns: int, *, pins_first: bool) -> Plan | None:
        """What is replaced where the last ``keep_turns`` turns stay, and the message that is handled; ``None`` where nothing is.

        ``pins_first``: the very first message stays as well.
        """
        begins = [number for number, message in self._body() if message.get("role") == "assistant"]
        if len(begins) <= keep_turns:
            return None
        start = begins[-keep_turns]
        wanted = {self.task, *((0,) if pins_first else ())}
        pinned = tuple(number for number in self.numbers if number in wanted and number < start)
        replaced = tuple(
            message
            for number, message in zip(self.numbers, self.messages, strict=True)
            if number < start and number not in pinned
        )
        # A recap alone is not replaced by another one.
        said = [number for number in self.numbers if self._start <= number < start and number not in pinned]
        return Plan(self._start, start, pinned, replaced) if said else None

    def replace(self, plan: Plan, recap: Mapping[str, Any]) -> None:
        """Puts a recap in the place of what a plan replaces."""
        for number in self.numbers:
            if number != NO_NUMBER and number < plan.start and number not in plan.pinned:
                del self._state[_key(number)]
        self._fix(_RECAP, recap)
        self._state[_PINNED] = list(plan.pinned)
        self._state[_FROM] = plan.start
        self._read()

    def cut_results(self, longest: int) -> bool:
        """Cuts the results that are there to ``longest`` characters or so; whether any was longer. The record has them whole."""
        changed = False
        for place, (number, message) in enumerate(zip(self.numbers, self.messages, strict=True)):
            if message.get("role") != "tool":
                continue
            shorter = _cut(self._whole.setdefault(number, message), longest)
            if said_by(shorter) < said_by(message):
                self.messages[place] = self._fix(_key(number), shorter)
                changed = True
        if changed:
            self._measure_anew()
        return changed

    def refused(self, model: str) -> int:
        """The characters of the shortest prompt that a model has refused as too long; 0 where it has refused none."""
        of, characters = self._state.get(_REFUSED, (model, 0))
        return characters if of == model else 0

    def note_refused(self, model: str, characters: int) -> None:
        """A model has refused a prompt of so many characters."""
        least = min(characters, self.refused(model) or characters)
        if least != self.refused(model):
            self._state[_REFUSED] = [model, least]

    @property
    def breaker(self) -> tuple[int, int]:
        """How often in a row no summary came, and before which message none is asked for."""
        failures, until = self._state.get(_BREAKER, (0, 0))
        return failures, until

    @breaker.setter
    def breaker(self, value: tuple[int, int]) -> None:
        if value != self.breaker:
            self._state[_BREAKER] = list(value)

    def _body(self) -> list[tuple[int, Mapping[str, Any]]]:
        pairs = zip(self.numbers, self.messages, strict=True)
        return [(number, message) for number, message in pairs if number >= self._start]

    def _read(self) -> None:
        """The messages as they stand in the state, in their order: the first, the recap, what is pinned, the rest."""
        self._start = self._state.get(_FROM, 0)
        pinned: list[int] = self._state.get(_PINNED, [])
        recap = [NO_NUMBER] if _RECAP in self._state else []
        first = [number for number in pinned if number == 0]
        others = [number for number in pinned if number != 0]
        self.numbers = [*first, *recap, *others, *range(self._start, self.count)]
        self.messages = [self._fixed(_RECAP if number == NO_NUMBER else _key(number)) for number in self.numbers]
        self._measure_anew()

    def _measure(self) -> None:
        """Takes in the messages that came since."""
        messages, measured = self.messages, self._measured
        if measured == len(messages):
            return
        for message in islice(messages, measured, None):
            self._characters += length_of(message)
            self._has_xml = self._has_xml or is_by_xml(message)
            self._boundary.add(message)
        self._measured = len(messages)

    def _measure_anew(self) -> None:
        """The messages that are there are others now: what was known of them holds no more."""
        self._measured = self._characters = 0
        self._has_xml = False
        self._boundary = Boundary(self._prune)
        self._pruned = (0, ())

    def _fixed(self, key: str) -> Mapping[str, Any]:
        state = self._state
        return state.fixed(key) if isinstance(state, HandlerState) else fixed_copy(key, state[key])

    def _fix(self, key: str, message: Mapping[str, Any]) -> Mapping[str, Any]:
        state = self._state
        if isinstance(state, HandlerState):
            return state.fix(key, message)
        kept = state[key] = fixed_copy(key, message)
        return kept


def recap(state: Mapping[str, Any]) -> dict[str, Any]:
    """What an agent remembers when its conversation goes on in a fresh one: its system prompt, and a message with extracts of
    what was said, the oldest and the newest of it.
    """
    history = History(dict(state))
    if not history.messages:
        return dict(state)
    return {
        **({_SYSTEM: state[_SYSTEM]} if _SYSTEM in state else {}),
        _key(0): recapped(history.messages, count=history.count),
        _COUNT: 1,
    }


def shortened(group: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    """A group of messages as it is, then with its results cut shorter and shorter, saying how much was cut."""
    yield group
    longest = longest_result(group)
    while longest > SHORTEST:
        longest = max(longest // 2, SHORTEST)
        yield [_cut(each, longest) if each.get("role") == "tool" else each for each in group]


def longest_result(messages: Iterable[Mapping[str, Any]]) -> int:
    """Characters of the longest result among messages."""
    return max((said_by(each) for each in messages if each.get("role") == "tool"), default=0)


def _cut(message: Mapping[str, Any], longest: int) -> Mapping[str, Any]:
    """The message with ``longest`` characters of content at most; of a JSON document its texts are cut, and it stays one."""
    text = str(message.get("content") or "")
    if len(text) <= longest:
        return message
    said = f"[cut from {len(text)} characters]"
    try:
        shorter = _shorter_document(json.loads(text), len(text), longest)
    except (ValueError, RecursionError):  # it is no JSON, or too deep to be taken apart
        return {**message, "content": f"{text[:longest]} {said}"}
    return {**message, "content": f"{shorter} {said}".lstrip()}


def _shorter_document(document: Any, length: int, longest: int) -> str:
    """A JSON document with its texts cut, and if need be its lists; empty where it stays too long."""
    for items in (length, 4, 2, 1):
        most = longest
        while most > _FEWEST:
            most //= 2
            shorter = json.dumps(_shorter(document, most, items), ensure_ascii=False)
            if len(shorter) <= longest:
                return shorter
    return ""


def _shorter(value: Any, most: int, items: int) -> Any:
    """A JSON value with texts of ``most`` characters and lists of ``items`` items at most."""
    whole: Any = value
    if isinstance(value, str):
        return excerpt(value, most)
    if isinstance(value, list):
        return [_shorter(each, most, items) for each in whole[:items]]
    if isinstance(value, dict):
        return {key: _shorter(each, most, items) for key, each in whole.items()}
    return whole


def length_of(message: Mapping[str, Any]) -> int:
    """Characters of a message, with what it calls."""
    content, calls = message.get("content"), message.get("tool_calls")
    length = len(content) if type(content) is str else len(str(content or ""))
    kept = message.get(KEPT) or message.get(THINKING)
    if kept:  # what was thought is sent again, too
        length += len(str(kept))
    return length + sum([len(str(call)) for call in calls]) if calls else length


@lru_cache(maxsize=256)
def _head(system: str | None) -> Mapping[str, Any]:
    """The message that a prompt begins with: one for all threads that begin alike."""
    return Fixed({"role": "system", "content": system or ""})


def _key(number: int) -> str:
    return f"message {number}"
