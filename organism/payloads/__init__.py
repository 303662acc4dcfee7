"""Payloads: typed, frozen values that can be sent, and everything that is derived from their classes.

One value has three views: the object, XML (the wire) and JSON. Read the rooms in this order: ``types`` (what a field may
be), ``annotations`` and ``fields`` (from a class to those), ``normal`` and ``construction`` (what is checked), ``declaration``
(``@payload``); ``lexical`` and ``escapes`` (how values are written), ``xsd``, ``xml_writer``, ``xml_tree``, ``xml_reader``,
``xml_faults``; the same for JSON; ``vocabulary`` (the classes of one organism, and the only way in for documents).

lxml is loaded by the first document in XML that is read, and not before.
"""

from organism.payloads.declaration import NAMESPACE, payload
from organism.payloads.definition import describe, is_payload
from organism.payloads.json_reader import decode_fields, parse_json
from organism.payloads.json_schema import json_schema, json_schema_of_all
from organism.payloads.json_writer import encode_fields, encode_json
from organism.payloads.limits import Limits
from organism.payloads.prose import description, takes_lines
from organism.payloads.soundness import flaw
from organism.payloads.types import Field, FieldType, PayloadType
from organism.payloads.vocabulary import Vocabulary, takes_text
from organism.payloads.xml_writer import encode_xml
from organism.payloads.xsd import xsd, xsd_of_all

__all__ = [
    "NAMESPACE",
    "Field",
    "FieldType",
    "Limits",
    "PayloadType",
    "Vocabulary",
    "decode_fields",
    "describe",
    "description",
    "encode_fields",
    "encode_json",
    "encode_xml",
    "flaw",
    "is_payload",
    "json_schema",
    "json_schema_of_all",
    "parse_json",
    "payload",
    "takes_lines",
    "takes_text",
    "xsd",
    "xsd_of_all",
]
