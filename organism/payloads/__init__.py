"""Payloads: typed, frozen values that can be sent, and everything that is derived from their classes.

One value has three views: the object, XML (the wire) and JSON. lxml is loaded by the first document in XML that is read, and not before.

Reading order:

* ``types`` - what a field may be; ``aliases``, ``annotations``, ``fields``: from a class to those
* ``normal``, ``frozendict``, ``construction`` - the normal form of values, and the check that a constructor makes; ``soundness``: the same for a
  value that may have gone around it
* ``definition``, ``declaration`` - what a class carries with it; ``@payload``; ``expected``: what a caller expects of a reply
* ``plain``, ``primitives`` - plain text, and what the organism itself says
* ``lexical``, ``escapes`` - how values are written as text
* ``xsd``, ``xml_writer``, ``xml_tree``, ``xml_reader``, ``xml_faults``, ``xml_decoder`` - XML, both ways
* ``json_schema``, ``json_writer``, ``json_reader`` - JSON, both ways
* ``faults``, ``limits``, ``prose`` - what is wrong with a document, how large one may be, and classes in a few lines
* ``vocabulary`` - the classes of one organism, and the only way in for documents
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
