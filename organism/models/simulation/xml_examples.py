"""Payloads that are to be written as XML: the examples of a system prompt read as schemas, and values written like them.

An example is an element whose texts are types (``text``, ``whole number``, or the words that there are: ``low | high``), with comments
that say what may be left out, what there may be any number of, and what a field is for.
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Final

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from organism.models.simulation.documents import Json

_TOKEN: Final = re.compile(
    r"<!--\s*(.*?)\s*-->|<(/?)([A-Za-z_][\w.-]*)((?:\s+\w+=\"[^\"]*\")*)\s*(/?)>|([^<]+)", re.DOTALL
)
_TO: Final = re.compile(r"\bto=\"([^\"]*)\"")
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
            to = _TO.search(attributes)
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
