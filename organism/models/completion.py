"""What ``ctx.complete`` is asked and what it gives back; how what a handler writes becomes a call, and an answer the payload that it asked for."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Generic, TypedDict, cast

from attrs import evolve, frozen

from organism.budget.claims import Crossing
from organism.errors import InvalidPayloadError
from organism.models.contract import Message, ToolCall, ToolSpec, are_tool_calls
from organism.models.reasoning import THINKING
from organism.models.tokens.prompt import canonical
from organism.names import excerpt, told
from organism.payloads import decode_fields, describe, is_payload, json_schema, parse_json
from organism.quick import maker
from organism.settings import NOTHING
from organism.usage import Usage

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    V = TypeVar("V", default=Any)
else:  # type checkers know of a default, which Python does not before 3.13
    from typing import TypeVar

    V = TypeVar("V")


class CallOptions(TypedDict, total=False):
    """How a model is called: see :meth:`organism.context.interface.Context.complete`."""

    model: str
    max_output_tokens: int | None
    min_output_tokens: int | None
    temperature: float | None
    seed: int | None
    wait: bool
    grace: bool
    tags: Sequence[str]
    extra: Mapping[str, Any] | None


@frozen(kw_only=True)
class Call:
    """One ``complete``. ``max_output_tokens`` is an argument that is honoured or refused; ``wish`` is an agent's, and may
    be clamped down to ``min_output_tokens``; with neither the alias's ``max_output_tokens`` is the wish. ``tags`` say what its
    costs are counted under; no provider hears them.
    """

    messages: tuple[Message, ...]
    model: str = "default"
    max_output_tokens: int | None = None
    wish: int | None = None
    min_output_tokens: int = 64
    temperature: float | None = None
    seed: int | None = None
    reasoning_effort: str | None = None
    tools: Sequence[ToolSpec] = ()
    tool_choice: str = "auto"
    returns: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = NOTHING
    tags: tuple[str, ...] = ()


new_call: Final = maker(Call)


@frozen(kw_only=True)
class Completion(Generic[V]):
    """An answer of a model.

    ``value``: the payload, if ``returns=`` asked for one. ``message``: the assistant message to append to a history.
    ``usage``: of this call over all its attempts. ``cost_usd``: what it cost, in USD. ``latency``: seconds of the last attempt.
    ``attempts``: how many were made. ``warnings``: the levels of budgets that this call crossed. ``clamped``: fewer output tokens
    were asked for than wished, since the budget did not allow more.
    """

    text: str
    message: Message
    model: str
    backend: str
    usage: Usage
    cost_usd: Decimal
    value: V = cast("V", None)  # noqa: RUF009 - attrs, not dataclasses
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str = "stop"
    latency: float = 0.0
    attempts: int = 1
    warnings: tuple[Crossing, ...] = ()
    clamped: bool = False


_FIELDS: Final[Mapping[str, type]] = {
    "text": str, "message": Mapping, "model": str, "backend": str, "usage": Usage, "cost_usd": Decimal, "finish_reason": str,
}  # fmt: skip
"""Of what kind fields of a completion are, in which one that is made by hand may go wrong."""


def sound(completion: Completion) -> Completion:
    """A completion that was made, or changed, by hand. Raises TypeError for one with a field that is none of its kind."""
    for name, kind in _FIELDS.items():
        value: object = getattr(completion, name)
        if not isinstance(value, kind):
            raise TypeError(f"{name} of a completion is a {kind.__name__}, not {excerpt(repr(value), 80)}")
    return evolve(completion, tool_calls=_calls(completion.tool_calls))


def _calls(given: object) -> tuple[ToolCall, ...]:
    calls: tuple[Any, ...] = tuple(cast("Sequence[Any]", given)) if isinstance(given, (list, tuple)) else (given,)
    if not are_tool_calls(calls):
        raise TypeError(
            f"tool_calls of a completion are ToolCalls of texts (id, name, arguments as JSON), not {excerpt(repr(calls), 80)}"
        )
    return calls


def agreeing(completion: Completion, before: Completion) -> Completion:
    """A completion that was changed from what it was ``before``, with a message that says the same as it: an agent reads the text of the one
    and carries out its calls, and remembers the other, in which each call has to have its result.

    What was thought stays, and so do signatures: servers that want them back refuse a call without, and take one that is another.
    """
    message = dict(completion.message)
    if completion.text != before.text and completion.message == before.message:
        message["content"] = completion.text
    known = {_key(call): call for call in message.get("tool_calls") or ()}
    if completion.tool_calls:
        called = [call.in_message for call in completion.tool_calls]
        message["tool_calls"] = [known.get(_key(call), call) for call in called]
    elif message.pop("tool_calls", None):
        message["content"] = message.get("content") or ""
    if message.get(THINKING) == before.message.get(THINKING):
        _move_thoughts(message, before.message)
    return completion if message == completion.message else evolve(completion, message=message)


def _move_thoughts(message: dict[str, Any], before: Mapping[str, Any]) -> None:
    """Puts what was thought before and between text and calls where it belongs among those that are there now."""
    text, calls = message.get("content"), [_key(call) for call in message.get("tool_calls") or ()]
    made = [_key(call) for call in before.get("tool_calls") or ()]
    if not message.get(THINKING) or (text == before.get("content") and calls == made):
        return
    moved: list[dict[str, Any]] = []
    for thought in message[THINKING]:
        characters, number = thought.get("at", (0, 0))
        if text != before.get("content"):
            characters = len(text or "") if characters else 0
        # A call that was changed stands where it stood; of others only those count that are left.
        left = number if len(calls) == len(made) else sum(call in calls for call in made[:number])
        moved.append({**thought, "at": [characters, left]})
    message[THINKING] = moved


def _key(call: Mapping[str, Any]) -> tuple[Any, ...]:
    function: Mapping[str, Any] = call.get("function") or {}
    return call.get("id"), function.get("name"), function.get("arguments")


ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
TAGS: Final = 16
"""The most tags of one call."""
TAG_LENGTH: Final = 64
"""The most characters of a tag."""
_UNFINISHED: Final = frozenset({"left", "broken", "budget"})
"""How a stream ended that was not read to its end."""
_WHY: Final = {
    "length": "the answer was cut at its `max_output_tokens`: ",
    "content_filter": "the model would not answer: ",
}
_FENCE: Final = re.compile(r"```[A-Za-z]*[ \t]*\n")
_LONG: Final = 200
"""Characters of an answer that an error shows."""


def asked_for(
    messages: str | Sequence[Mapping[str, Any]],
    *,
    model: str,
    max_output_tokens: int | None,
    min_output_tokens: int | None,
    temperature: float | None,
    seed: int | None,
    tools: Sequence[Any] = (),
    returns: type | None = None,
    extra: Mapping[str, Any] | None,
    tags: Sequence[str] = (),
) -> Call:
    """The call that ``ctx.complete`` was asked to make. Raises TypeError or ValueError, naming the argument and its value, for
    what is no request: nothing was held or sent then.
    """
    _check_figures(max_output_tokens, min_output_tokens, temperature, seed)
    if type(model) is not str:
        _check("model", model, _is(str), "the name of an alias")
    if tools != ():
        _check("tools", tools, _is(list, tuple), "a list of payload classes and ToolSpecs")
    if returns is not None:
        _check("returns", returns, _is_payload_class, "a payload class")
    if extra is not None:
        _check("extra", extra, _is(Mapping), "a mapping")
    if extra:
        canonical(extra, "extra")
    return new_call(
        messages=messages_of(messages),
        model=model,
        max_output_tokens=max_output_tokens,
        min_output_tokens=64 if min_output_tokens is None else min_output_tokens,
        temperature=temperature,
        seed=seed,
        tools=() if tools == () else tuple([tool_of(tool) for tool in tools]),
        returns=None if returns is None else json_schema(returns),
        extra=NOTHING if extra is None else extra,
        tags=() if tags == () else tags_of(tags),
    )


def checked(call: Call) -> Call:
    """A call that was made, or changed, by hand. Raises as :func:`asked_for`, for the same reasons."""
    _check_figures(call.max_output_tokens, call.min_output_tokens, call.temperature, call.seed)
    _check_count("wish", call.wish)
    _check("model", call.model, _is(str), "the name of an alias")
    _check("tools", call.tools, _is(list, tuple), "a list of payload classes and ToolSpecs")
    _check("extra", call.extra, _is(Mapping), "a mapping")
    canonical(call.extra, "extra")
    tools, tags = tuple(tool_of(tool) for tool in call.tools), tags_of(call.tags)
    return evolve(call, messages=messages_of(call.messages), tools=tools, tags=tags)


def messages_of(messages: str | Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    """A question, or chat-completions messages, as a tuple of messages."""
    if isinstance(messages, str):
        return ({"role": "user", "content": messages},)
    _check("messages", messages, _is_list, "a question or a list of messages")
    found = tuple(messages)
    if not found:
        raise ValueError("messages is an empty list: a call needs at least one message")
    for index, message in enumerate(found):
        role: object = message.get("role") if hasattr(message, "get") else None
        if not isinstance(role, str) or role not in ROLES:
            raise ValueError(f"messages[{index}] has no role of {', '.join(sorted(ROLES))}: {told(message)}")
    return found


def tool_of(tool: Any) -> ToolSpec:
    """A tool that a model is offered: a specification as it is, a payload class by its fields."""
    if isinstance(tool, ToolSpec):
        return tool
    if _is_payload_class(tool):
        described = describe(tool)
        return ToolSpec(name=described.name, description=described.doc, parameters=json_schema(tool))
    raise TypeError(f"a tool is a payload class or a ToolSpec, not {told(tool)}")


def tags_of(tags: object) -> tuple[str, ...]:
    """What the costs of a call are counted under, each once. Raises TypeError or ValueError, naming what is no tag."""
    _check("tags", tags, _is(list, tuple), "a list of texts")
    given = cast("Sequence[Any]", tags)
    for tag in given:
        _check("a tag", tag, _is(str), "a text")
        if not tag.strip() or len(tag) > TAG_LENGTH or not tag.isprintable():
            raise ValueError(f"a tag is a text of 1 to {TAG_LENGTH} printable characters, not {told(tag)}")
    found = tuple(dict.fromkeys(given))
    if len(found) > TAGS:
        raise ValueError(f"a call has at most {TAGS} tags, not {len(found)}")
    return found


def _check_figures(most: object, least: object, temperature: object, seed: object) -> None:
    if most is None and least is None and temperature is None and seed is None:
        return
    _check_count("max_output_tokens", most)
    _check_count("min_output_tokens", least)
    if seed is not None:
        _check("seed", seed, _is_whole, "a whole number")
    if temperature is not None:
        _check("temperature", temperature, _is_number, "a number from 0 on")
        _check_range("temperature", temperature, 0, "a number from 0 on")


def _check_count(name: str, value: object) -> None:
    if value is not None:
        _check(name, value, _is_whole, "a whole number from 1 on")
        _check_range(name, value, 1, "a whole number from 1 on")


def _check(name: str, value: object, fits: Callable[[object], bool], wanted: str) -> None:
    if not fits(value):
        raise TypeError(f"{name} is {wanted}, not {told(value)}")


def _check_range(name: str, value: Any, least: int, wanted: str) -> None:
    if not least <= value < math.inf:
        raise ValueError(f"{name} is {wanted}, not {told(value)}")


def _is(*kinds: type) -> Callable[[object], bool]:
    return lambda value: isinstance(value, kinds)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return _is_whole(value) or isinstance(value, float)


def _is_list(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, (bytes, Mapping))


def _is_payload_class(value: object) -> bool:
    return isinstance(value, type) and is_payload(value)


def value_of(completion: Completion, returns: type | None) -> Completion:
    """The completion with the payload that its text holds, where one was asked for. Raises InvalidPayloadError where it holds none.

    Without a value are one that calls tools instead, and a stream that did not come to its end.
    """
    instead = bool(completion.tool_calls) and not completion.text.strip()
    if returns is None or instead or completion.finish_reason in _UNFINISHED:
        return completion
    try:
        return evolve(completion, value=decode_fields(returns, parse_json(_unfenced(completion.text))))
    except InvalidPayloadError as error:
        why = _WHY.get(completion.finish_reason, "")
        said = f"{why}{error.problem}; the model answered {excerpt(completion.text.strip(), _LONG)!r}"
        raise InvalidPayloadError(said, where=error.where or returns.__name__) from None


def _unfenced(text: str) -> str:
    """The text without the fence that models like to put around JSON where their server does not hold them to it."""
    whole = text.strip()
    fence = _FENCE.match(whole)
    if fence is None or not whole.endswith("```", fence.end()):
        return text
    # Not by one pattern over all: in front of a text of blanks it would look at each of them once for each.
    return whole[fence.end() : -3].rstrip(" \t").removesuffix("\n")
