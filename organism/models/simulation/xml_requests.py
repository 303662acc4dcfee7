"""Speaking XML: a prompt that asks for messages as elements, understood as one that offers tools, and calls written as elements.

What a prompt may be answered with stands in its system message: ``To PEER: ...`` or ``Your reply: ...``, each followed by an example. So
both ways of speaking lead to the same thoughts, and to the same answers.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve, frozen

from organism.models.contract import ToolCall, ToolSpec
from organism.models.simulation.documents import documents, prose
from organism.models.simulation.tokens import compact, text_of
from organism.models.simulation.xml_examples import Example, example_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.models.contract import Message, Request
    from organism.models.simulation.documents import Document, Json

_OFFERED: Final = re.compile(r"^(?:To ([\w.-]+)|Your reply):[ \t]*(.*)\n(?=<[A-Za-z_])", re.MULTILINE)
_ANSWER: Final = re.compile(r"^Message from ([^\n:]+):\n", re.MULTILINE)
_REMINDER: Final = re.compile(r"write your reply now\b|you cannot address (.{1,2000}) any more\b", re.IGNORECASE)
_REFUSED: Final = "<InvalidPayload"
_TO: Final = "to"


@frozen
class Spoken:
    """What may be written, by the name of the tool that it would be."""

    examples: Mapping[str, Example]

    def text(self, remark: str, calls: Sequence[ToolCall], arguments: Sequence[Json]) -> str:
        """Calls as a text of elements, with a remark before them."""
        said = [self._written(call.name, value) for call, value in zip(calls, arguments, strict=True)]
        return "\n\n".join([remark, *said] if remark else said)

    def _written(self, name: str, value: Json) -> str:
        example = self.examples[name]
        return example.written(value, key="" if example.to is None else f' {_TO}="{html.escape(example.to)}"')

    def name_of(self, document: Document) -> str | None:
        """The tool that an element would have called; nothing where it is none."""
        to = document.tree.get(_TO) if isinstance(document.tree, dict) else None
        for name, example in self.examples.items():
            if example.name == document.name and (example.to == to or (example.to is None and to in {None, "reply"})):
                return name
        return None


def spoken(request: Request) -> tuple[Request, Spoken] | None:
    """The request as one that offers what it asks for in XML as tools; nothing where it asks for none."""
    system = next((m for m in request.messages if m.get("role") in {"system", "developer"}), None)
    text = "" if system is None else text_of(system.get("content"))
    offered = [(match, read[0]) for match in _OFFERED.finditer(text) if (read := example_at(text, match.end()))]
    if not offered:
        return None
    gone = _gone(request.messages)
    found = [(example, " ".join(match[2].split())) for match, example in offered if example.to not in gone]
    examples = {_name(example, [each for each, _ in found]): (example, about) for example, about in found}
    tools = [_tool(name, *each) for name, each in examples.items()]
    replies = [name for name, (example, _) in examples.items() if example.to is None]
    speech = Spoken({name: example for name, (example, _) in examples.items()})
    # The paragraph before the first of them tells how to write.
    instructed = text.rfind("\n\n", 0, max(offered[0][0].start() - 2, 0))
    messages = [{**m, "content": text[: max(instructed, 0)]} if m is system else m for m in request.messages]
    others = () if request.tool_choice == "none" else request.tools
    only = len(replies) == len(tools) and not others
    choice = (replies[0] if len(replies) == 1 else "required") if only else "auto"
    asked = evolve(request, tools=(*others, *tools), tool_choice=choice)
    return evolve(asked, messages=_as_calls(messages, speech)), speech


def _gone(messages: Sequence[Message]) -> Sequence[str]:
    """Who cannot be addressed any more, as the end of the prompt says."""
    match = _REMINDER.match(text_of(messages[-1].get("content"))) if messages[-1].get("role") == "user" else None
    return (match[1] or "").split(" or ") if match is not None else []


def _name(example: Example, every: Sequence[Example]) -> str:
    """What the tool would be called."""
    called = "reply" if example.to is None else example.to
    several = sum(each.to == example.to for each in every) > 1 or example.to == "organism"
    return f"{called}_{example.name}" if several else called


def _tool(name: str, example: Example, about: str) -> ToolSpec:
    return ToolSpec(name=name, description=about, parameters=example.schema())


# What was said


def _as_calls(messages: Sequence[Message], speech: Spoken) -> list[Message]:
    """The messages with elements as tool calls, and the answers to them as results."""
    found: list[Message] = []
    asked: list[str] = []
    for place, message in enumerate(messages):
        text = text_of(message.get("content"))
        if message.get("role") == "assistant":
            made, asked = _calls(message, text, speech, place)
            found.append(made)
        elif message.get("role") == "user" and _REMINDER.match(text):
            continue
        elif message.get("role") == "user" and asked and (results := _results(text, asked)):
            found.extend(results)
            asked = []
        else:
            found.append(message)
    return found


def _calls(message: Message, text: str, speech: Spoken, place: int) -> tuple[Message, list[str]]:
    """An assistant's message with its elements as calls, and the ids of these: those of replies begin with ``reply``."""
    inside = [(each, name) for each in documents(text) if (name := speech.name_of(each)) is not None]
    if not inside:
        return message, []
    calls: list[dict[str, Any]] = []
    for number, (document, name) in enumerate(inside):
        arguments = compact(speech.examples[name].typed(document.tree))
        identity = f"{'reply' if speech.examples[name].to is None else 'call'}_{place}_{number}"
        calls.append(ToolCall(id=identity, name=name, arguments=arguments).in_message)
    around = prose(text, [document for document, _ in inside])
    own: Sequence[Any] = message.get("tool_calls") or ()
    return {**message, "content": around or None, "tool_calls": [*own, *calls]}, [call["id"] for call in calls]


def _results(text: str, asked: Sequence[str]) -> list[Message]:
    """The answers in a message, one for each that was asked for, in order; none where it is a message of its own."""
    heads = list(_ANSWER.finditer(text))
    if not heads:  # the last turn was cut off before it was answered
        return []
    ends = [*(head.start() for head in heads[1:]), len(text)]
    answers = [text[head.end() : end].strip() for head, end in zip(heads, ends, strict=True)]
    waiting = [each for each in asked if not each.startswith("reply")]
    if not waiting and not (answers and answers[0].startswith(_REFUSED)):
        return []
    # A reply that was taken is not answered.
    waiting = list(asked) if len(answers) >= len(asked) else waiting
    return [
        {"role": "tool", "tool_call_id": identity, "content": answer}
        for identity, answer in zip(waiting, answers, strict=False)
    ]
