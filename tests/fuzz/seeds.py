"""Where fuzzing begins: for each target some bytes that it reads, and words that mean something to it."""

from __future__ import annotations

import json
from decimal import Decimal
from functools import cache
from typing import Any, Final, assert_never

from organism.journal import forms
from organism.journal.chain import Head, seal
from organism.journal.codec import FACTS, FORMAT
from organism.payloads import encode_json, encode_xml
from tests.config.test_config_laws import FILE
from tests.fuzz.targets import ROOT, TARGETS, Leaf, Tree
from tests.journal.fact_values import Greeting

TREE: Final = Tree(
    "a & <b>",
    [Leaf("x\r", 7, Decimal("1.50"), 0.5, b"\0\1", {"k": None, "l": "_x0000_"}), Leaf("")],
    Tree("", [], Leaf("]]>", -1)),
)

_CALL: Final = {
    "key": "0" * 32, "max_output_tokens": 9, "request": {"model": "m", "messages": [{"role": "user", "content": "hi"}]}, "asked": 1,
    "at": "2026-01-01T00:00:00+00:00", "provider": "openai", "price": {"input": "1", "output": "2"},
}  # fmt: skip
_USAGE: Final = {"input_tokens": 5, "output_tokens": 2}
_ANSWER: Final = {
    "text": "hello", "finish_reason": "stop", "usage": _USAGE, "tool_calls": [{"id": "1", "name": "t", "arguments": "{}"}],
}  # fmt: skip
_ERROR: Final = {"kind": "rate_limited", "text": "later", "retry_after": 1.5, "usage": _USAGE}
_REQUEST: Final = {
    "model": "m", "max_tokens": 9, "system": "be brief", "stream": True,
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "assistant", "content": "x", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "t", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "done"},
    ],
    "tools": [{"type": "function", "function": {"name": "t", "parameters": {"type": "object"}}}],
}  # fmt: skip


@cache
def facts() -> tuple[dict[str, Any], ...]:
    """The JSON object of a fact of every kind, with something in every field."""
    return tuple({"format": FORMAT, "root": ROOT, "fact": cls.__name__, **_fields(cls, 0)} for cls in FACTS)


def _fields(cls: type, depth: int) -> dict[str, Any]:
    return {slot.name: _value(slot.form, depth + 1) for slot in forms.slots(cls)}


def _value(form: forms.Form, depth: int) -> Any:  # noqa: PLR0911 - a case for each form
    match form:
        case forms.Plain(cls=cls):
            return {str: ROOT, int: 1, bool: True}[cls]
        case forms.Amount(numbers=numbers):
            return 1.5 if numbers else "0.25"
        case forms.Word(words=words):
            return words[0]
        case forms.Maybe(inner=inner):
            return None if depth > 6 else _value(inner, depth)
        case forms.Many(item=item):
            return [] if depth > 6 else _every(item, depth)
        case forms.Row(places=places):
            return [_value(place, depth) for place in places]
        case forms.Table(item=item):
            return {"a": _value(item, depth)}
        case forms.PayloadForm() | forms.AnswerForm():
            return {**encode_json(Greeting("Ada")), "$xml": encode_xml(Greeting("Ada")).decode()}
        case forms.OpenForm():
            return {"$tuple": [{"$decimal": "1.5"}, {"$float": "inf"}]}
        case forms.Object(cls=cls):
            return _fields(cls, depth)
        case forms.Tagged(tag=tag, classes=classes):
            return {tag: classes[0].__name__, **_fields(classes[0], depth)}
        case _:
            assert_never(form)  # type: ignore[arg-type]


def _every(item: forms.Form, depth: int) -> list[Any]:
    """One item; of several classes one each."""
    if isinstance(item, forms.Tagged) and depth < 3:
        return [{item.tag: cls.__name__, **_fields(cls, depth + 1)} for cls in item.classes]
    return [_value(item, depth + 1)]


def json_of(value: object) -> bytes:
    """A value as the journals write it."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def _sealed() -> bytes:
    head, lines = Head(), b""
    for fact in facts():
        line, head = seal(json_of(fact), head)
        lines += line + b"\n"
    return lines


@cache
def seeds(target: str) -> tuple[bytes, ...]:
    """What a target begins with."""
    known = [json_of(fact) for fact in facts()]
    xml = encode_xml(TREE)
    found: dict[str, tuple[bytes, ...]] = {
        "xml_document": (xml, b"<?xml version='1.0'?><!-- x --><t:Tree xmlns:t='urn:organism:payloads'/>"),
        "json_document": (json_of(encode_json(TREE)),),
        "free_text": (
            b"So:\n```xml\n" + xml + b"\n```\n",
            b"<think>no</think>`<Leaf to='a'>` <Leaf to=a><text>a &nbsp; b < c<![CDATA[<d>]]></Leaf>",
        ),
        "configuration": (FILE.replace("law_desk", "tests.config.test_config_laws").encode(),),
        "journal_entry": tuple(known),
        "journal_lines": (_sealed(),),
        "sealed_lines": (b"\n".join(known), *known),
        "sqlite_chain": (b"\n".join(known), *known),
        "sqlite_body": (b'{"$xml":"<a>\x0e' + b"long text " * 9 + b'</a>","a":"\x0e","root":\x01"}', *known),
        "recording": (
            b"".join(json_of({**_CALL, **came}) + b"\n" for came in ({"answer": _ANSWER}, {"error": _ERROR})),
            json_of({**_CALL, "pieces": ["a", {"text": "b", "usage": _USAGE}], "left": True}) + b"\n",
        ),
        "order": (
            b'{"do":"add-budget","thread":"r","units":{"tokens":5,"cost_usd":"0.5"}}',
            b'{"do":"answer","thread":"r","question":"1","text":"yes"}',
        ),
        "request": (json_of(_REQUEST),),
    }  # fmt: skip
    return found[target]


WORDS: Final = (
    b"<", b">", b"</", b"/>", b"&", b"&amp;", b"&#0;", b"&#x41;", b"]]>", b"<![CDATA[", b"<!--", b"-->", b"<?pi ?>", b"<!DOCTYPE a [",
    b"<!ENTITY a 'b'>", b" xmlns='x'", b" xmlns:p='y'", b"p:", b"<text>", b"</text>", b"<either>", b"<leaves>", b"<Leaf>", b"<Tree>",
    b"<entry key='a'>", b"_x0000_", b"`", b"```\n", b"<think>", b"Message from a:\n", b"<BudgetGranted>", b" to='a'",
    b"{", b"}", b"[", b"]", b'"', b":", b",", b"null", b"true", b"NaN", b"1e999999999", b"1e99999999999999999999", b"-1", b"1.5", b"{}", b"[]",
    b'"\\ud800"', b'"\\u0000"', b'{"$float":"nan"}', b'{"$decimal":"sNaN"}', b'{"$tuple":[]}', b'{"$failure":{}}', b'{"$object":{}}',
    b'"$xml"', b'"fact"', b'"steps"', b'"step"', b'"at"', b'"format":2', b'"lost":1', b'"root":"r"', b"\x0e", b"\x0f", b"\x01", b"\x02",
    b"\x00", b"\n", b"\r\n", b"\t", b" ", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"- ", b"? ", b": ", b"|\n", b"---\n",
    b"&a ", b"*a", b"<<: ", b"!x ", b"%YAML 1.1\n", b"'", b"08", b".nan", b"no", b"9" * 5000, b"[" * 300, b"x" * 200,
)  # fmt: skip
"""What is put in, and what atheris has for a dictionary."""

assert all(seeds(target) for target in TARGETS)
