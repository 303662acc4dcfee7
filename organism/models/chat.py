"""The chat-completions dialect, which most servers speak: requests into bodies, bodies and chunks into responses.

Pure. It takes bodies as they come, since servers differ in what they leave out: only an answer without any choice is none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, cast

from attrs import define, field

from organism.models.contract import BackendError, Piece, RawUsage, Response, ToolCall
from organism.models.refusals import is_too_long, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from organism.models.contract import Failure, FinishReason, Message, Request, ToolSpec
    from organism.settings import BackendSettings

OWNED: Final = frozenset({
    "model",
    "messages",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "n",
})  # fmt: skip
"""What options may not say: the router holds budget for exactly one answer of the length that it asks for."""
USUAL: Final = "https://api.openai.com/v1"
"""The server of a backend that names none."""
THINKING: Final = "thinking_blocks"
"""What an assistant message keeps of reasoning, for the provider that wants it back; servers of this dialect refuse it."""
THINKERS: Final = "thinking"
"""The name under which those stand who want such blocks back."""
KEPT: Final = "kept_for_server"
"""What an assistant message that calls tools keeps for the ``server`` that has said it (:func:`keeps_for`), and wants it back; others refuse it.
What was ``said`` is JSON in a text: nothing looks into it.
"""

_REASONS: Final[Mapping[str, FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
_EXTRA: Final = "extra_content"
"""What a call has beside its arguments, by whatever maker: Google's signatures of thoughts."""
_SAYING_NOTHING: Final = frozenset({"role", "name", THINKING, KEPT})
_NO_NAME: Final = re.compile(r"[^A-Za-z0-9_-]")


def keeps_for(settings: BackendSettings) -> str:
    """What a server is called in messages that keep something for it; empty where it wants nothing back.

    It is a digest: messages are written down, and addresses may hold what nobody is to see.
    """
    if not settings.options.get("send_thoughts_back", True):
        return ""
    return sha256((settings.base_url or USUAL).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def kept_in(message: Message) -> frozenset[str]:
    """For whom a message keeps something that others do not get to see."""
    thinkers = [THINKERS] if THINKING in message else []
    return frozenset([*thinkers, str(mapping(message[KEPT]).get("server"))] if KEPT in message else thinkers)


def says_nothing(message: Message) -> bool:
    """Whether it is the answer of a model that neither said nor called anything; many servers refuse a prompt that has one."""
    if message.get("role") != "assistant" or message.get("content") or message.get("tool_calls"):
        return False
    return not any(part for name, part in message.items() if name not in _SAYING_NOTHING)


def heard_by(message: Message, whom: str) -> Message:
    """The message less what it keeps for others."""
    if kept_in(message) <= {whom}:
        return message
    others = {KEPT} if whom == THINKERS else {THINKING} if whom in kept_in(message) else {THINKING, KEPT}
    return {name: part for name, part in message.items() if name not in others}


def body_of(request: Request, *, limit: str, server: str = "") -> dict[str, Any]:
    """The body of a request; ``limit`` is what the server calls the most tokens that it may answer.

    Options of the backend give way to what the call says, and both to its ``extra``. Raises BackendError where these say
    something that only the router may.
    """
    passed = dict(request.options) | _said(request) | dict(request.extra)
    if wrong := sorted(OWNED.intersection(passed)):
        text = f"'{wrong[0]}' cannot be passed through: the budget is held for what the call itself says"
        raise BackendError("rejected", text)
    messages = [
        _as_sent(each, server) if KEPT in each or THINKING in each else each
        for each in request.messages
        if not says_nothing(each)
    ]
    body = passed | {"model": request.model, "messages": messages, limit: request.max_output_tokens}
    return cast("dict[str, Any]", plain(body))


def _as_sent(message: Message, server: str) -> dict[str, Any]:
    """A message with what is kept for this server, where it wants it, and without what is kept for others."""
    sent = {name: part for name, part in message.items() if name not in {THINKING, KEPT}}
    kept, calls = mapping(message.get(KEPT)), sent.get("tool_calls")
    if not calls or kept.get("server") != server:
        return sent
    try:
        said: dict[str, Any] = dict(json.loads(kept["said"]))
    except (KeyError, TypeError, ValueError):  # somebody else wrote it, or a part was hidden in a journal
        return sent
    beside = mapping(said.pop(_EXTRA, None))
    called = [{**call, _EXTRA: beside[call["id"]]} if call.get("id") in beside else call for call in calls]
    return {**sent, **said, "tool_calls": called}


def _said(request: Request) -> dict[str, Any]:
    said: dict[str, Any] = {
        "temperature": request.temperature,
        "seed": request.seed,
        "reasoning_effort": request.reasoning_effort,
    }
    if request.tools:
        said["tools"] = [tool_of(tool) for tool in request.tools]
        named = request.tool_choice not in {"auto", "required", "none"}
        said["tool_choice"] = (
            {"type": "function", "function": {"name": request.tool_choice}} if named else request.tool_choice
        )
    if request.returns is not None:
        said["response_format"] = format_of(request.returns)
    return {key: value for key, value in said.items() if value is not None}


def tool_of(tool: ToolSpec) -> dict[str, Any]:
    """A tool as it is sent."""
    spec = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": spec}


def format_of(returns: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of the answer as it is sent."""
    name = _NO_NAME.sub("_", str(returns.get("title", "answer")))[:64]
    # Not `strict`: that takes only schemas without optional fields, and refuses the call for any other.
    return {"type": "json_schema", "json_schema": {"name": name, "schema": returns}}


def plain(value: object) -> object:
    """The same value of dicts and lists, which is what JSON encoders take."""
    if value is None or isinstance(value, (str, int, float)):  # most of them: the other questions take longer
        return value
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in cast("Mapping[str, object]", value).items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(item) for item in cast("Sequence[object]", value)]
    return value


def response_of(body: object, *, server: str = "") -> Response:
    """The response in a body of this server. Raises BackendError where there is no choice in it."""
    document = mapping(body)
    choices = document.get("choices")
    if not isinstance(choices, Sequence) or isinstance(choices, str) or not choices:
        error, text = mapping(document.get("error")), f"the answer has no choices: {str(body)[:200]}"
        raise error_of(error, text, unknown="broken", usage=usage_of(document), received=_text(body))
    choice = mapping(cast("Sequence[object]", choices)[0])
    answer = _Answer(server)
    answer.add(mapping(choice.get("message")))
    answer.reason = _text(choice.get("finish_reason"))
    return answer.response(usage_of(document), _text(document.get("model")))


def error_of(
    error: Mapping[str, Any], text: str, *, unknown: Failure, usage: RawUsage | None = None, received: str = ""
) -> BackendError:
    """What an error object means that came with status 200: gateways put the status that they met into its ``code``.

    ``unknown`` is what it is without one, unless its codes say that the prompt is too long.
    """
    code = error.get("code")
    status = code if isinstance(code, int) and code >= 400 else 0
    codes = f"{_text(code)} {_text(error.get('type'))}"
    kind = kind_of(status, codes, text) if status else "context" if is_too_long(codes) else unknown
    return BackendError(kind, f"{status}: {text}" if status else text, usage=usage, received=received)


def usage_of(document: Mapping[str, Any]) -> RawUsage | None:
    """What a body or chunk reports, unchecked; cached input is part of ``prompt_tokens``."""
    if document.get("usage") in (None, {}):
        return None
    usage = mapping(document["usage"])
    given = mapping(usage.get("prompt_tokens_details"))
    answered = mapping(usage.get("completion_tokens_details"))
    return RawUsage(
        input_tokens=usage.get("prompt_tokens"),
        output_tokens=usage.get("completion_tokens"),
        cache_read_tokens=given.get("cached_tokens"),
        cache_write_tokens=given.get("cache_write_tokens"),
        reasoning_tokens=answered.get("reasoning_tokens"),
    )


class Gathering:
    """The chunks of a stream of one server on their way to a response."""

    def __init__(self, server: str = "") -> None:
        self.usage: RawUsage | None = None
        self._server = server
        self._answer = _Answer(server)
        self._model = ""

    def add(self, chunk: object) -> list[Piece]:
        """Takes a chunk in; the pieces that it brought."""
        document = mapping(chunk)
        self.usage = usage_of(document) or self.usage  # in the last chunk, which has no choices
        self._model = self._model or _text(document.get("model"))
        choices = document.get("choices")
        if not isinstance(choices, Sequence) or not choices:
            return []
        choice = mapping(cast("Sequence[object]", choices)[0])
        self._answer.reason = _text(choice.get("finish_reason")) or self._answer.reason
        return self._answer.add(mapping(choice.get("delta")))

    def whole(self, document: object) -> Response:
        """The response in a body, where the server answers without a stream. Raises BackendError where it is none."""
        return response_of(document, server=self._server)

    def response(self) -> Response:
        """The response at the end of the stream. Raises BackendError (``cut``) where the end came too early."""
        if not self._answer.reason:
            raise BackendError("cut", "the stream ended before its answer did", usage=self.usage)
        return self._answer.response(self.usage, self._model)


@define
class _Call:
    id: str = ""
    name: str = ""
    arguments: str = ""
    extra: Mapping[str, Any] | None = None


@define
class _Answer:
    """An assistant's message, whole or in the making."""

    server: str
    text: str = ""
    thought: str = ""
    """What comes back to servers that want it."""
    aloud: str = ""
    """All that was told of reasoning."""
    details: list[dict[str, Any]] = field(factory=list[dict[str, Any]])
    refusal: str = ""
    reason: str = ""
    calls: list[_Call] = field(factory=list[_Call])
    _at: dict[int, int] = field(factory=dict[int, int], init=False)
    """The place of the call that an index stands for now: some servers give every call of a turn the index 0."""

    def add(self, delta: Mapping[str, Any]) -> list[Piece]:
        text, thought = _said_in(delta.get("content"))
        refusal = _text(delta.get("refusal"))
        self.text += text
        self.refusal += refusal
        # Reasoning is billed as output, and never part of the answer.
        named = _text(delta.get("reasoning_content"))
        self.thought += named
        self._add_details(delta.get("reasoning_details"))
        other = thought or named or _text(delta.get("reasoning"))
        self.aloud += other
        pieces = [Piece(text=text + refusal)] if text or refusal else []
        if other:
            pieces.append(Piece(text=other, kind="other"))
        calls = delta.get("tool_calls")
        if isinstance(calls, Sequence):
            told = set[int]()
            for position, call in enumerate(cast("Sequence[object]", calls)):
                pieces += self._add_call(mapping(call), position, told)
        return pieces

    def _add_details(self, details: object) -> None:
        """Takes in what a router of models tells of their reasoning: of a stream, each piece of a text is one of its own."""
        if not isinstance(details, Sequence) or isinstance(details, str):
            return
        for detail in map(mapping, cast("Sequence[object]", details)):
            last = self.details[-1] if self.details else {}
            texts = [name for name in ("text", "summary") if isinstance(detail.get(name), str)]
            goes_on = isinstance(detail.get("index"), int) and last.get("index") == detail["index"]
            # A signature may come last, without a text; what is encrypted comes whole.
            if goes_on and last.get("type") == detail.get("type") and "data" not in detail:
                told = {name: part for name, part in detail.items() if part is not None}
                last |= told | {name: _text(last.get(name)) + detail[name] for name in texts}
            else:
                self.details.append(dict(detail))

    def _add_call(self, call: Mapping[str, Any], position: int, told: set[int]) -> list[Piece]:
        """Takes in a call, or a piece of one; ``told`` are the places of those that this delta has told of already."""
        index, named, function = call.get("index"), _text(call.get("id")), mapping(call.get("function"))
        name, arguments = _text(function.get("name")), function.get("arguments")
        written = arguments if isinstance(arguments, str) else json.dumps(arguments) if arguments else ""
        place = self._place(index if isinstance(index, int) else position, named, name, told)
        told.add(place)
        gathered = self.calls[place]
        if not (name == gathered.name and named and named == gathered.id):  # some servers say both with each piece
            gathered.name += name
        gathered.id = gathered.id or named
        gathered.extra = mapping(call.get(_EXTRA)) or gathered.extra
        gathered.arguments += written
        head = [Piece(text=name, kind="other")] if name else []
        return [*head, Piece(text=written, kind="other", tool=gathered.name, call=place)] if written else head

    def _place(self, index: int, named: str, name: str, told: Container[int]) -> int:
        """The place of the call that is told of. It is another one than the index stood for until now where a name comes with another id, or,
        without one, when the arguments have begun, or there are two of them in one delta. An id alone begins none: some servers make a
        new one for each piece.
        """
        place = self._at.get(index)
        if place is not None:
            known = self.calls[place]
            other = named != known.id if named and known.id else known.arguments or place in told
            if not (name and other):
                return place
        self._at[index] = len(self.calls)
        self.calls.append(_Call())
        return self._at[index]

    def response(self, usage: RawUsage | None, model: str) -> Response:
        made = [call for call in self.calls if call.name]
        calls = tuple(
            ToolCall(id=named, name=call.name, arguments=call.arguments)
            for named, call in zip(ids_of(call.id for call in made), made, strict=True)
        )
        reason: FinishReason = _REASONS.get(self.reason, "other")
        if calls and reason == "stop":
            reason = "tool_calls"
        elif self.refusal and not self.text:
            reason = "content_filter"
        return Response(
            text=self.text or self.refusal,
            message=self._message(calls),
            tool_calls=calls,
            finish_reason=reason,
            usage=usage,
            model=model,
            thought=self.aloud,
        )

    def _message(self, calls: Sequence[ToolCall]) -> Message:
        message: dict[str, Any] = {"role": "assistant", "content": self.text or (None if calls else self.refusal)}
        if calls:
            message["tool_calls"] = [call.in_message for call in calls]
            if said := self._kept(calls):
                message[KEPT] = {"server": self.server, "said": said}
        return message

    def _kept(self, calls: Sequence[ToolCall]) -> str:
        """What the server wants back with the results of these calls, as JSON; empty where that is nothing."""
        made = [call for call in self.calls if call.name]
        beside = {call.id: each.extra for call, each in zip(calls, made, strict=True) if each.extra}
        said = {"reasoning_content": self.thought, "reasoning_details": self.details, _EXTRA: beside}
        try:
            kept = {name: part for name, part in said.items() if part}
            # Characters stay as they are: so they are counted, and halves of them found.
            return json.dumps(kept, allow_nan=False, ensure_ascii=False) if kept and self.server else ""
        except ValueError:  # figures that JSON has no form for
            return ""


def ids_of(given: Iterable[str]) -> Iterator[str]:
    """An id for each call of an answer. Some servers give none, or one to several, of which none could tell whose a result is."""
    used: set[str] = set()
    for number, each in enumerate(given):
        named = each or f"call_{number}"
        while named in used:
            named = f"{named}_{number}"
        used.add(named)
        yield named


def _said_in(content: object) -> tuple[str, str]:
    """What a content says, and what was thought for it: it is a text, or a list of parts where models think aloud."""
    if not isinstance(content, Sequence) or isinstance(content, str):
        return _text(content), ""
    said = thought = ""
    for part in map(mapping, cast("Sequence[object]", content)):
        match part.get("type"):
            case "text":
                said += _text(part.get("text"))
            case "thinking":
                thought += "".join(_said_in(part.get("thinking")))
            case _:
                pass
    return said, thought


def mapping(value: object) -> Mapping[str, Any]:
    """The value where it is a mapping, else an empty one."""
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
