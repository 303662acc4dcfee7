"""Inputs of a study: payloads in its own file, or in one beside it of JSON lines, or of comma-separated values."""

from __future__ import annotations

import csv
import io
import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast
from xml.sax.saxutils import escape

from organism.config.layers import from_python
from organism.config.places import FILE, Path, Place, shown
from organism.config.shapes import BROKEN
from organism.config.start import decoded
from organism.config.tree import Items, Scalar, kind_of
from organism.config.yamltext import unfold
from organism.errors import InvalidPayloadError, reason_of
from organism.names import counted, there_are
from organism.payloads import Vocabulary, describe
from organism.payloads.primitives import ORGANISM_ONLY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from organism.config.shapes import Reading
    from organism.config.tree import Node

_MOST_BYTES: Final = 64 * 1024 * 1024
_ENDS: Final = (".jsonl", ".ndjson", ".csv")


def inputs_of(node: Node, handler: str, accepts: tuple[type, ...], reading: Reading) -> tuple[Any, ...]:
    """The payloads for a handler that a list has, or a file that is named in its place. Those that are wrong are noted, and left out."""
    read = unfold(node, reading.mistakes)
    match read:
        case Items(items=items):
            found = [decoded(each, handler, accepts, reading) for each in items]
        case Scalar(value=str(name)) if name.endswith(_ENDS):
            found = list(_in_file(read, name, handler, accepts, reading))
        case None:
            return ()
        case _:
            kinds = f"a list of payloads, or the name of a file that ends in {', '.join(_ENDS)}"
            reading.wrong(read, f"must be {kinds}, and not {kind_of(read)}")
            return ()
    before = len(reading.mistakes)
    if not found and not before:
        reading.wrong(read, "has no inputs: give one at least")
    return tuple(each for each in found if each is not BROKEN)


def _in_file(node: Scalar, name: str, handler: str, accepts: tuple[type, ...], reading: Reading) -> Iterator[Any]:
    path = name if reading.folder is None else reading.folder / name
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a text or a path
            data = file.read(_MOST_BYTES + 1)
        text = data.decode("utf-8-sig")
    except FileNotFoundError:
        reading.wrong(node, f"there is no file {shown(name)}")
        return
    except UnicodeDecodeError as error:
        reading.wrong(node, f"{shown(name)} is not UTF-8 (at byte {error.start})")
        return
    except (OSError, ValueError) as error:
        reading.wrong(node, f"{shown(name)} cannot be read: {reason_of(error)}")
        return
    if len(data) > _MOST_BYTES:
        reading.wrong(node, f"{shown(name)} is longer than {_MOST_BYTES} bytes")
    elif name.endswith(".csv"):
        yield from _rows(text, node, str(path), handler, accepts, reading)
    else:
        yield from _lines(text, str(path), handler, accepts, reading)


def _lines(text: str, file: str, handler: str, accepts: tuple[type, ...], reading: Reading) -> Iterator[Any]:
    """A payload in each line: an object as in ``start:``, or a text."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        place = Place(file, FILE, number, 1)
        try:
            value: object = json.loads(line)
        except (ValueError, RecursionError) as error:
            reading.mistakes.note(place, (), f"is no JSON: {error}")
            continue
        if not isinstance(value, (dict, str)):
            reading.mistakes.note(place, (), f"must be an object or a text, and not {shown(value)}")
            continue
        yield decoded(
            from_python(cast("object", value), partial(_at, place), reading.mistakes, ()), handler, accepts, reading
        )


def _at(place: Place, _path: Path) -> Place:
    return place


def _rows(
    text: str, node: Scalar, file: str, handler: str, accepts: tuple[type, ...], reading: Reading
) -> Iterator[Any]:
    """A payload in each row, whose columns are its fields. They are read as in XML, where all values are texts; an empty one is left out."""
    classes = [each for each in accepts if each not in ORGANISM_ONLY]
    if len(classes) != 1:
        names = ", ".join(each.__name__ for each in classes)
        reading.wrong(node, f"{shown(handler)} takes {names}: rows can be of one payload only; use JSON lines")
        return
    (cls,) = classes
    known = [each.name for each in describe(cls).fields]
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    words = Vocabulary(accepts)
    try:
        head = next(rows, list[str]())
        for column in head:
            if column not in known:
                reading.mistakes.note(
                    Place(file, FILE, 1, 1), (), f"{shown(column)} is not a field of {cls.__name__}{there_are(known)}"
                )
        if not set(head) <= set(known):
            return
        for row in rows:
            place = Place(file, FILE, rows.line_num, 1)
            if len(row) > len(head):
                reading.mistakes.note(place, (), f"has {counted(len(row), 'value')} for {counted(len(head), 'column')}")
            elif any(row):
                given = dict(zip(head, row, strict=False))
                inside = "".join(f"<{name}>{escape(given[name])}</{name}>" for name in known if given.get(name))
                try:
                    yield words.decode_xml(f"<{cls.__name__}>{inside}</{cls.__name__}>", (cls,))
                except InvalidPayloadError as error:
                    reading.mistakes.note(place, (), str(error))
    except csv.Error as error:
        reading.mistakes.note(Place(file, FILE, max(1, rows.line_num), 1), (), f"is no CSV: {error}")
