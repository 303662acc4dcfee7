"""Speaking XML: a prompt that asks for messages as elements, understood as one that offers tools, and calls written as elements.

What a prompt may be answered with stands in its system message: ``To PEER: ...`` or ``Your reply: ...``, each followed by an example: an
element whose texts are types (``text``, ``whole number``, or the words that there are: ``low | high``), with comments that say what may be left
out, what there may be any number of, and what a field is for. So both ways of speaking lead to the same thoughts, and to the same answers.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from attrs import define, evolve, field, frozen

from organism.models.contract import ToolCall, ToolSpec
from organism.models.simulation.documents import documents, prose
from organism.models.simulation.tokens import text_of
from organism.models.tokens.prompt import compact

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from organism.models.contract import Message, Request
    from organism.models.simulation.documents import Document, Json

_TOKEN: Final = re.compile(
    r"<!--\s*(.*?)\s*-->|<(/?)([A-Za-z_][\w.-]*)((?:\s+\w+=\"[^\"]*\")*)\s*(/?)>|([^<]+)", re.DOTALL
)
_ADDRESS: Final = re.compile(r"\bto=\"([^\"]*)\"")
_MANY: Final = re.compile(r"any number of (?:items|entries)\.\s*")
_NONE: Final = re.compile(r"or <[\w.]+\.none[^>]*/>\.\s*")
_OPTIONAL: Final = re.compile(r"optional(?:, .*? if left out)?\.\s*", re.DOTALL)
_UNWRITABLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
_TYPES: Final[dict[str, dict[str, Json]]] = {
    "text": {"type": "string"},
    "whole number": {"type": "integer"},
    "number": {"type": "number"},
    "true | false": {"type": "boolean"},
    "decimal number": {"type": "number"},
    "date and time with offset": {"type": "string", "format": "date-time"},
    "base64": {"type": "string", "contentEncoding": "base64"},
}


@define
class Example:
    """An element of an example. ``note`` is what its comment says, ``to`` whom the whole of it is for."""

    name: str
    to: str | None = None
    text: str = ""
    note: str = ""
    either: bool = False
    """One of its children stands in it, and not all."""
    children: list[Example] = field(factory=list["Example"])

    @property
    def is_list(self) -> bool:
        """Whether it holds any number of items."""
        return [child.name for child in self.children] == ["item"] and "any number" in self.note

    @property
    def is_table(self) -> bool:
        """Whether it holds any number of entries, each with a key."""
        return [child.name for child in self.children] == ["entry"] and "any number" in self.note

    @property
    def optional(self) -> bool:
        """Whether it may be left out."""
        return _OPTIONAL.match(_NONE.sub("", _MANY.sub("", self.note))) is not None

    def schema(self) -> dict[str, Json]:
        """What its value is in JSON."""
        about = _OPTIONAL.sub("", _NONE.sub("", _MANY.sub("", self.note)), count=1).strip()
        said: dict[str, Json] = {"description": about} if about else {}
        if self.text:
            words: list[Json] = [*self.text.split(" | ")]
            return {**_TYPES.get(self.text, {"type": "string", "enum": words}), **said}
        if self.is_list:
            return {"type": "array", "items": self.children[0].schema(), **said}
        if self.is_table:
            return {"type": "object", "additionalProperties": self.children[0].schema(), **said}
        if self.either:
            return {"anyOf": [_object([child]) for child in self.children], **said}
        return {**_object(self.children), **said}

    def typed(self, tree: Json) -> Json:
        """What was written like the example, with its values as JSON has them."""
        if self.text:
            return _scalar(tree, self.schema().get("type"))
        if self.is_list:
            entries = tree if isinstance(tree, list) else [] if tree in ("", None) else [tree]
            return [self.children[0].typed(entry) for entry in entries]
        if not isinstance(tree, dict):
            return {}
        if self.is_table:
            return {key: self.children[0].typed(value) for key, value in tree.items()}
        known = {child.name: child for child in self.children}
        return {key: known[key].typed(value) for key, value in tree.items() if key in known}

    def written(self, value: Json, *, key: str = "") -> str:
        """A value as an element like it."""
        if value is None:
            return f"<{self.name}.none{key}/>" if ".none" in self.note else ""
        return f"<{self.name}{key}>{''.join(self._inside(value))}</{self.name}>"

    def _inside(self, value: Json) -> Iterator[str]:
        if isinstance(value, list):
            yield from (self.children[0].written(entry) for entry in value if self.is_list)
        elif isinstance(value, dict) and self.is_table:
            for key, entry in value.items():
                yield self.children[0].written(entry, key=f' key="{html.escape(_clean(key))}"')
        elif isinstance(value, dict):
            yield from (child.written(value[child.name]) for child in self.children if child.name in value)
        elif isinstance(value, bool):
            yield "true" if value else "false"
        else:
            yield html.escape(_clean(str(value)), quote=False)


def _object(fields: list[Example]) -> dict[str, Json]:
    must: list[Json] = [each.name for each in fields if not each.optional]
    return {"type": "object", "properties": {each.name: each.schema() for each in fields}, "required": must}


def _scalar(tree: Json, kind: Json) -> Json:
    text = tree.strip() if isinstance(tree, str) else tree
    if not isinstance(text, str) or kind == "string":
        return tree
    if kind == "boolean":
        return text in {"true", "1"}
    try:
        return int(text) if kind == "integer" else float(text)
    except ValueError:
        return tree


def _clean(text: str) -> str:
    """The text without what XML cannot hold."""
    return _UNWRITABLE.sub("", text)


def example_at(text: str, start: int) -> tuple[Example, int] | None:
    """The example that begins here, and where it ends; nothing where it is none."""
    stack: list[Example] = []
    for token in _TOKEN.finditer(text, start):
        comment, closing, name, attributes, empty, said = token.groups()
        if name is None:
            if stack:
                _add(stack[-1], comment, said)
            continue
        if not closing:
            to = _ADDRESS.search(attributes)
            stack.append(Example(name, None if to is None else html.unescape(to[1])))
        if closing or empty:
            if not stack or stack[-1].name != name:
                return None
            done = stack.pop()
            if not stack:
                return done, token.end()
            stack[-1].children.append(done)
    return None


def _add(to: Example, comment: str | None, said: str | None) -> None:
    """A comment or a text within an element. A comment is about the child before it, or where there is none about all of it."""
    if comment is None:
        to.text = (to.text + html.unescape(said or "")).strip()
    elif comment == "or":
        to.either = True
    elif to.children:
        to.children[-1].note = comment
    else:
        to.note = comment


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
    tools = [
        ToolSpec(name=name, description=about, parameters=example.schema())
        for name, (example, about) in examples.items()
    ]
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
