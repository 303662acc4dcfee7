"""Laws that hold for every payload class, and every value of it."""

from __future__ import annotations

import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from strategies import payload_classes, payload_values, texts

from organism.errors import InvalidPayloadError
from organism.payloads import Vocabulary, decode_fields, describe, encode_fields, encode_json, encode_xml, xsd
from organism.payloads.escapes import hidden, shown


@given(payload_values())
def test_xml_and_back_is_the_same(value):
    vocabulary = Vocabulary([type(value)])
    document = encode_xml(value)
    assert vocabulary.decode_xml(document) == value
    assert encode_xml(vocabulary.decode_xml(document)) == document
    assert vocabulary.decode_xml(document.decode()) == value
