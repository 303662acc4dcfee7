"""The messages that stand in a model's free text: where each begins and ends, and its XML, repaired where that is safe.

What is repaired can mean one thing only. A prefix or namespace, since no two payloads share a name. ``&`` that begins no reference, and
``<`` that begins no tag. Named entities of HTML, which become their character. Attributes without quotes. End tags that are missing
before the end tag of what is around, or at the very end. Nothing else is: markup inside of a text, say, may be part of the text or
a mistake, and only its author knows.

Nothing here parses for good: what comes out goes through the reader of payloads. The time is linear in the text, and steps are taken
for tags alone: one pattern finds them, over whatever else there may be.
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
_TAG: Final = re.compile(rf"<(?:(!--|!\[CDATA\[)|/{_NAME}\s*>|{_NAME}((?:{_ATTRIBUTE.replace('(', '(?:')})*)\s*(/?)>)")
"""The beginning of a section, an end tag (its name), or a start tag: its name, its attributes, and the slash of one that is empty."""
_SECTION, _ENDED, _NAMED, _SAID, _EMPTY = range(1, 6)
_LIKE_A_TAG: Final = re.compile(r"<[A-Za-z_/!?]")
_EACH_ATTRIBUTE: Final = re.compile(_ATTRIBUTE)
_REFERENCE: Final = re.compile(r"&(?:(#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});)?")
_OF_XML: Final = frozenset({"amp", "lt", "gt", "quot", "apos"})
_THOUGHTS: Final = frozenset({"think", "thinking"})
"""Elements in which models think aloud: what is drafted there is not said."""
_FENCE: Final = re.compile(r"^[ \t]*(?:```|~~~)", re.MULTILINE)
_INVENTED: Final = re.compile(r"^Message from [^\n:<]{1,100}:[ \t]*(?=$|<)", re.MULTILINE)
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


class _Ahead:
    """The next match of a pattern behind a place that only moves on: nothing is looked through twice."""

    def __init__(self, pattern: re.Pattern[str], text: str) -> None:
        self._pattern = pattern
        self._text = text
        self._next = pattern.search(text)

    def behind(self, place: int) -> re.Match[str] | None:
        """The first one that begins there or later."""
        if self._next is not None and self._next.start() < place:
            self._next = self._pattern.search(self._text, place)
        return self._next


def found_in(text: str, is_meant: Callable[[str], bool]) -> Iterator[Found]:
    """The outermost elements of a text that are messages: those that say whom they are for, and those whose name ``is_meant``.

    What never ends takes the rest of the text with it, or of the fenced block in which it begins. Behind an answer that the model has
    invented nothing is read.
    """
    codes, inventions = _Ahead(_CODE, text), _Ahead(_INVENTED, text)
    at, prose, thinks = 0, 0, True
    sections = {opener: text.rfind(closer) for opener, closer in _SECTIONS.items()}
    while (tag := _TAG.search(text, at)) is not None:
        opening = tag.start()
        invented = inventions.behind(at)
        if invented is not None and invented.end() <= opening:
            return
        at = tag.end()
        if tag[_SECTION]:
            at = _section_end(text, tag, sections) or at
            continue
        if not tag[_NAMED]:
            continue
        name, attributes = tag[_NAMED], _attributes(tag[_SAID]) if tag[_SAID] else {}
        if not is_meant(name) and "to" not in attributes:
            if name in _THOUGHTS and thinks:
                end, thinks = _end_of(text, tag)
                if thinks:
                    at = prose = end
            continue
        # What a message quotes, or a thought, quotes nothing behind it.
        code = codes.behind(prose)
        while code is not None and code.end() <= opening:
            code = codes.behind(code.end())
        span = code.span() if code is not None and code.start() < opening else None
        end, closed = _end_of(text, tag, len(text) if span is None else span[1])
        if span is not None and not closed:
            at = max(at, span[1])  # it is only spoken of
            continue
        at = prose = end if closed else _fence_end(text, opening)
        to = attributes.get("to")
        yield Found(name, None if to is None else to.strip(), text[opening:at], closed)


def _section_end(
    text: str, tag: re.Match[str], last: Mapping[str, int] | None = None, *, stop: int | None = None
) -> int | None:
    """Where the comment or section of characters that begins here ends; ``None`` where it does not end before ``stop``.

    ``last`` has the place of the last end of each kind. By both not every beginning is followed to the end of the text.
    """
    opener = tag[0]
    if last is not None and last[opener] <= tag.start():
        return None
    closer = _SECTIONS[opener]
    end = text.find(closer, tag.end(), stop)
    return None if end < 0 else end + len(closer)


def _end_of(text: str, tag: re.Match[str], stop: int | None = None) -> tuple[int, bool]:
    """Where the element of a start tag ends, and whether its end tag is there, before ``stop``."""
    if tag[_EMPTY]:
        return tag.end(), True
    name, depth, at = tag[_NAMED], 1, tag.end()
    while (found := _TAG.search(text, at)) is not None and (stop is None or found.start() < stop):
        if found[_SECTION]:
            end = _section_end(text, found, stop=stop)
            if end is None:
                break  # it takes all the rest
            at = end
            continue
        at = found.end()
        if found[_ENDED] == name:
            depth -= 1
        elif found[_NAMED] == name and not found[_EMPTY]:
            depth += 1
        if not depth:
            return at, True
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
        match[1]: _plain(match[2][1:-1] if match[2][0] in "\"'" else match[2])
        for match in _EACH_ATTRIBUTE.finditer(text)
    }


def _plain(value: str) -> str:
    """The text of an attribute, as it is where a reference in it is no character but some thousand digits."""
    try:
        return html.unescape(value)
    except ValueError:
        return value


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
        while (tag := _TAG.search(text, at)) is not None:
            self._between(at, tag.start())
            at = self._step(tag)
        self._between(at, len(text))
        if self._open and not self._whole:
            raise NotRepairedError(f"it was cut before </{self._open[-1]}>: write less")
        self._close(len(self._open))
        return "".join(self._out)

    def _between(self, start: int, end: int) -> None:
        """Takes in what stands between two tags."""
        odd = _LIKE_A_TAG.search(self._text, start, end)
        if odd is not None:
            raise self._no_tag(odd.start())
        self._out.append(_references(self._text[start:end]).replace("<", "&lt;"))

    def _no_tag(self, opening: int) -> NotRepairedError:
        excerpt = " ".join(self._text[opening : opening + _SHOWN].split())
        return NotRepairedError(f"'{excerpt}' begins like a tag and is none: in texts write &lt; for <")

    def _step(self, tag: re.Match[str]) -> int:
        """Takes in a tag or a section; where it ends."""
        if tag[_SECTION]:
            end = _section_end(self._text, tag)
            if end is None:
                raise self._no_tag(tag.start())
            if tag[0] != "<!--":
                self._out.append(self._text[tag.start() : end])
            return end
        if tag[_NAMED]:
            self._start(tag)
        else:
            self._end(tag[_ENDED])
        return tag.end()

    def _start(self, tag: re.Match[str]) -> None:
        attributes = _attributes(tag[_SAID])
        if not self._open:
            attributes.pop("to", None)
        kept = {key: value for key, value in attributes.items() if key != "xmlns" and not key.startswith("xmlns:")}
        odd = next((key for key in kept if ":" in key), None)
        if odd is not None:
            raise NotRepairedError(f"nothing reads the attribute '{odd}': leave it out")
        said = "".join(f' {key}="{marked_up_attribute(value)}"' for key, value in kept.items())
        self._out.append(f"<{tag[_NAMED]}{said}{tag[_EMPTY]}>")
        if not tag[_EMPTY]:
            self._open.append(tag[_NAMED])
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
