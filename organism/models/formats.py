"""What the formats of providers have in common: documents that may hold anything, calls that need ids, and errors in a success. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from attrs import evolve

from organism.models.contract import BackendError, Piece, Response
from organism.models.transport.refusals import is_too_long, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from organism.models.contract import Failure, FinishReason, RawUsage, ToolCall

_STATUSES: Final[Mapping[str, int]] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The status of each type of error, for those that come where no status can: within a stream."""


def mapping(value: object) -> Mapping[str, Any]:
    """The value where it is a mapping, else an empty one."""
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def items(value: object) -> Sequence[object]:
    """The value where it is a list, else an empty one."""
    return (
        cast("Sequence[object]", value) if isinstance(value, Sequence) and not isinstance(value, (str, bytes)) else ()
    )


def text_in(value: object) -> str:
    """The value where it is a text, else an empty one."""
    return value if isinstance(value, str) else ""


def plain(value: object) -> Any:
    """The same value of dicts and lists, which is what JSON encoders take."""
    if value is None or isinstance(value, (str, int, float)):  # most of them: the other questions take longer
        return value
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in cast("Mapping[str, object]", value).items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [plain(item) for item in cast("Sequence[object]", value)]
    return value


def response_of(
    said: str,
    calls: Sequence[ToolCall],
    *,
    reason: FinishReason,
    usage: RawUsage | None,
    model: object,
    thought: str,
    kept: Mapping[str, Any],
) -> Response:
    """A response with a message that says the same, and has beside it what is ``kept``."""
    message: dict[str, Any] = {"role": "assistant", "content": said or (None if calls else "")}
    if calls:
        message["tool_calls"] = [call.in_message for call in calls]
    return Response(
        text=said,
        message=message | dict(kept),
        tool_calls=tuple(calls),
        finish_reason=reason,
        usage=usage,
        model=text_in(model),
        thought=thought,
    )


def pieces_of(response: Response) -> Iterator[Piece]:
    """What an answer that came whole brings where a stream was asked for."""
    if response.text:
        yield Piece(text=response.text)
    for place, call in enumerate(response.tool_calls):
        yield Piece(text=call.name, kind="other")
        yield Piece(text=call.arguments, kind="other", tool=call.name, call=place)


def told_apart(calls: Sequence[ToolCall]) -> Iterator[ToolCall]:
    """Calls of an answer, each with an id. Some servers give none, or one to several, of which none could tell whose a result is."""
    used: set[str] = set()
    for number, call in enumerate(calls):
        named = call.id or f"call_{number}"
        while named in used:
            named = f"{named}_{number}"
        used.add(named)
        yield call if named == call.id else evolve(call, id=named)


def error_of(
    error: Mapping[str, Any],
    *,
    unknown: Failure,
    otherwise: str = "",
    usage: RawUsage | None = None,
    received: str = "",
) -> BackendError:
    """What an error object means that came with the status of a success: gateways put the status that they met into its ``code``, and a
    type of error has one. ``unknown`` is what it is without, unless its codes say that the prompt is too long; ``otherwise`` is what was
    said where it has no message.
    """
    code, kind = error.get("code"), text_in(error.get("type"))
    status = code if isinstance(code, int) and code >= 400 else _STATUSES.get(kind, 0)
    codes, said = f"{text_in(code)} {kind}", text_in(error.get("message")) or kind or otherwise or "it said no more"
    meant = kind_of(status, codes, said) if status else "context" if is_too_long(codes) else unknown
    return BackendError(meant, f"{status}: {said}" if status else said, usage=usage, received=received)
