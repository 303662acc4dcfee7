"""How a model addresses its peers and replies: what it is offered, what it said by that, and how results are told to it."""

from __future__ import annotations

import json
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, Protocol

from attrs import frozen

from organism.agent.elements import Element
from organism.agent.tools import SENT, Mistaken, Wanted, as_reply
from organism.agent.wording import as_json, message_from
from organism.models.contract import ToolSpec
from organism.pump.keys import ASKS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from organism.agent.tools import Toolbox
    from organism.models.completion import Completion
    from organism.models.contract import ToolCall
    from organism.payloads.primitives import InvalidPayload
    from organism.settings import AgentSettings

Message = dict[str, Any]
"""A chat message."""
Said = Wanted | Mistaken
"""One thing that a model asked for in its turn."""

_SILENT: Final = "answer by calling the reply tool; text alone is seen by nobody"
CUT_BY_BUDGET: Final = "your answer was cut by your budget as you wrote it: hand in your reply now, as short as you can"
_UNHEARD: Final = "Not carried out: nothing but a reply was."
_BY_XML: Final = "xml:"
"""How the ids of results begin that answer no tool call; who gave them follows."""
_CUT: Final = "your answer was cut for length: write this again, shorter"


@frozen
class Offer:
    """What a model may do in one turn: the tools that are sent along, and whether it must use one (``none``: it may use none of them,
    which stand there for its earlier calls); and the ``elements`` that it may write as XML.

    ``instructions`` tell of those at the end of the system prompt, ``reminder`` at the end of the whole prompt. Neither is ever kept, so
    that what a model reads is what it may do now.
    """

    tools: tuple[ToolSpec, ...]
    choice: str = "auto"
    elements: tuple[Element, ...] = ()
    instructions: str = ""
    reminder: str = ""
    kind: str = ASKS
    """What a call with this offer counts as among the questions of its delivery (R21)."""

    @cached_property
    def characters(self) -> int:
        """Of all that it tells of itself."""
        return sum([len(str(tool)) for tool in self.tools]) + len(self.instructions) + len(self.reminder)

    def told(self, prompt: Sequence[Any], *, by_xml: bool = True) -> tuple[Any, ...]:
        """A prompt as it is sent, with what it tells of itself. ``by_xml``: there may be answers to XML in it."""
        if not (by_xml or self.instructions or self.reminder):
            return tuple(prompt)
        results = [message for message in prompt if message.get("role") == "tool"] if by_xml else ()
        messages = list(as_sent(prompt) if any(map(is_by_xml, results)) else prompt)
        if self.instructions and messages:
            system = messages[0]
            messages[0] = {**system, "content": f"{system['content'].rstrip()}\n\n{self.instructions}"}
        if self.reminder:
            messages.append({"role": "user", "content": self.reminder})
        return tuple(messages)


class Speech(Protocol):
    """How one agent's model speaks."""

    def offer(self, *, may_ask: bool) -> Offer:
        """All that it may do. ``may_ask``: somebody decides on its requests for more of its budget."""
        ...

    def reply_only(self) -> Offer:
        """Nothing but to reply."""
        ...

    def read(self, completion: Completion, offer: Offer) -> Sequence[Said] | str:
        """What it asked for, in order; or, where it neither called nor replied, what it is told so that it does."""
        ...

    def reply_in(self, completion: Completion) -> Wanted | None:
        """The reply in its last answer, however it was put; ``None`` where there is none."""
        ...

    def may_go_on(self, text: str) -> bool:
        """Whether a text that was cut for length is worth going on with."""
        ...

    def told(self, said: Sequence[Said], results: Sequence[str]) -> Sequence[Message]:
        """The messages that tell the model what came of each thing that it asked for."""
        ...

    def corrected(self, invalid: InvalidPayload) -> Message:
        """The message that tells the model what is wrong with a turn in which it asked for nothing."""
        ...


class ToolSpeech:
    """By tool calls: each peer is a tool, and so is the reply (``peers_as: tools``)."""

    def __init__(self, agent: AgentSettings, toolbox: Toolbox) -> None:
        self._agent = agent
        self._toolbox = toolbox
        self._reply_only = Offer(toolbox.reply_only, toolbox.reply_choice)
        self._offers = {may_ask: self._offer_of(toolbox.offered(may_ask=may_ask)) for may_ask in (False, True)}

    def _offer_of(self, tools: tuple[ToolSpec, ...]) -> Offer:
        return Offer(tools) if len(tools) > len(self._toolbox.reply_only) else self._reply_only

    def offer(self, *, may_ask: bool) -> Offer:
        """See :class:`Speech`."""
        return self._offers[may_ask]

    def reply_only(self) -> Offer:
        """See :class:`Speech`."""
        return self._reply_only

    def read(self, completion: Completion, offer: Offer) -> Sequence[Said] | str:
        """See :class:`Speech`. Text alone is taken as the reply where it can be one."""
        if completion.tool_calls:
            return calls_read(completion, self._toolbox, offer)
        reply = reply_of(completion.text, self._agent.replies)
        if reply is not None:
            return [reply]
        return _CUT if completion.finish_reason == "length" else _SILENT

    def reply_in(self, completion: Completion) -> Wanted | None:
        """See :class:`Speech`."""
        offered = self._toolbox.reply_only
        for each in (self._toolbox.read(call, offered=offered) for call in completion.tool_calls):
            if isinstance(each, Wanted):
                return each
        return reply_of(completion.text, self._agent.replies)

    def may_go_on(self, text: str) -> bool:
        """See :class:`Speech`. It is where it can be the reply."""
        return as_reply(text, self._agent.replies) is not None

    def told(self, said: Sequence[Said], results: Sequence[str]) -> Sequence[Message]:
        """See :class:`Speech`."""
        return calls_told(said, results)

    def corrected(self, invalid: InvalidPayload) -> Message:
        """See :class:`Speech`."""
        return {"role": "user", "content": as_json(invalid)}


def reply_of(text: str, replies: tuple[type, ...]) -> Wanted | None:
    """Plain text as the reply, where it can be one."""
    payload = as_reply(text, replies)
    return None if payload is None else Wanted(None, payload, None)


def calls_read(completion: Completion, toolbox: Toolbox, offer: Offer) -> list[Said]:
    """What the tool calls of an answer mean. One that was cut for length says nothing of what it was to be."""
    calls = completion.tool_calls
    said: list[Said] = [toolbox.read(each, offered=offer.tools, elements=offer.elements) for each in calls]
    if completion.finish_reason == "length" and is_broken(calls[-1]):
        said[-1] = Mistaken(calls[-1], _CUT)
    return said


def calls_told(said: Sequence[Said], results: Sequence[str]) -> list[Message]:
    """The results of tool calls, each as its own message."""
    return [_result(each.call, result) for each, result in zip(said, results, strict=True) if each.call is not None]


def last_told(completion: Completion, reply: Wanted | None) -> list[Message]:
    """The results of the calls in a last answer, of which a ``reply`` was all that was heard: in a conversation it is followed by others,
    and no provider takes a call without its result.
    """
    sent = None if reply is None else reply.call
    return [_result(call, SENT if call is sent else _UNHEARD) for call in completion.tool_calls]


def _result(call: ToolCall, text: str) -> Message:
    return {"role": "tool", "tool_call_id": call.id, "content": text}


def answer_from(sender: str, text: str) -> Message:
    """The answer to what was written as XML, as it is kept: a result like those of tools, which are cut and left out as such."""
    return {"role": "tool", "tool_call_id": f"{_BY_XML}{sender}", "content": text}


def as_sent(prompt: Sequence[Any]) -> Iterator[Any]:
    """The messages of a prompt as a provider takes them: answers to XML are no results of tools to it, but what somebody says."""
    for by_xml, group in groupby(prompt, key=is_by_xml):
        if by_xml:
            answers = [message_from(each["tool_call_id"].removeprefix(_BY_XML), each["content"]) for each in group]
            yield {"role": "user", "content": "\n\n".join(answers)}
        else:
            yield from group


def is_by_xml(message: Any) -> bool:
    """Whether a message is an answer to XML, which is sent in another form than it is kept in."""
    return message.get("role") == "tool" and str(message.get("tool_call_id")).startswith(_BY_XML)


def is_broken(call: ToolCall) -> bool:
    """Whether a call's arguments are no JSON, or nothing at all."""
    try:
        json.loads(call.arguments)
    except (ValueError, RecursionError):
        return True
    return False
