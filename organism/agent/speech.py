"""How a model addresses its peers and replies: what it is offered, what it said by that, and how results are told to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from attrs import frozen

from organism.agent.tools import Mistaken, Wanted, as_reply
from organism.models.contract import ToolSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.agent.tools import Toolbox
    from organism.models.completion import Completion
    from organism.settings import AgentSettings

Message = dict[str, Any]
"""A chat message."""
Said = Wanted | Mistaken
"""One thing that a model asked for in its turn."""

_SILENT: Final = "answer by calling the reply tool; text alone is seen by nobody"


@frozen
class Offer:
    """What a model may do in one turn: the tools that are sent along, and whether it must use one."""

    tools: tuple[ToolSpec, ...]
    choice: str = "auto"


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

    def reply_in(self, completion: Completion) -> Any:
        """The reply in its last answer, however it was put; ``None`` where there is none."""
        ...

    def told(self, said: Sequence[Said], results: Sequence[str]) -> Sequence[Message]:
        """The messages that tell the model what came of each thing that it asked for."""
        ...


class ToolSpeech:
    """By tool calls: each peer is a tool, and so is the reply (``peers_as: tools``)."""

    def __init__(self, agent: AgentSettings, toolbox: Toolbox) -> None:
        self._agent = agent
        self._toolbox = toolbox

    def offer(self, *, may_ask: bool) -> Offer:
        """See :class:`Speech`."""
        tools = self._toolbox.offered(may_ask=may_ask)
        return Offer(tools) if len(tools) > len(self._toolbox.reply_only) else self.reply_only()

    def reply_only(self) -> Offer:
        """See :class:`Speech`."""
        return Offer(self._toolbox.reply_only, self._toolbox.reply_choice)

    def read(self, completion: Completion, offer: Offer) -> Sequence[Said] | str:
        """See :class:`Speech`. Text alone is taken as the reply where it can be one."""
        if completion.tool_calls:
            return [self._toolbox.read(call, offered=offer.tools) for call in completion.tool_calls]
        text = as_reply(completion.text, self._agent.replies)
        return _SILENT if text is None else [Wanted(None, text, None)]

    def reply_in(self, completion: Completion) -> Any:
        """See :class:`Speech`."""
        offered = self._toolbox.reply_only
        for each in (self._toolbox.read(call, offered=offered) for call in completion.tool_calls):
            if isinstance(each, Wanted):
                return each.payload
        return as_reply(completion.text, self._agent.replies)

    def told(self, said: Sequence[Said], results: Sequence[str]) -> Sequence[Message]:
        """See :class:`Speech`."""
        return [
            {"role": "tool", "tool_call_id": each.call.id, "content": result}
            for each, result in zip(said, results, strict=True)
            if each.call is not None
        ]
