"""Peers as tools: what a model is offered, and what its calls mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from attrs import frozen

from organism.errors import InvalidPayloadError, PayloadError
from organism.models.contract import ToolCall, ToolSpec
from organism.names import ORGANISM, suggestion
from organism.payloads import decode_fields, describe, json_schema, parse_json
from organism.payloads.primitives import ORGANISM_ONLY, BudgetEstimate, BudgetQuery, BudgetRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from organism.settings import HandlerSettings, Notices

REPLY: Final = "reply"
"""The tool that ends an agent's delivery; with several reply classes ``reply_CLASS``."""
_LONGEST: Final = 64


@frozen
class Tool:
    """One thing the model may call: a payload class for a peer, or (``peer`` is ``None``) for its own reply."""

    spec: ToolSpec
    payload: type
    peer: str | None


@frozen
class Wanted:
    """A call that makes sense: ``payload`` for ``peer``, or as the reply. ``call``: the tool call that it was, if it was one."""

    call: ToolCall | None
    payload: Any
    peer: str | None


@frozen
class Mistaken:
    """A call that does not: what the model is told, so that it can correct itself."""

    call: ToolCall | None
    error: str


class Toolbox:
    """The tools of one agent."""

    def __init__(self, handler: HandlerSettings, handlers: Mapping[str, HandlerSettings]) -> None:
        assert handler.agent is not None  # noqa: S101 - only agents have tools
        tools = [tool for peer in handler.peers if peer in handlers for tool in _peer_tools(handlers[peer])]
        self.replies = tuple(_reply_tools(handler.agent.replies))
        asked = _asked(handler.agent.notices) if ORGANISM in handler.peers else ()
        # Who cannot be granted anything is not offered to ask: a tool costs tokens in every prompt.
        self._request = _organism_tool(BudgetRequest)
        own = (*tools, *map(_organism_tool, asked), *self.replies)
        self._tools = {tool.spec.name: tool for tool in (*own, self._request)}
        self.all = tuple(tool.spec for tool in own)
        self.reply_only = tuple(tool.spec for tool in self.replies)

    def offered(self, *, may_ask: bool) -> tuple[ToolSpec, ...]:
        """What the model may call. ``may_ask``: somebody decides on its requests for more."""
        return (self._request.spec, *self.all) if may_ask else self.all

    @property
    def reply_choice(self) -> str:
        """The choice that leaves the model nothing but to reply."""
        return self.replies[0].spec.name if len(self.replies) == 1 else "required"

    def read(self, call: ToolCall, *, offered: Iterable[ToolSpec]) -> Wanted | Mistaken:
        """What a call means; only tools that were offered this turn may be called."""
        names = [spec.name for spec in offered]
        tool = self._tools.get(call.name) if call.name in names else None
        if tool is None:
            known = ", ".join(names)
            return Mistaken(call, f"there is no tool '{call.name}' now{suggestion(call.name, names)}; tools: {known}")
        try:
            return Wanted(call, decode_fields(tool.payload, _arguments(call)), tool.peer)
        except PayloadError as error:
            return Mistaken(call, str(error))


def _arguments(call: ToolCall) -> Any:
    try:
        return parse_json(call.arguments or "{}")
    except InvalidPayloadError as error:
        raise InvalidPayloadError(f"the arguments are no JSON: {error.problem}", where=call.name) from None


def _peer_tools(peer: HandlerSettings) -> Iterable[Tool]:
    accepted = [payload for payload in peer.accepts if payload not in ORGANISM_ONLY]
    for payload in accepted:
        name = peer.name if len(accepted) == 1 else f"{peer.name}_{payload.__name__}"[:_LONGEST]
        doc = describe(payload).doc
        yield Tool(_spec(name, f"{peer.description} {doc}".strip(), payload), payload, peer.name)


def _asked(notices: Notices) -> tuple[type, ...]:
    """What a model may ask of the organism without being granted anything: nothing where it is to know of no budget, and not what
    is left where it is told no figures.
    """
    query = (BudgetQuery,) if notices.figures != "none" else ()
    return (*query, BudgetEstimate) if notices.deliver else ()


def _organism_tool(payload: type) -> Tool:
    """What a model may ask of the organism itself. Its schema is short, since it stands in every prompt: amounts are numbers, and
    what is said of the whole is said once.
    """
    name, doc = f"{ORGANISM}_{payload.__name__}", describe(payload).doc
    fields = json_schema(payload)["properties"]
    short = {field: {"type": "number" if "pattern" in rules else "string"} for field, rules in fields.items()}
    told = {field: {**short[field], "description": rules["description"]} for field, rules in fields.items()}
    parameters = {"type": "object", "properties": told, "required": list(told), "additionalProperties": False}
    return Tool(ToolSpec(name=name, description=doc, parameters=parameters), payload, ORGANISM)


def _reply_tools(replies: tuple[type, ...]) -> Iterable[Tool]:
    for payload in replies:
        name = REPLY if len(replies) == 1 else f"{REPLY}_{payload.__name__}"[:_LONGEST]
        doc = describe(payload).doc
        yield Tool(_spec(name, f"Ends your work with your answer. {doc}".strip(), payload), payload, None)


def _spec(name: str, description: str, payload: type) -> ToolSpec:
    return ToolSpec(name=name, description=description, parameters=json_schema(payload))


def as_reply(text: str, replies: tuple[type, ...]) -> object | None:
    """Plain text as the reply, where there is one class of replies and it needs nothing but one text; else ``None``."""
    if len(replies) != 1 or not text.strip():
        return None
    required = [field for field in describe(replies[0]).fields if field.required]
    if len(required) != 1:
        return None
    try:
        return cast("object", decode_fields(replies[0], {required[0].name: text}))
    except PayloadError:
        return None
