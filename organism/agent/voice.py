"""What of an agent's turns is the text of its reply, said on while the model writes it."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING

from organism.agent.partial import Texts
from organism.agent.tools import only_field, reply_name
from organism.payloads import describe
from organism.payloads.types import Scalar
from organism.pump.text_listeners import TextDelta

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from organism.models.contract import Piece
    from organism.pump.text_listeners import TextListeners
    from organism.settings import AgentSettings


class Voice:
    """Says on what one delivery's model writes of its reply: the texts of the payload that it replies with, or its text where
    that alone may be the reply. What turns out to be none is taken back.
    """

    def __init__(self, listeners: TextListeners, agent: AgentSettings, *, thread: str, seq: int, handler: str) -> None:
        self._listeners = listeners
        self._replies = agent.replies
        self._spoken: Callable[..., TextDelta] = partial(TextDelta, thread=thread, seq=seq, handler=handler)
        self._plain = agent.peers_as == "tools" and only_field(agent.replies) is not None
        self._before = ""
        """What was said of an answer that is gone on with."""
        self._said = ""
        self._call: int | None = None
        self._texts: Texts | None = None

    def begin(self, *, goes_on: bool) -> None:
        """A turn begins. What an earlier one said was no reply, unless this one ``goes_on`` with it."""
        if goes_on:
            self._before, self._said = self._before + self._said, ""
        else:
            self._said, self._before = self._before + self._said, ""
        self.withdrawn()

    def came(self, piece: Piece) -> None:
        """See :class:`organism.models.routing.streams.Hearer`."""
        if piece.kind == "text":
            self._say(piece.text if self._plain and self._texts is None else "")
            return
        names = _text_fields(self._replies).get(piece.tool)
        if names is None:
            return
        if self._texts is None:
            # The first reply counts; the text that stood before it is none.
            self.withdrawn()
            self._call, self._texts = piece.call, Texts(names)
        if piece.call == self._call:
            self._say(self._texts.add(piece.text))

    def withdrawn(self) -> None:
        """See :class:`organism.models.routing.streams.Hearer`."""
        self._call = self._texts = None
        if self._said:
            self._said = ""
            self._listeners.tell(self._spoken(text=self._before, anew=True))

    def _say(self, text: str) -> None:
        if text:
            self._said += text
            self._listeners.tell(self._spoken(text=text))


@lru_cache(maxsize=256)
def _text_fields(replies: tuple[type, ...]) -> Mapping[str, Collection[str]]:
    """The fields of each reply that are texts, by the reply's tool."""
    return {
        reply_name(payload, replies): {field.name for field in describe(payload).fields if field.type is Scalar.TEXT}
        for payload in replies
    }
