"""Peers addressed by XML in the model's text (``peers_as: xml``): for models that call no tools, or write better than they call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import evolve

from organism.agent.elements import TO, Element
from organism.agent.speech import Offer, answer_from, calls_read, calls_told, reply_of
from organism.agent.tools import SENT, Mistaken, Wanted
from organism.agent.wording import incoming
from organism.agent.xml_reading import NotRepairedError, found_in, repaired
from organism.errors import InvalidPayloadError
from organism.names import ORGANISM, REPLY, Guesses, excerpt, nearest, suggestion
from organism.payloads import Vocabulary
from organism.payloads.primitives import NO_TOOL, ORGANISM_ONLY, BudgetRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from organism.agent.speech import Message, Said
    from organism.agent.tools import Toolbox
    from organism.agent.xml_reading import Found
    from organism.models.completion import Completion
    from organism.payloads.primitives import InvalidPayload
    from organism.settings import AgentSettings, HandlerSettings

_HOW: Final = f"""\
You address others, and hand in your reply, by writing XML: an element for each message, several in one turn where none needs another's
answer. `{TO}` says whom it is for. Your reply has none, and ends your work. Text beside these elements is seen by nobody.
Fields stand in the order shown here; each holds what its example names, word for word. In texts write &lt; for < and &amp; for &, or
put the whole text into <![CDATA[ ]]>. Answers come as messages, in the order in which you asked."""
_HOW_TO_REPLY: Final = """\
You hand in your reply, which ends your work, by writing it as one XML element; text beside it is seen by nobody. Fields stand in the
order shown here; each holds what its example names, word for word. In texts write &lt; for < and &amp; for &, or put the whole text
into <![CDATA[ ]]>."""
_ONLY_REPLY: Final = "Write your reply now, as {names}: nothing else is carried out any more."
_EXCERPT: Final = 160
"""Characters of what it wrote that a model is shown again."""
_MISTAKES: Final = 100
"""So many of one answer are told of; a model that makes more writes no messages."""
_COMPARISONS: Final = 500
"""Of names of elements in one answer with those that there are, to see whether they are misspelled."""
_PRIMITIVES: Final = {cls.__name__ for cls in ORGANISM_ONLY}


class XmlSpeech:
    """Each peer is addressed by an element of what it takes, and so is the reply written; functions are tools all the same."""

    def __init__(
        self, handler: HandlerSettings, agent: AgentSettings, handlers: Mapping[str, HandlerSettings], toolbox: Toolbox
    ) -> None:
        self._agent = agent
        self._toolbox = toolbox
        peers = [Element(cls, name, about) for name, about, cls in _taken(handler, handlers)]
        replies = tuple(Element(cls, None) for cls in agent.replies)
        own = [Element(cls, ORGANISM) for cls in toolbox.asked]
        self._may_ask = Element(BudgetRequest, ORGANISM)
        self._vocabulary = Vocabulary(each.payload for each in (*peers, *replies))
        self._every = frozenset(each.name for each in (*peers, *own, *replies, self._may_ask))
        held = toolbox.functions
        self._reply_only = Offer(held, "none" if held else "auto", replies, _told(_HOW_TO_REPLY, replies))
        self._reminder = _ONLY_REPLY.format(names=" or ".join(f"<{each.name}>" for each in replies))
        self._offers = {
            may_ask: self._offer_of((*peers, *own, *([self._may_ask] if may_ask else []), *replies))
            for may_ask in (False, True)
        }

    def _offer_of(self, elements: tuple[Element, ...]) -> Offer:
        alone = len(elements) == len(self._reply_only.elements)
        how = _HOW_TO_REPLY if alone else _HOW
        return Offer(self._toolbox.functions, elements=elements, instructions=_told(how, elements))

    def offer(self, *, may_ask: bool) -> Offer:
        """See :class:`~organism.agent.speech.Speech`."""
        return self._offers[may_ask]

    def reply_only(self) -> Offer:
        """See :class:`~organism.agent.speech.Speech`."""
        offer = self._offers[False]
        alone = not offer.tools and len(offer.elements) == len(self._reply_only.elements)
        return offer if alone else evolve(self._reply_only, reminder=self._reminder)

    def read(self, completion: Completion, offer: Offer) -> Sequence[Said] | str:
        """See :class:`~organism.agent.speech.Speech`. Text alone is taken as the reply where it can be one and holds no XML."""
        callable_ = evolve(offer, tools=()) if offer.choice == "none" else offer
        calls = calls_read(completion, self._toolbox, callable_) if completion.tool_calls else []
        said = [*calls, *self._written(completion, offer)]
        if said:
            return said
        names = " or ".join(f"<{each.name}>" for each in offer.elements if each.peer is None)
        if completion.finish_reason == "length":
            return f"your answer was cut for length: write it again, shorter, and hand it in as {names}"
        reply = None if "<" in completion.text else reply_of(completion.text, self._agent.replies)
        return f"nothing that you wrote is a message: hand in your reply as {names}" if reply is None else [reply]

    def reply_in(self, completion: Completion) -> Wanted | None:
        """See :class:`~organism.agent.speech.Speech`."""
        for each in self._written(completion, self._reply_only):
            if isinstance(each, Wanted):
                return each
        return None if "<" in completion.text else reply_of(completion.text, self._agent.replies)

    def may_go_on(self, text: str) -> bool:
        """See :class:`~organism.agent.speech.Speech`."""
        return bool(text.strip())

    def told(self, said: Sequence[Said], results: Sequence[str]) -> Sequence[Message]:
        """See :class:`~organism.agent.speech.Speech`."""
        answers = [
            answer_from(_sender(each), result)
            for each, result in zip(said, results, strict=True)
            if each.call is None and result != SENT
        ]
        return [*calls_told(said, results), *answers]

    def corrected(self, invalid: InvalidPayload) -> Message:
        """See :class:`~organism.agent.speech.Speech`."""
        return {"role": "user", "content": incoming(invalid, ORGANISM)}

    # Reading

    def _written(self, completion: Completion, offer: Offer) -> Iterator[Said]:
        """What the elements in an answer mean: all of them, or those up to the last mistake that is told of."""
        whole = completion.finish_reason != "length"
        mistakes = 0
        for found in found_in(completion.text, self._meant()):
            said = self._said(found, offer, whole=whole)
            mistakes += isinstance(said, Mistaken)
            if mistakes == _MISTAKES:
                yield Mistaken(None, f"so much is wrong that nothing after <{_short(found.name)}> was read")
                return
            yield said

    def _said(self, found: Found, offer: Offer, *, whole: bool) -> Said:
        element = self._addressed(found, offer)
        if isinstance(element, str):
            return Mistaken(None, f"{element}. You wrote: {_excerpt(found)}")
        try:
            document = repaired(found, whole=whole)
            payload = self._vocabulary.decode_xml(document, (element.payload,))
        except (InvalidPayloadError, NotRepairedError) as error:
            rest = "" if found.closed else f" <{found.name}> does not end, and nothing after it was read."
            said = f"{found.name}: {error}." if isinstance(error, NotRepairedError) else f"{error}."
            return Mistaken(None, f"{said}{rest} You wrote: {_excerpt(found)}")
        return Wanted(None, payload, element.peer)

    def _meant(self) -> Callable[[str], bool]:
        """Tells of the names in one answer whether an element of each is a message where it does not say so: one of ours, or meant to be."""
        known = self._every | _PRIMITIVES
        meant: dict[str, bool] = {}
        guesses = Guesses(_COMPARISONS)

        def is_meant(name: str) -> bool:
            if name in known or not name[:1].isupper():
                return name in known
            if name not in meant:
                meant[name] = nearest(name, self._every, guesses) is not None
            return meant[name]

        return is_meant

    def _addressed(self, found: Found, offer: Offer) -> Element | str:
        """Which of the elements on offer it is, or why it is none."""
        name, to = found.name, found.to
        named = [each for each in offer.elements if each.name == name]
        if name in _PRIMITIVES:
            return f"<{name}> is sent by the organism alone"
        if not named:
            names = sorted({each.name for each in offer.elements})
            what = f"<{name}> cannot be written any more" if name in self._every else f"there is no <{name}>"
            return f"{what}{suggestion(name, names)}; there is {', '.join(f'<{each}>' for each in names)}"
        if to is None or to == REPLY:
            reply = next((each for each in named if each.peer is None), None)
            if reply is not None or (len(named) == 1 and to is None):
                return reply or named[0]
            return f'<{name}> is not your reply: say whom it is for, as {TO}="{named[0].peer}"'
        found_peer = next((each for each in named if each.peer == to), None)
        return found_peer or self._not_taken(name, to, named, offer)

    def _not_taken(self, name: str, to: str, named: Sequence[Element], offer: Offer) -> str:
        """Why a message goes to nobody of this name."""
        taken = sorted({each.name for each in offer.elements if each.peer == to})
        if taken:
            return f"'{to}' takes no <{name}>, but {' or '.join(f'<{each}>' for each in taken)}"
        peers = sorted({each.peer for each in offer.elements if each.peer is not None})
        wrong = f"'{_short(to)}' is nobody whom you can address{suggestion(to, peers)}"
        if any(each.peer is None for each in named):
            return f"{wrong}; your reply has no '{TO}'"
        return f"{wrong}; <{name}> goes to {' or '.join(str(each.peer) for each in named)}"


def _taken(handler: HandlerSettings, handlers: Mapping[str, HandlerSettings]) -> Iterator[tuple[str, str, type]]:
    """Each payload that a peer of the handler takes, with the peer and what it does."""
    for peer in (handlers[name] for name in handler.peers if name in handlers):
        for payload in peer.accepts:
            if payload not in NO_TOOL:
                yield peer.name, peer.description, payload


def _told(how: str, elements: Sequence[Element]) -> str:
    return "\n\n".join([" ".join(how.split()), *(each.shown() for each in elements)])


def _sender(said: Said) -> str:
    return said.peer if isinstance(said, Wanted) and said.peer is not None else ORGANISM


def _excerpt(found: Found) -> str:
    """What was written, cut to what tells which element it was."""
    return _short(" ".join(found.text[: 2 * _EXCERPT].split()))


def _short(text: str) -> str:
    # A model may write half a character, which no document can hold.
    return excerpt(text.encode("utf-8", "replace").decode(), _EXCERPT)
