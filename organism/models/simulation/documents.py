"""Reading: the XML and JSON documents that stand in a text, the prose around them, and the records they hold.

A reader, not a parser: what is broken is taken as prose, nothing raises, and the time is linear in the text.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from attrs import field, frozen

from organism.models.simulation.words import name_words, normal, singular

if TYPE_CHECKING:
    from collections.abc import Iterator

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Scalar: TypeAlias = "bool | int | float | str"

_TAG: Final = re.compile(r"<(?P<closing>/?)(?P<name>[A-Za-z_][\w.:-]{0,100})(?P<rest>(?:[\s/][^<>]{0,2000})?)>")
_TOKEN: Final = re.compile(
    r"<!\[CDATA\[(?P<characters>.*?)(?:]]>|\Z)|<(?=!--).*?(?:-->|\Z)|<(?=\?).*?(?:\?>|\Z)"
    rf"|{_TAG.pattern}|(?P<text>[^<]+|<)",
    re.DOTALL,
)
_ATTRIBUTE: Final = re.compile(r"([\w:.-]+)\s*=\s*(\"[^\"]*\"|'[^']*')")
_ITEMS: Final = frozenset({"item", "li"})
_NONE: Final = ".none"
"""An empty element of this ending says that the one it is named after has no value."""
_FALSE_STARTS: Final = 24
"""How many brackets that open no document are tried, so that a text of brackets costs no more than prose."""
_DEEPEST: Final = 60
_BRACKET: Final = re.compile(r"[{\[]")


@frozen
class Document:
    """A document in a text. ``name``: its root element or only key, else empty; ``start`` and ``end``: its place."""

    name: str
    tree: Json
    start: int
    end: int


@frozen
class Record:
    """Fields that belong together: a dictionary's scalars, with those of the dictionaries around it.

    ``fields`` are by normalised name, in order; ``listed``: it was one of a list.
    """

    name: str
    fields: Mapping[str, Scalar] = field(factory=dict[str, "Scalar"])
    listed: bool = False


def plain(value: object) -> Json:
    """A value as JSON has it: mappings of any kind as dictionaries, sequences as lists, the rest as text."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        entries = cast("Mapping[object, object]", value)
        return {str(key): plain(entry) for key, entry in entries.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in cast("list[object]", value)]
    return str(value)


def loads(text: str) -> Json:
    """A JSON text, or ``None`` where it is none."""
    try:
        return cast("Json", json.loads(text))
    except (ValueError, RecursionError):
        return None


class _Element:
    """An element that is being read."""

    __slots__ = ("children", "key", "name", "start", "texts")

    def __init__(self, name: str, start: int, attributes: str) -> None:
        self.name = name
        self.start = start
        self.key: str | None = None
        self.texts: list[str] = []
        self.children: list[tuple[str, Json]] = []
        for match in _ATTRIBUTE.finditer(attributes):
            said, value = match.group(1), html.unescape(match.group(2)[1:-1])
            if said == "key":
                self.key = value
            elif not said.startswith(("xmlns", "xsi:", "xml:")):
                self.children.append((said, value))

    @property
    def called(self) -> str:
        """What it is called within the element around it: its key where it is an entry of a table."""
        return self.name.removesuffix(_NONE) if self.key is None else self.key

    def tree(self) -> Json:
        """Children and attributes as a dictionary, several of one name as a list; without any the text."""
        if self.name.endswith(_NONE):
            return None
        text = "".join(self.texts)
        if not self.children:
            return text
        if all(name in _ITEMS for name, _ in self.children):
            return [value for _, value in self.children]
        found: dict[str, list[Json]] = {}
        for name, value in self.children:
            found.setdefault(name, []).append(value)
        if text.strip():
            found.setdefault("text", []).append(text.strip())
        return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _read_element(text: str, start: int) -> Document | None:
    """The element whose start tag is at ``start``, or nothing where it never ends."""
    stack: list[_Element] = []
    for token in _TOKEN.finditer(text, start):
        if token["name"] is not None:
            done = _step(stack, token)
            if done is not None:
                return Document(done.name, done.tree(), done.start, token.end())
            if not stack:
                return None
        elif stack:
            stack[-1].texts.append(html.unescape(token["text"] or "") + (token["characters"] or ""))
    return None


def _step(stack: list[_Element], tag: re.Match[str]) -> _Element | None:
    """Opens or closes an element; returns the outermost one when it is closed, and empties the stack of one nested too deep.
    An end that nothing opened is passed over.
    """
    closing, name, rest = tag["closing"], tag["name"].rpartition(":")[2], tag["rest"]
    if not closing:
        if len(stack) >= _DEEPEST:
            stack.clear()
            return None
        stack.append(_Element(name, tag.start(), rest))
        if not rest.rstrip().endswith("/"):
            return None
    elif not any(element.name == name for element in stack):
        return None
    done = _close(stack, name)
    return None if stack else done


def _close(stack: list[_Element], name: str) -> _Element:
    """Closes elements up to the nearest of that name; each becomes a child of the one around it."""
    while True:
        done = stack.pop()
        if stack:
            stack[-1].children.append((done.called, done.tree()))
        if done.name == name or not stack:
            return done


def _elements(text: str) -> Iterator[Document]:
    at = tries = 0
    while tries < _FALSE_STARTS and (tag := _TAG.search(text, at)) is not None:
        found = None if tag["closing"] else _read_element(text, tag.start())
        # A lone lower-case element in prose is markup of a word, not a payload.
        if found is None or not (isinstance(found.tree, dict) or found.name[:1].isupper()):
            tries += 1
            at = tag.end() if found is None else found.end
            continue
        yield found
        at = found.end


def _values(text: str, start: int, end: int) -> Iterator[Document]:
    decoder = json.JSONDecoder()
    at, tries = start, 0
    while tries < _FALSE_STARTS and (match := _BRACKET.search(text, at, end)) is not None:
        try:
            value, stop = cast("tuple[Json, int]", decoder.raw_decode(text, match.start()))
        except (ValueError, RecursionError):
            value, stop = None, match.end()
        if stop > end or not _is_document(value, first=not text[start : match.start()].strip()):
            tries += 1
            at = match.end()
            continue
        yield _named(value, match.start(), stop)
        at = stop


def _is_document(value: Json, *, first: bool) -> bool:
    """An object with keys, or a list that opens the text: brackets within prose are notes and links."""
    return bool(value) and (isinstance(value, dict) or (first and isinstance(value, list)))


def _named(value: Json, start: int, end: int) -> Document:
    """``{"Question": {...}}`` is a document of that name, anything else one without a name."""
    if isinstance(value, dict) and len(value) == 1:
        name, inner = next(iter(value.items()))
        if name[:1].isupper() and isinstance(inner, dict):
            return Document(name, inner, start, end)
    return Document("", value, start, end)


def documents(text: str) -> list[Document]:
    """The XML and JSON documents of a text in order of place; none overlap."""
    found = list(_elements(text)) if "<" in text else []
    if "{" not in text and "[" not in text:
        return found
    at = 0
    values: list[Document] = []
    for document in [*found, Document("", None, len(text), len(text))]:
        values.extend(_values(text, at, document.start))
        at = document.end
    return sorted([*found, *values], key=lambda document: document.start)


def prose(text: str, inside: list[Document]) -> str:
    """What of a text stands outside its documents."""
    kept: list[str] = []
    at = 0
    for document in inside:
        kept.append(text[at : document.start])
        at = document.end
    kept.append(text[at:])
    return "\n".join(part.strip() for part in kept if part.strip())


def records(document: Document) -> list[Record]:
    """All records of a document, outer before inner."""
    found: list[Record] = []
    _collect(document.name, document.tree, {}, found, depth=0, listed=False)
    return found


def _collect(name: str, tree: Json, around: dict[str, Scalar], into: list[Record], *, depth: int, listed: bool) -> None:
    if depth > _DEEPEST:
        return
    if isinstance(tree, list):
        for entry in tree:
            _collect(name, entry, around, into, depth=depth + 1, listed=True)
    elif isinstance(tree, dict):
        own = {normal(key): value for key, value in tree.items() if isinstance(value, (bool, int, float, str))}
        fields = {**own, **{key: value for key, value in around.items() if key not in own}}
        if own:
            into.append(Record(name, fields, listed))
        for key, value in tree.items():
            if isinstance(value, (list, dict)):
                _collect(key, value, fields, into, depth=depth + 1, listed=False)
    elif tree is not None:
        key = singular("".join(name_words(name)[-1:])) or "value"
        into.append(Record(name, {key: tree, **{k: v for k, v in around.items() if k != key}}, listed))


def leaves(tree: Json, name: str = "", depth: int = 0) -> Iterator[tuple[str, Scalar]]:
    """Every scalar of a tree with the name of the nearest key, in order."""
    if depth > _DEEPEST or tree is None:
        return
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, key, depth + 1)
    elif isinstance(tree, list):
        for entry in tree:
            yield from leaves(entry, name, depth + 1)
    else:
        yield name, tree
