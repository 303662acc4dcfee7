"""What the schema accepts the class accepts, and nothing else: valid documents are damaged, and both are asked."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker  # type: ignore[import-untyped]
from lxml import etree

from organism.errors import InvalidPayloadError
from organism.payloads import Vocabulary, decode_fields, encode_fields, encode_xml, json_schema, payload, xsd
from organism.payloads.xml_faults import faults_of
from tests.payloads.payload_classes import payload_values, texts

few = settings(max_examples=100)
"""Each example declares classes and compiles a schema for them."""

LEXICAL = (
    *(
        "",
        " ",
        "5",
        " 5\n",
        "-0",
        "+7",
        "007",
        "5 5",
        "5.",
        ".5",
        ".",
        "1e5",
        "1E+7",
        "1e",
        "e1",
        "1e400",
        "1e-400",
        "NaN",
    ),
    *("INF", "inf", "0x10", "1_0", "٣", "\u00a05", "5\u2003", "9" * 50, "1E+9999", "1E+10000", "1.5E999", "1.5E1000"),
    *("1.7976931348623157e308", "1.7976931348623159e308", "true", " true ", "TRUE", "1", "0", "False", "yes"),
    *("2024-02-29T00:00:00Z", "2023-02-29T00:00:00Z", "2024-01-01T24:00:00Z", "2024-01-01T00:00:00", "2024-01-01"),
    *("2024-01-01T00:00:00+14:00", "2024-01-01T00:00:00+14:01", "2024-01-01T00:00:00-00:00", "2024-01-01T00:00:60Z"),
    *("2024-01-01T00:00:00.1234567Z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "12024-01-01T00:00:00Z"),
    *("2024-04-31T00:00:00Z", "2024-1-1T00:00:00Z", " 2024-01-01T00:00:00.5Z\t", "20240101T000000Z"),
    *("AAAA", "AA==", "AB==", "AAA=", "AAB=", "A", "AA AA", " AAAA ", "AA==AA==", "=", "!"),
    *("low", " low ", "high", "two words", "two  words", " padded ", "member_0", "_x0000_", "_x005F_x0000_", "_x0041_"),
)
lexical = (
    st.sampled_from(LEXICAL)
    | texts.filter(lambda text: text.isprintable())
    | st.integers().map(str)
    | st.floats().map(repr)
)


class Blows:
    """Damages a tree, by one method a kind of damage. The root keeps its name and its place."""

    def __init__(self, draw: st.DrawFn, root: Any) -> None:
        self.draw = draw
        self.all = list(root.iter())
        self.uri = draw(st.sampled_from([f"{{{etree.QName(root).namespace}}}"] * 5 + ["", "{urn:other}"]))
        self.one = draw(st.sampled_from(self.all))
        self.inner: Any = draw(st.sampled_from(self.all[1:])) if len(self.all) > 1 else None

    def text(self) -> None:
        self.one.text = self.draw(lexical)

    def space(self) -> None:
        self.one.text = (self.one.text or "") + self.draw(st.sampled_from([" ", "\n", "\t "]))

    def key(self) -> None:
        keys = [one.get("key") for one in self.all if one.get("key") is not None]
        name, value = (
            self.draw(st.sampled_from(["key", "key", "other"])),
            self.draw(st.sampled_from([*keys, "a", "_x0001_"])),
        )
        self.one.set(name, value)

    def no_key(self) -> None:
        self.one.attrib.clear()

    def insert(self) -> None:
        name = self.draw(st.sampled_from(["item", "entry", "name", "a", "item.none", "P0", "P1"]))
        etree.SubElement(self.one, self.uri + name)

    def tail(self) -> None:
        self.inner.tail = self.draw(st.sampled_from([" ", "\n  ", "x"]))

    def delete(self) -> None:
        self.inner.getparent().remove(self.inner)

    def double(self) -> None:
        parent = self.inner.getparent()
        parent.insert(parent.index(self.inner), etree.fromstring(etree.tostring(self.inner, with_tail=False)))

    def swap(self) -> None:
        self.inner.getparent().append(self.inner)

    def rename(self) -> None:
        names = [etree.QName(one).localname for one in self.all]
        self.inner.tag = self.uri + self.draw(st.sampled_from([*names, "item", "entry", "name", "stranger"]))

    def none(self) -> None:
        name = str(etree.QName(self.inner).localname)
        self.inner.tag = self.uri + (name.removesuffix(".none") if name.endswith(".none") else f"{name}.none")

    def emptied(self) -> None:
        self.none()
        self.inner[:] = []
        self.inner.text = None


ANYWHERE = (Blows.text, Blows.text, Blows.space, Blows.key, Blows.no_key, Blows.insert)
INSIDE = (Blows.tail, Blows.delete, Blows.double, Blows.swap, Blows.rename, Blows.none, Blows.emptied)


@st.composite
def damaged(draw: st.DrawFn, document: bytes) -> bytes:
    """The document after one to three blows."""
    root: Any = etree.fromstring(document)
    for _ in range(draw(st.integers(1, 3))):
        blows = Blows(draw, root)
        draw(st.sampled_from(ANYWHERE if blows.inner is None else ANYWHERE + INSIDE))(blows)
    return etree.tostring(root)


@few
@given(st.data())
def test_a_damaged_document_is_valid_exactly_where_it_is_decoded(data: st.DataObject) -> None:
    value = data.draw(payload_values())
    cls = type(value)
    document = data.draw(damaged(encode_xml(value)))
    schema = etree.XMLSchema(etree.fromstring(xsd(cls)))
    root: Any = etree.fromstring(document)
    vocabulary = Vocabulary([cls])
    if schema.validate(root):
        assert not list(faults_of(root, cls))
        read = vocabulary.decode_xml(document)
        assert schema.validate(etree.fromstring(encode_xml(read)))
        assert vocabulary.decode_xml(encode_xml(read)) == read
    else:
        assert list(faults_of(root, cls)), schema.error_log
        with pytest.raises(InvalidPayloadError) as caught:
            vocabulary.decode_xml(document)
        assert cls.__name__ in str(caught.value)


JSON_VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        5.0,
        5.5,
        1e300,
        10**30,
        "",
        "5",
        "low",
        " low ",
        "true",
        "1E+9999",
        "1E+10000",
        "AAAA",
        "AB==",
    ),
    *(
        "2024-02-29T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "2024-01-01T00:00:00",
        [],
        ["a"],
        [1],
        [None],
        {},
        {"a": 1},
        {"P1": {}},
    ),
)
formats = FormatChecker(formats=())


@formats.checks("date-time")  # type: ignore[untyped-decorator]
def is_in_the_calendar(text: object) -> bool:
    try:
        return not isinstance(text, str) or datetime.fromisoformat(text) is not None
    except ValueError:
        return False


@st.composite
def damaged_json(draw: st.DrawFn, document: Any) -> Any:
    """The JSON value after one blow somewhere in it."""
    inside = (
        [*document.items()]
        if isinstance(document, dict)
        else [*enumerate(document)]
        if isinstance(document, list)
        else []
    )
    blow = draw(
        st.sampled_from(["replace", "delete", "add", "deeper", "deeper", "deeper"] if inside else ["replace", "add"])
    )
    if blow == "replace":
        return draw(st.sampled_from(JSON_VALUES) | st.floats(allow_nan=False, allow_infinity=False) | texts)
    if blow == "add":
        if isinstance(document, dict):
            return {
                **document,
                draw(st.sampled_from(["name", "item", "a", "stranger"])): draw(st.sampled_from(JSON_VALUES)),
            }
        return [*document, draw(st.sampled_from(JSON_VALUES))] if isinstance(document, list) else [document]
    key, value = draw(st.sampled_from(inside))
    changed = type(document)(document)
    if blow == "delete":
        del changed[key]
    else:
        changed[key] = draw(damaged_json(value))
    return changed


@few
@given(st.data())
def test_a_damaged_json_object_is_valid_exactly_where_it_is_decoded(data: st.DataObject) -> None:
    value = data.draw(payload_values())
    cls = type(value)
    schema = json_schema(cls)
    Draft202012Validator.check_schema(schema)
    judge = Draft202012Validator(schema, format_checker=formats)
    fields = json.loads(json.dumps(encode_fields(value)))
    judge.validate(fields)
    document = data.draw(damaged_json(fields))
    if judge.is_valid(document):
        read = decode_fields(cls, document)
        assert decode_fields(cls, encode_fields(read)) == read
    else:
        with pytest.raises(InvalidPayloadError) as caught:
            decode_fields(cls, document)
        assert caught.value.where.startswith(cls.__name__)


@payload
class Letter:
    to: str
    pages: list[int]
    notes: dict[str, str | None]
    copy: Letter | None = None


LETTER = encode_xml(Letter("Ada & <Bob>", [1, 2], {"a b": "x\r", "c": None}, Letter("", [], {})))
SPLINTERS = (
    *(
        b"<",
        b">",
        b"</",
        b"/>",
        b"&",
        b"&amp;",
        b"&#65;",
        b"&#1;",
        b"&lt",
        b"]]>",
        b"<![CDATA[",
        b"<!--",
        b"-->",
        b"<?pi ?>",
    ),
    *(
        b"<?xml version='1.0'?>",
        b" ",
        b"\n",
        b'"',
        b"'",
        b"=",
        b"\x00",
        b"\x0b",
        b"\xff",
        b"\xc3\xa4",
        b"\xef\xbb\xbf",
        b"x",
    ),
    *(
        b"<item>1</item>",
        b"<item/>",
        b"<to>",
        b"</to>",
        b"<entry key='z'/>",
        b" key='a'",
        b" xmlns=''",
        b" xmlns:p='q'",
        b"p:",
    ),
)


@given(st.data())
def test_garbled_bytes_are_decoded_exactly_where_they_are_valid(data: st.DataObject) -> None:
    document = LETTER
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(document)))
        end = data.draw(st.integers(begin, min(len(document), begin + 6)) | st.just(begin))
        document = document[:begin] + data.draw(st.sampled_from(SPLINTERS) | st.just(b"")) + document[end:]
    try:
        root = etree.fromstring(document, etree.XMLParser(remove_comments=True, remove_pis=True, encoding="utf-8"))
        valid = etree.XMLSchema(etree.fromstring(xsd(Letter))).validate(root)
    except etree.XMLSyntaxError:
        valid = False
    if valid:
        assert isinstance(letters.decode_xml(document), Letter)
    else:
        with pytest.raises(InvalidPayloadError):
            letters.decode_xml(document)


letters = Vocabulary([Letter])
