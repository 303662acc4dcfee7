"""Peers and functions as tools: what a model is offered, and what its calls mean."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from attrs import frozen

from organism.errors import InvalidPayloadError, PayloadError
from organism.models.contract import ToolCall, ToolSpec
from organism.models.frozen_json import fixed
from organism.names import LONGEST_TOOL, ORGANISM, REPLY, called_as, printable, suggestion, tool_for
from organism.payloads import decode_fields, describe, json_schema, parse_json
from organism.payloads.primitives import NO_TOOL, BudgetEstimate, BudgetQuery, BudgetRequest
from organism.quick import maker, quick

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from organism.agent.elements import Element
    from organism.agentsettings import Notices
    from organism.settings import AgentSettings, HandlerSettings, ToolSettings

SENT: Final = "Sent."
"""The result of a reply."""


@frozen
class Tool:
    """One thing the model may call: a payload class for a peer, or (``peer`` is ``None``) for its own reply. ``read`` makes the payload of
    a call's arguments, a JSON value, and raises PayloadError.
    """

    spec: ToolSpec
    payload: type[Any]
    peer: str | None
    read: Callable[[Any], Any]


@quick
@frozen
class Wanted:
    """A call that makes sense: ``payload`` for ``peer``, or as the reply. ``call``: the tool call that it was, if it was one."""

    call: ToolCall | None
    payload: Any
    peer: str | None


_new_wanted: Final = maker(Wanted)


@frozen
class Mistaken:
    """A call that does not: what the model is told, so that it can correct itself."""

    call: ToolCall | None
    error: str


class Toolbox:
    """The tools of one agent."""

    def __init__(self, handler: HandlerSettings, agent: AgentSettings, handlers: Mapping[str, HandlerSettings]) -> None:
        tools = [tool for peer in handler.peers if peer in handlers for tool in _peer_tools(handlers[peer])]
        functions = [_own_tool(each) for each in agent.tools]
        self.functions = tuple(tool.spec for tool in functions)
        """Its functions and tools of MCP servers alone, which are called as tools however it addresses its peers."""
        self.replies = tuple(_reply_tools(agent.replies))
        self.asked = _asked_of_organism(agent.notices) if ORGANISM in handler.peers else ()
        """What its model may ask of the organism without being granted anything."""
        # Who cannot be granted anything is not offered to ask: a tool costs tokens in every prompt.
        self._request = _organism_tool(BudgetRequest)
        own = (*tools, *functions, *map(_organism_tool, self.asked), *self.replies)
        self._tools = {tool.spec.name: tool for tool in (*own, self._request)}
        self.all = tuple(tool.spec for tool in own)
        self._with_request = (self._request.spec, *self.all)
        self.reply_only = tuple(tool.spec for tool in self.replies)

    def offered(self, *, may_ask: bool) -> tuple[ToolSpec, ...]:
        """What the model may call. ``may_ask``: somebody decides on its requests for more."""
        return self._with_request if may_ask else self.all

    def peer_of(self, name: str) -> str | None:
        """The handler that a tool of this name calls; ``None`` for replies, and for names of none."""
        tool = self._tools.get(name)
        return None if tool is None else tool.peer

    @property
    def reply_choice(self) -> str:
        """The choice that leaves the model nothing but to reply."""
        return self.replies[0].spec.name if len(self.replies) == 1 else "required"

    def read(
        self, call: ToolCall, *, offered: Sequence[ToolSpec], elements: Sequence[Element] = ()
    ) -> Wanted | Mistaken:
        """What a call means; only tools that were offered this turn may be called. ``elements`` are what may be written as XML instead."""
        tool = self._tools.get(call.name)
        if tool is None or tool.spec not in offered:
            return Mistaken(call, _not_offered(call.name, tool, [spec.name for spec in offered], elements))
        try:
            return _new_wanted(call, tool.read(_arguments(call)), tool.peer)
        except PayloadError as error:
            return Mistaken(call, str(error))


def _not_offered(name: str, tool: Tool | None, names: Sequence[str], elements: Sequence[Element]) -> str:
    """Why a tool of this name cannot be called, and what the model may do instead."""
    # A model may write anything for a name, also half a character, which no payload can hold.
    called = printable(name, at_most=LONGEST_TOOL)
    if tool is None:
        wrong = f"there is no tool '{called}' now{suggestion(called, names)}"
    elif written := [each.tag for each in elements if (each.payload, each.peer) == (tool.payload, tool.peer)]:
        return f"'{called}' is not a tool: write {written[0]} as XML"
    else:
        wrong = f"tool '{called}' is not offered any more{suggestion(called, names)}"
    tools = [f"tools: {', '.join(names)}"] if names else []
    xml = [f"as XML you may write {', '.join(each.tag for each in elements)}"] if elements else []
    return "; ".join([wrong, *tools, *xml])


def _arguments(call: ToolCall) -> Any:
    try:
        return parse_json(call.arguments or "{}")
    except InvalidPayloadError as error:
        raise InvalidPayloadError(f"the text of the arguments {error.problem}", where=call.name) from None


def _peer_tools(peer: HandlerSettings) -> Iterable[Tool]:
    accepted = [payload for payload in peer.accepts if payload not in NO_TOOL]
    for payload in accepted:
        name = peer.name if len(accepted) == 1 else tool_for(peer.name, payload.__name__)
        doc = describe(payload).doc
        yield _tool(_spec(name, f"{peer.description} {doc}".strip(), payload), payload, peer.name)


def _tool(spec: ToolSpec, payload: type, peer: str | None) -> Tool:
    """One whose arguments are the fields of a payload."""
    return Tool(spec, payload, peer, partial(decode_fields, payload))


def _own_tool(tool: ToolSettings) -> Tool:
    """An agent's function, or a tool of an MCP server."""
    handler = tool.handler
    spec = ToolSpec(
        name=called_as(handler.name), description=handler.description, parameters=fixed(dict(tool.parameters))
    )
    return Tool(spec, handler.accepts[0], handler.name, tool.read)


def _asked_of_organism(notices: Notices) -> tuple[type, ...]:
    """What its model may ask of the organism: nothing where it is to know of no budget, and not what is left where it is told no figures."""
    query = (BudgetQuery,) if notices.figures != "none" else ()
    return (*query, BudgetEstimate) if notices.deliver else ()


def _organism_tool(payload: type) -> Tool:
    """What a model may ask of the organism itself. Its schema is short, since it stands in every prompt: amounts are numbers, and
    what is said of the whole is said once.
    """
    name, doc = tool_for(ORGANISM, payload.__name__), describe(payload).doc
    fields = json_schema(payload)["properties"]
    short = {field: {"type": "number" if "pattern" in rules else "string"} for field, rules in fields.items()}
    told = {field: {**short[field], "description": rules["description"]} for field, rules in fields.items()}
    parameters = {"type": "object", "properties": told, "required": list(told), "additionalProperties": False}
    return _tool(ToolSpec(name=name, description=doc, parameters=fixed(parameters)), payload, ORGANISM)


def reply_name(payload: type, replies: tuple[type, ...]) -> str:
    """The tool by which an agent with these ``replies`` replies with one of them."""
    return REPLY if len(replies) == 1 else tool_for(REPLY, payload.__name__)


def _reply_tools(replies: tuple[type, ...]) -> Iterable[Tool]:
    for payload in replies:
        name = reply_name(payload, replies)
        doc = describe(payload).doc
        yield _tool(_spec(name, f"Ends your work with your answer. {doc}".strip(), payload), payload, None)


def _spec(name: str, description: str, payload: type) -> ToolSpec:
    return ToolSpec(name=name, description=description, parameters=fixed(json_schema(payload)))


def only_field(replies: tuple[type, ...]) -> str | None:
    """The field that plain text would be, where there is one class of replies and it needs nothing else; else ``None``."""
    required = [field.name for field in describe(replies[0]).fields if field.required] if len(replies) == 1 else []
    return required[0] if len(required) == 1 else None


def as_reply(text: str, replies: tuple[type, ...]) -> object | None:
    """Plain text as the reply, where it may be one; else ``None``."""
    field = only_field(replies)
    if field is None or not text.strip():
        return None
    try:
        return cast("object", decode_fields(replies[0], {field: text}))
    except PayloadError:
        return None
