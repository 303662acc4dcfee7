"""What a provider gave, checked where it comes in: one that breaks its contract is an attempt that failed, and may have
been billed, rather than a crash of the handler that called it, or a hold that nobody can settle.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast, get_args

from attrs import fields_dict

from organism.models.contract import (
    Allowance,
    BackendError,
    Failure,
    Piece,
    RawUsage,
    Response,
    ToolCall,
    are_tool_calls,
)
from organism.models.frozen_json import OTHER, fixed, fixed_texts
from organism.models.surrogates import all_joined, joined
from organism.models.tokens.prompt import canonical
from organism.names import told
from organism.quick import maker

if TYPE_CHECKING:
    from collections.abc import Generator

log: Final = logging.getLogger("organism.models")

_FAILURES: Final = frozenset(get_args(Failure))
_new_response: Final = maker(Response)


class _AtWork:
    """See :func:`provider_at_work`. No generator: every call passes here."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, Exception) and (told := _told(error)) is not error:
            raise told from error


_AT_WORK: Final = _AtWork()


def provider_at_work() -> _AtWork:
    """A block that turns whatever a provider raises into a BackendError that says only what such an error may say."""
    return _AT_WORK


@contextmanager
def provider_closing(backend: str) -> Generator[None]:
    """Keeps what a provider raises while it closes from whoever has had, and paid for, his answer: it is said in the log."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - nothing that it may be changes what was answered
        log.warning("%s did not close in order: %s", backend, _said(error))


def response_of(given: object) -> Response:
    """The response, where it is one, in whole characters. Raises BackendError (``broken``), with what can be charged."""
    wrong = _wrong_response(given)
    if not wrong and isinstance(given, Response):
        message = fixed_texts(given.message, in_ascii=True)  # as most are: in these no character is cut in two
        if message is OTHER:
            message, wrong = _whole_message(given.message)
        if not wrong:
            # One of a class of the provider's own stays what it is.
            return _in_whole_characters(given, message) if type(given) is Response else given
    text: object = getattr(given, "text", None)
    received = text if isinstance(text, str) else ""
    raise BackendError("broken", f"the provider gave {wrong}", usage=usage_of(given), received=received)


def _in_whole_characters(given: Response, message: Mapping[str, Any]) -> Response:
    """The response with this message, without halves of characters: what is remembered of it could not be sent again."""
    return _new_response(
        text=joined(given.text),
        message=message,
        tool_calls=tuple([_whole_call(call) for call in given.tool_calls]) if given.tool_calls else (),
        finish_reason=given.finish_reason,
        usage=given.usage,
        model=given.model,
        thought=given.thought,
        allowance=given.allowance,
    )


def _whole_message(message: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The message in whole characters, and why it cannot be kept, if so."""
    kept = fixed_texts(message)
    if kept is OTHER:
        wrong = _cannot_be_kept(message)
        if wrong:
            return message, wrong
        kept = message
    whole = all_joined(kept)
    return kept if whole is kept else fixed(whole), ""


def _whole_call(call: ToolCall) -> ToolCall:
    if call.id.isascii() and call.name.isascii() and call.arguments.isascii():  # so are most
        return call
    parts = (call.id, call.name, call.arguments)
    whole = tuple(map(joined, parts))
    return call if whole == parts else ToolCall(id=whole[0], name=whole[1], arguments=whole[2])


def piece_of(given: object) -> Piece | None:
    """A piece of a stream, ``None`` for its end. Raises BackendError (``broken``)."""
    if given is None:
        return None
    if not isinstance(given, Piece):
        raise BackendError("broken", f"the stream gave {_kind(given)}, not a Piece")
    if not _is_text(given.text):
        raise BackendError("broken", f"the stream gave a Piece whose text is {_kind(given.text)}")
    return given


def usage_of(holder: object) -> RawUsage | None:
    """What a response, a stream or an error reports, where it is a report at all."""
    try:
        usage: object = getattr(holder, "usage", None)
        if type(usage) is RawUsage or not isinstance(usage, RawUsage):
            return usage if isinstance(usage, RawUsage) else None
        # Of a class of the provider's own, which may compute its figures, and fail to.
        return RawUsage(**{name: getattr(usage, name) for name in fields_dict(RawUsage)})
    except Exception as error:  # noqa: BLE001 - a report that cannot be read is none, whatever keeps it from being read
        log.warning("a report of usage cannot be read: %s", _said(error))
        return None


def allowance_of(holder: object) -> Allowance | None:
    """What a response, a stream or an error says is left of its rate limits; ``None`` where that is nothing to go by."""
    try:
        said: object = getattr(holder, "allowance", None)
        if not isinstance(said, Allowance):
            return None
        return Allowance(requests=_left(said.requests), tokens=_left(said.tokens))
    except Exception as error:  # noqa: BLE001 - what cannot be read says nothing, whatever keeps it from being read
        log.warning("what is left of a rate limit cannot be read: %s", _said(error))
        return None


def _left(figure: object) -> int | None:
    return figure if type(figure) is int and figure >= 0 else None


def _wrong_response(given: Any) -> str:
    """What stands where a response, or a part of one, should; empty where nothing is wrong."""
    if not isinstance(given, Response):
        return f"{_kind(given)}, not a Response"
    if not (type(given.text) is type(given.finish_reason) is type(given.model) is type(given.thought) is str):
        for name in ("text", "finish_reason", "model", "thought"):
            value: object = getattr(given, name)
            if not _is_text(value):
                return f"a Response whose {name} is {_kind(value)}"
    if type(given.message) is not dict and not isinstance(cast("object", given.message), Mapping):
        return f"a Response whose message is {_kind(given.message)}"
    if given.tool_calls != () and not (
        isinstance(cast("object", given.tool_calls), tuple) and are_tool_calls(given.tool_calls)
    ):
        return "a Response whose tool_calls is not a tuple of ToolCall with texts"
    return ""


def _cannot_be_kept(message: Mapping[str, Any]) -> str:
    """Why a message cannot be written down, and sent back with the next call; empty where it can."""
    try:
        canonical(message, "message")
    except Exception as error:  # noqa: BLE001 - a mapping of the provider's own may raise anything
        return f"a Response that cannot be kept: {error if isinstance(error, TypeError) else _said(error)}"
    return ""


def _told(error: Exception) -> BackendError:
    """What an exception of a provider says: a BackendError itself, or alone in a group, as from a provider with tasks of its own."""
    while isinstance(error, ExceptionGroup):
        first, *others = cast("ExceptionGroup[Exception]", error).exceptions
        if others:
            return BackendError("broken", _said(first))
        error = first
    return _sound(error) if isinstance(error, BackendError) else BackendError("broken", _said(error))


def _sound(error: BackendError) -> BackendError:
    """The error itself, or what is left of it where it says what none may say, or was never initialised."""
    kind, received, after = (cast("object", getattr(error, name, None)) for name in ("kind", "received", "retry_after"))
    known = isinstance(kind, str) and kind in _FAILURES
    wait = after if isinstance(after, (int, float)) else None
    if known and wait is after and _is_text(received):
        return error
    return BackendError(
        error.kind if known else "broken",
        str(error) if known else f"{told(kind)} is not a kind of failure: {error}",
        retry_after=wait,
        usage=usage_of(error),
        allowance=allowance_of(error),
        received=received if isinstance(received, str) else "",
    )


def _said(error: Exception) -> str:
    """The type and the text of an exception, where it has one that can be had."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - it is its text that fails
        return type(error).__name__


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _kind(value: object) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__}"
