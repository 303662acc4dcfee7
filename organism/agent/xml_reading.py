"""The messages that stand in a model's free text: where each begins and ends, and its XML, repaired where that is safe.

What is repaired can mean one thing only. A prefix or namespace, since no two payloads share a name. ``&`` that begins no reference, and
``<`` that begins no tag. Named entities of HTML, which become their character. Attributes without quotes. End tags that are missing
before the end tag of what is around, or at the very end. Nothing else is: markup inside of a text, say, may be part of the text or
a mistake, and only its author knows.

Nothing here parses for good: what comes out goes through the reader of payloads. The time is linear in the text.
"""

from __future__ import annotations

import html.entities
import re
from typing import TYPE_CHECKING, Final

from attrs import frozen

from organism.payloads.escapes import marked_up, marked_up_attribute
from organism.payloads.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_NAME: Final = r"(?:[A-Za-z_][\w.-]*:)?([A-Za-z_][\w.-]*)"
_ATTRIBUTE: Final = r"\s+([A-Za-z_][\w:.-]*)\s*=\s*(\"[^\"<]*\"|'[^'<]*'|[^\s\"'<>=/]+)"
_START: Final = re.compile(rf"<{_NAME}((?:{_ATTRIBUTE.replace('(', '(?:')})*)\s*(/?)>")
_END: Final = re.compile(rf"</{_NAME}\s*>")
_EACH_ATTRIBUTE: Final = re.compile(_ATTRIBUTE)
_REFERENCE: Final = re.compile(r"&(?:(#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});)?")
_OF_XML: Final = frozenset({"amp", "lt", "gt", "quot", "apos"})
_THOUGHTS: Final = frozenset({"think", "thinking"})
"""Elements in which models think aloud: what is drafted there is not said."""
_FENCE: Final = re.compile(r"^[ \t]*(?:```|~~~)", re.MULTILINE)
_INVENTED: Final = re.compile(r"^Message from [^\n:]{1,100}:[ \t]*$", re.MULTILINE)
"""The head of a message that the model gets: where it writes one itself, it has begun to invent answers."""
_CODE: Final = re.compile(r"(?<!`)`[^`\n]+`(?!`)")
_SECTIONS: Final = {"<![CDATA[": "]]>", "<!--": "-->"}
_SHOWN: Final = 40
_DEEPEST: Final = Limits().depth
"""Nothing reads what is nested deeper; each end tag is looked for among those that are open."""


class NotRepairedError(Exception):
    """What was written may mean more than one thing; the text says what is wrong."""


@frozen
class Found:
    """An element in a text. ``to`` is who it is for; ``None``: it does not say. ``closed``: its end tag is there."""

    name: str
    to: str | None
    text: str
    closed: bool


def found_in(text: str, is_meant: Callable[[str], bool]) -> Iterator[Found]:
    """The outermost elements of a text that are messages: those that say whom they are for, and those whose name ``is_meant``.

    What never ends takes the rest of the text with it, or of the fenced block in which it begins. Behind an answer that the model has
    invented nothing is read.
    """
    code = _CODE.search(text)
    at, prose, thinks = 0, 0, True
    sections = {opener: text.rfind(closer) for opener, closer in _SECTIONS.items()}
    while (opening := text.find("<", at)) >= 0 and not _INVENTED.search(text, at, opening):
        section = _section_end(text, opening, sections)
        tag = _START.match(text, opening) if section is None else None
        if tag is None:
            at = opening + 1 if section is None else section
            continue
        at = tag.end()
        name, attributes = tag[1], _attributes(tag[2])
        if not is_meant(name) and "to" not in attributes:
            if name in _THOUGHTS and thinks:
                end, thinks = _end_of(text, tag)
                if thinks:
                    at = prose = end
            continue
        # What a message quotes, or a thought, quotes nothing behind it.
        while code is not None and (code.end() <= opening or code.start() < prose):
            code = _CODE.search(text, prose if code.start() < prose else code.end())
        span = code.span() if code is not None and code.start() < opening else None
        end, closed = _end_of(text, tag, len(text) if span is None else span[1])
        if span is not None and not closed:
            at = max(at, span[1])  # it is only spoken of
            continue
        at = prose = end if closed else _fence_end(text, opening)
        to = attributes.get("to")
        yield Found(name, None if to is None else to.strip(), text[opening:at], closed)


def _section_end(text: str, at: int, last: Mapping[str, int] | None = None, *, stop: int | None = None) -> int | None:
    """Where the comment or section of characters that begins here ends; ``None`` where none begins that ends before ``stop``.

    ``last`` has the place of the last end of each kind. By both not every beginning is followed to the end of the text.
    """
    for opener, closer in _SECTIONS.items():
        if text.startswith(opener, at) and (last is None or last[opener] > at):
            end = text.find(closer, at + len(opener), stop)
            return None if end < 0 else end + len(closer)
    return None


def _end_of(text: str, tag: re.Match[str], stop: int | None = None) -> tuple[int, bool]:
    """Where the element of a start tag ends, and whether its end tag is there, before ``stop``."""
    if tag[3]:
        return tag.end(), True
    name, depth, at = tag[1], 1, tag.end()
    while (opening := text.find("<", at, stop)) >= 0:
        section = _section_end(text, opening, stop=stop)
        if section is not None:
            at = section
            continue
        if text.startswith(tuple(_SECTIONS), opening):
            break  # it takes all the rest
        found = _END.match(text, opening)
        if found is not None and found[1] == name:
            depth -= 1
        elif found is None and (found := _START.match(text, opening)) is not None and found[1] == name and not found[3]:
            depth += 1
        if not depth and found is not None:
            return found.end(), True
        at = opening + 1 if found is None else found.end()
    return len(text), False


def _fence_end(text: str, opening: int) -> int:
    """Where an element without an end stops: before the end of the fenced block in which it began, else at the end.

    Where further fences follow, some may belong to its text, and it takes all.
    """
    before = sum(1 for _ in _FENCE.finditer(text, 0, opening))
    after = [match.start() for match in _FENCE.finditer(text, opening)]
    return after[0] if before % 2 and len(after) == 1 else len(text)


def _attributes(text: str) -> dict[str, str]:
    return {
        match[1]: html.unescape(match[2][1:-1] if match[2][0] in "\"'" else match[2])
        for match in _EACH_ATTRIBUTE.finditer(text)
    }


def repaired(found: Found, *, whole: bool = True) -> str:
    """The XML document of a message, without ``to``, prefixes and namespaces. ``whole``: nothing is missing at the end of the text
    that it stands in.

    Raises NotRepairedError.
    """
    return _Repair(found.text, whole=whole).done()


class _Repair:
    """Writes one element anew, tag by tag."""

    def __init__(self, text: str, *, whole: bool) -> None:
        self._text = text
        self._whole = whole
        self._out: list[str] = []
        self._open: list[str] = []

    def done(self) -> str:
        at = 0
        text = self._text
        while (opening := text.find("<", at)) >= 0:
            self._out.append(_references(text[at:opening]))
            at = self._step(opening)
        self._out.append(_references(text[at:]))
        if self._open and not self._whole:
            raise NotRepairedError(f"it was cut before </{self._open[-1]}>: write less")
        self._close(len(self._open))
        return "".join(self._out)

    def _step(self, opening: int) -> int:
        """Takes in what begins with ``<`` here; where it ends."""
        text = self._text
        section = _section_end(text, opening)
        if section is not None:
            if text.startswith("<![CDATA[", opening):
                self._out.append(text[opening:section])
            return section
        start, end = _START.match(text, opening), _END.match(text, opening)
        if start is not None:
            self._start(start)
            return start.end()
        if end is not None:
            self._end(end[1])
            return end.end()
        if re.match(r"[A-Za-z_/!?]", text[opening + 1 : opening + 2]):
            excerpt = " ".join(text[opening : opening + _SHOWN].split())
            raise NotRepairedError(f"'{excerpt}' begins like a tag and is none: in texts write &lt; for <")
        self._out.append("&lt;")
        return opening + 1

    def _start(self, tag: re.Match[str]) -> None:
        attributes = _attributes(tag[2])
        if not self._open:
            attributes.pop("to", None)
        kept = {key: value for key, value in attributes.items() if key != "xmlns" and not key.startswith("xmlns:")}
        odd = next((key for key in kept if ":" in key), None)
        if odd is not None:
            raise NotRepairedError(f"nothing reads the attribute '{odd}': leave it out")
        said = "".join(f' {key}="{marked_up_attribute(value)}"' for key, value in kept.items())
        self._out.append(f"<{tag[1]}{said}{tag[3]}>")
        if not tag[3]:
            self._open.append(tag[1])
            if len(self._open) > _DEEPEST:
                raise NotRepairedError(f"it has elements nested more than {_DEEPEST} deep")

    def _end(self, name: str) -> None:
        if name not in self._open:
            raise NotRepairedError(f"</{name}> ends nothing that has begun")
        inner = self._open[::-1].index(name)
        self._close(inner)
        self._out.append(f"</{self._open.pop()}>")

    def _close(self, count: int) -> None:
        """Writes the end tags that are missing of the innermost elements. The blanks before are those of the text's layout."""
        while count and self._out and not self._out[-1].strip():
            self._out.pop()
        if count and self._out and not self._out[-1].startswith("<"):
            self._out[-1] = self._out[-1].rstrip()
        for _ in range(count):
            self._out.append(f"</{self._open.pop()}>")


def _references(text: str) -> str:
    """The text between tags with references that XML knows."""
    return _REFERENCE.sub(_reference, text) if "&" in text else text


def _reference(match: re.Match[str]) -> str:
    name = match[1]
    if name is None:
        return "&amp;"
    if name in _OF_XML:
        return match[0]
    if name[0] == "#":
        return f"&{name.lower()};"
    known = html.entities.html5.get(f"{name};")
    return f"&amp;{name};" if known is None else marked_up(known)


__all__ = ["Found", "NotRepairedError", "found_in", "repaired"]
