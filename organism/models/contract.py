"""What a provider is: one request in, one response (or a stream of pieces) out. The router owns everything around it.

A provider never retries, never sleeps, never reads a clock for its own purposes and never counts money. It says what
happened in :class:`Response`, or raises :class:`BackendError` with what the router needs to decide and to charge.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from attrs import field, frozen

from organism.quick import quick
from organism.settings import NOTHING, BackendSettings

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

Message = Mapping[str, Any]
"""A chat-completions message: ``{"role": ..., "content": ..., "tool_calls": [...], "tool_call_id": ...}``."""

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "other"]


@frozen(kw_only=True)
class ToolSpec:
    """A tool that is offered to the model; ``parameters`` is the JSON Schema of its one object argument."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@quick
@frozen(kw_only=True)
class ToolCall:
    """A call the model wants made; ``arguments`` is the JSON text as the model wrote it, possibly broken."""

    id: str
    name: str
    arguments: str

    @property
    def in_message(self) -> dict[str, Any]:
        """The call as it stands in an assistant message of chat completions."""
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


def are_tool_calls(calls: Any) -> bool:
    """Whether these are tool calls, each of texts: a provider or a hook may have given anything."""
    return all(
        isinstance(call, ToolCall) and all(isinstance(getattr(call, part), str) for part in ("id", "name", "arguments"))
        for call in calls
    )


@frozen(kw_only=True)
class Request:
    """One attempt at one backend. ``tool_choice`` is ``auto``, ``required``, ``none`` or a tool's name; ``returns`` is the
    JSON Schema (with a ``title``) that the text must satisfy; ``options`` are the backend's own, ``extra`` the call's.

    ``came`` is called with the output that has come when an attempt is cancelled, or runs out of time, within an answer that comes whole:
    it may be billed. ``unsent`` is called where such an attempt ends before anything of it was sent, as while it waits for its connection: it costs
    nothing.
    """

    model: str
    messages: Sequence[Message]
    max_output_tokens: int
    tools: Sequence[ToolSpec] = ()
    tool_choice: str = "auto"
    returns: Mapping[str, Any] | None = None
    temperature: float | None = None
    seed: int | None = None
    reasoning_effort: str | None = None
    options: Mapping[str, Any] = NOTHING
    extra: Mapping[str, Any] = NOTHING
    came: Callable[[str], object] = field(default=lambda _: None, eq=False, repr=False)
    unsent: Callable[[], object] = field(default=lambda: None, eq=False, repr=False)


@quick
@frozen(kw_only=True)
class RawUsage:
    """Usage as the provider reported it, unchecked: the router validates it (numbers may be missing, negative or text).

    ``input_tokens`` includes cached input.
    """

    input_tokens: object = None
    output_tokens: object = None
    cache_read_tokens: object = 0
    cache_write_tokens: object = 0
    reasoning_tokens: object = 0


@frozen(kw_only=True)
class Allowance:
    """What the provider says is left of its rate limits for the minute, as its headers had it; ``None``: it says nothing."""

    requests: int | None = None
    tokens: int | None = None


@quick
@frozen(kw_only=True)
class Response:
    """A finished answer. ``message`` is the assistant message to keep in the history, as the provider wants it back. ``thought`` is the
    text of the reasoning before it, which is charged as output if no usage is reported.
    """

    text: str
    message: Message
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason = "stop"
    usage: RawUsage | None = None
    model: str = ""
    thought: str = ""
    allowance: Allowance | None = None


@quick
@frozen(kw_only=True)
class Piece:
    """A piece of streamed output. ``kind`` is ``text`` for a piece of the answer's text, and ``other`` for output that is billed but not
    part of that text (reasoning, arguments of tool calls): it counts when a cut stream is charged by estimate. ``tool`` is the tool
    whose arguments it is a piece of, empty for all else; ``call`` tells several calls of an answer apart.
    """

    text: str
    kind: Literal["text", "other"] = "text"
    tool: str = ""
    call: int = 0


class Stream(Protocol):
    """An open stream: iterate the pieces; afterwards ``response`` is set. Leaving the context closes the connection, and so does
    ``aclose`` of the iterator, if it has one: a stream that the budget cuts then ends at once.
    """

    response: Response | None
    usage: RawUsage | None
    """What was reported so far, also when the stream is cut."""

    def __aiter__(self) -> AsyncIterator[Piece]: ...


class Backend(Protocol):
    """A provider, bound to one backend's settings. Made once per organism, closed with it."""

    async def complete(self, request: Request) -> Response:
        """Makes one attempt; raises BackendError. May be cancelled: then the connection is closed."""
        ...

    def stream(self, request: Request) -> AbstractAsyncContextManager[Stream]:
        """Opens a stream; entering and iterating raise BackendError."""
        ...

    async def aclose(self) -> None:
        """Closes its connections."""
        ...


@runtime_checkable
class TakesKeys(Protocol):
    """A backend that can be given another key while it works."""

    def use_key(self, key: str) -> None:
        """Uses this key from the next attempt on; those under way go on with theirs."""
        ...


Failure = Literal[
    "rate_limited", "server", "connection", "timeout", "cut", "rejected", "auth", "context", "broken", "declined", "unrecorded"
]  # fmt: skip


class BackendError(Exception):
    """An attempt failed.

    ``kind``: ``rate_limited`` (429), ``server`` (5xx), ``connection`` (never made), ``timeout`` and ``cut`` (after the
    request was sent: it may have been billed), ``rejected`` (other 4xx), ``auth`` (401, 403), ``context`` (the prompt is too
    long), ``broken`` (the answer does not follow the protocol; it was billed). Only for backends without a provider, such as
    recordings: ``declined`` (it has no answer; the next backend is asked at once) and ``unrecorded`` (the same, and no other
    backend may be asked). ``retry_after`` in seconds.
    """

    def __init__(
        self,
        kind: Failure,
        text: str,
        *,
        retry_after: float | None = None,
        usage: RawUsage | None = None,
        received: str = "",
        allowance: Allowance | None = None,
    ) -> None:
        self.kind: Failure = kind
        self.retry_after = retry_after
        self.usage = usage
        self.received = received
        self.allowance = allowance
        super().__init__(text)

    @property
    def billed(self) -> bool:
        """Whether the provider may charge for it although no whole answer came."""
        return self.kind in {"timeout", "cut", "broken"}

    @property
    def retryable(self) -> bool:
        """Whether another attempt, at this or another backend, could succeed."""
        return self.kind in {"rate_limited", "server", "connection", "timeout", "cut", "broken"}


@frozen(kw_only=True)
class BackendFactory:
    """How a provider is made. A ``package.module:factory`` provider is one of these, or a function of the settings alone.

    ``make`` gets the settings and the key, if there is one. ``key_env`` is the provider's usual environment variable for
    the key, ``needs_key`` whether its own server refuses calls without one (a ``base_url`` may do without). ``check``
    returns what is wrong with the settings' ``options``, one line each and without their place; it starts nothing.
    """

    make: Callable[[BackendSettings, str | None], Backend]
    key_env: str | None = None
    needs_key: bool = False
    check: Callable[[BackendSettings], Sequence[str]] = lambda _: ()
