"""What ``ctx.complete`` is asked and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Generic, TypedDict, cast

from attrs import evolve, frozen

from organism.budget.claims import Crossing
from organism.models.contract import Message, ToolCall, ToolSpec, are_tool_calls
from organism.models.reasoning import THINKING
from organism.names import excerpt
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
