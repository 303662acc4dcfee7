"""From what a handler writes to a call, and from an answer to the payload it asked for."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from attrs import evolve

from organism.errors import InvalidPayloadError
from organism.models.completion import Call, Completion, new_call
from organism.models.contract import ToolSpec
from organism.models.tokens.prompt import canonical
from organism.names import excerpt, told
from organism.payloads import decode_fields, describe, is_payload, json_schema, parse_json
from organism.settings import NOTHING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.models.contract import Message

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
        said = f"{why}{error.problem}; the model answered {_shortened(completion.text.strip())}"
        raise InvalidPayloadError(said, where=error.where or returns.__name__) from None


def _unfenced(text: str) -> str:
    """The text without the fence that models like to put around JSON where their server does not hold them to it."""
    whole = text.strip()
    fence = _FENCE.match(whole)
    if fence is None or not whole.endswith("```", fence.end()):
        return text
    # Not by one pattern over all: in front of a text of blanks it would look at each of them once for each.
    return whole[fence.end() : -3].rstrip(" \t").removesuffix("\n")


def _shortened(text: str) -> str:
    """A text in a line of an error, cut where it is long."""
    return repr(excerpt(text, _LONG))
