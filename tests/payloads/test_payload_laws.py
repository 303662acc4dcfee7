"""Laws that hold for every payload class, and for every value of it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from lxml import etree

from organism.payloads import (
    Vocabulary,
    decode_fields,
    describe,
    description,
    encode_fields,
    encode_json,
    encode_xml,
    parse_json,
    xsd,
)
from organism.payloads.escapes import attribute_text, element_text, hidden, revealed
from tests.payloads.payload_classes import payload_values, texts

few = settings(max_examples=50)
"""Each example declares classes and compiles a schema for them."""


def compiled(cls: type) -> etree.XMLSchema:
    return etree.XMLSchema(etree.fromstring(xsd(cls)))


def parsed(document: bytes) -> etree._Element:
    return etree.fromstring(document, etree.XMLParser(remove_comments=True))


@few
@given(payload_values())
def test_xml_and_back_is_the_same(value: Any) -> None:
    vocabulary = Vocabulary([type(value)])
    document = encode_xml(value)
    read = vocabulary.decode_xml(document)
    assert read == value
    assert hash(read) == hash(value)
    assert repr(read) == repr(value)
    assert encode_xml(read) == document
    assert vocabulary.decode_xml(document.decode()) == value


@few
@given(payload_values())
def test_xml_without_a_namespace_is_the_same(value: Any) -> None:
    root = parsed(encode_xml(value))
    for element in root.iter():
        element.tag = etree.QName(element).localname
    etree.cleanup_namespaces(root)
    assert Vocabulary([type(value)]).decode_xml(etree.tostring(root)) == value


@few
@given(payload_values())
def test_xml_in_another_guise_is_the_same(value: Any) -> None:
    document = encode_xml(value)
    name = type(value).__name__
    vocabulary = Vocabulary([type(value)])
    guises = [
        b"\xef\xbb\xbf" + document,
        b'<?xml version="1.0" encoding="UTF-8"?>\n<!-- <!DOCTYPE a> -->\n' + document + b"\n<?done?>",
        document.replace(b"</", b"<!-- so far --></"),
        document.replace(b"<", b"<p:").replace(b"<p:/", b"</p:").replace(b" xmlns=", b" xmlns:p=", 1),
        etree.tostring(parsed(document), encoding="utf-8"),
    ]
    assert document.startswith(f"<{name} xmlns=".encode())
    for guise in guises:
        assert vocabulary.decode_xml(guise) == value


@few
@given(payload_values())
def test_json_and_back_is_the_same(value: Any) -> None:
    document = json.loads(json.dumps(encode_json(value)))
    vocabulary = Vocabulary([type(value)])
    assert vocabulary.decode_json(document) == value
    assert repr(vocabulary.decode_json(document)) == repr(value)
    assert vocabulary.decode_json(parse_json(json.dumps(encode_json(value)))) == value
    assert decode_fields(type(value), encode_fields(value)) == value


@few
@given(payload_values())
def test_what_the_class_accepts_its_schema_accepts(value: Any) -> None:
    schema = compiled(type(value))
    assert schema.validate(parsed(encode_xml(value))), schema.error_log


@few
@given(payload_values())
def test_what_is_in_its_normal_form_stays_as_it_is(value: Any) -> None:
    cls = type(value)
    fields = describe(cls).fields
    again = cls(**{field.argument: getattr(value, field.attribute) for field in fields})
    assert again == value
    for field in fields:
        assert repr(getattr(again, field.attribute)) == repr(getattr(value, field.attribute))


@few
@given(payload_values())
def test_a_description_names_everything(value: Any) -> None:
    cls = type(value)
    told = description(cls)
    assert told.startswith(f"{cls.__name__}: A {cls.__name__}.")
    for field in describe(cls).fields:
        assert f"- {field.name} (" in told


@given(texts)
def test_a_text_has_one_written_form(text: str) -> None:
    written = hidden(text)
    assert revealed(written) == text
    document = etree.fromstring(f'<a b="{attribute_text(text)}">{element_text(text)}</a>'.encode())
    assert revealed(document.text or "") == text
    assert revealed(document.get("b") or "") == text


@given(texts)
def test_a_written_form_is_one_text(text: str) -> None:
    holdable = "".join(char for char in text if char in "\t\n" or (char >= " " and char not in "\ufffe\uffff"))
    assert hidden(revealed(holdable)) == holdable
