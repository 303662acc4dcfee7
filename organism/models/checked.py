"""What a provider gave, checked where it comes in: one that breaks its contract is an attempt that failed, and may have
been billed, rather than a crash of the handler that called it, or a hold that nobody can settle.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast, get_args

from organism.models.contract import BackendError, Failure, Piece, RawUsage, Response, ToolCall
from organism.models.estimates import canonical

if TYPE_CHECKING:
    from collections.abc import Generator

_FAILURES: Final = frozenset(get_args(Failure))


@contextmanager
def provider_at_work() -> Generator[None]:
    """Turns whatever a provider raises into a BackendError that says only what such an error may say."""
    try:
        yield
    except BackendError as error:
        sound = _sound(error)
        if sound is error:
            raise
        raise sound from error
    except Exception as error:
        raise BackendError("broken", f"{type(error).__name__}: {error}") from error


def response_of(given: object) -> Response:
    """The response, where it is one. Raises BackendError (``broken``), with what can be charged."""
    wrong = _wrong_response(given)
    if wrong or not isinstance(given, Response):
        text: object = getattr(given, "text", None)
        received = text if isinstance(text, str) else ""
        raise BackendError("broken", f"the provider gave {wrong}", usage=usage_of(given), received=received)
    return given


def piece_of(given: object) -> Piece | None:
    """A piece of a stream, ``None`` for its end. Raises BackendError (``broken``)."""
    if given is None:
        return None
    if not isinstance(given, Piece):
        raise BackendError("broken", f"the stream gave {_kind(given)}, and no Piece")
    if not _is_text(given.text):
        raise BackendError("broken", f"the stream gave a Piece whose text is {_kind(given.text)}")
    return given


def usage_of(holder: object) -> RawUsage | None:
    """What a response, a stream or an error reports, where it is a report at all."""
    usage: object = getattr(holder, "usage", None)
    return usage if isinstance(usage, RawUsage) else None


def _wrong_response(given: Any) -> str:
    """What stands where a response, or a part of one, should; empty where nothing is wrong."""
    if not isinstance(given, Response):
        return f"{_kind(given)}, and no Response"
    for name in ("text", "finish_reason", "model"):
        value: object = getattr(given, name)
        if not _is_text(value):
            return f"a Response whose {name} is {_kind(value)}"
    if not isinstance(cast("object", given.message), Mapping):
        return f"a Response whose message is {_kind(given.message)}"
    if not _are_tool_calls(given.tool_calls):
        return "a Response whose tool_calls is no tuple of ToolCall with texts"
    try:
        # It is written down, and sent back with the next call.
        canonical(given.message, "message")
    except TypeError as error:
        return f"a Response that cannot be kept: {error}"
    return ""


def _sound(error: BackendError) -> BackendError:
    """The error itself, or what is left of it where it says what none may say."""
    kind, received, after = cast("tuple[object, object, object]", (error.kind, error.received, error.retry_after))
    known = isinstance(kind, str) and kind in _FAILURES
    timed = after is None or isinstance(after, (int, float))
    if known and timed and _is_text(received):
        return error
    return BackendError(
        error.kind if known else "broken",
        str(error) if known else f"no kind of failure is {kind!r:.80}: {error}",
        retry_after=error.retry_after if timed else None,
        usage=usage_of(error),
        received=error.received if _is_text(received) else "",
    )


def _are_tool_calls(calls: object) -> bool:
    return isinstance(calls, tuple) and all(
        isinstance(call, ToolCall) and all(_is_text(part) for part in (call.id, call.name, call.arguments))
        for call in cast("tuple[object, ...]", calls)
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _kind(value: object) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__}"
