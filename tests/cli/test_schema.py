"""``organism schema``: what it prints judges documents as the organism does."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
import yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from lxml import etree

from organism.payloads import encode_json, encode_xml
from organism.primitives import BudgetEstimate

if TYPE_CHECKING:
    from tests.cli.conftest import Desk

FILE = """\
organism: test
handlers:
  writer:
    agent: {accepts: words:Question, replies: words:Answer}
    description: Writes.
"""
WORDS = """\
from organism import payload


@payload
class Note:
    text: str
    weight: int = 1


@payload
class Question:
    '''Something to be answered.'''

    text: str
    notes: list[Note] = []


@payload
class Answer:
    notes: list[Note]
"""
GOOD = (
    '<Question xmlns="urn:organism:payloads"><text>x</text></Question>',
    '<Answer xmlns="urn:organism:payloads"><notes><item><text>x</text><weight>3</weight></item></notes></Answer>',
)
BAD = (
    "<Question><text>x</text></Question>",
    '<Question xmlns="urn:organism:payloads"><text>x</text><text>y</text></Question>',
    '<Answer xmlns="urn:organism:payloads"><notes><item><text>x</text><weight>much</weight></item></notes></Answer>',
    '<Other xmlns="urn:organism:payloads"/>',
)


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.write("organism.yaml", FILE)
    desk.write("words.py", WORDS)
    return desk


def test_one_xsd_judges_documents_of_every_payload(desk: Desk) -> None:
    ran = desk.organism("schema", "--xsd")
    judge = etree.XMLSchema(etree.fromstring(ran.out))
    assert [judge.validate(etree.fromstring(each)) for each in (*GOOD, *BAD)] == [True] * 2 + [False] * 4
    assert "Something to be answered." in ran.out


def test_one_json_schema_judges_documents_of_every_payload(desk: Desk) -> None:
    schema = json.loads(desk.organism("schema", "--json").out)
    Draft202012Validator.check_schema(schema)
    judge = Draft202012Validator(schema)
    assert judge.is_valid({"Question": {"text": "x", "notes": [{"text": "y"}]}})
    assert judge.is_valid({"Answer": {"notes": []}})
    assert not judge.is_valid({"Answer": {"notes": [{"weight": 1}]}})
    assert not judge.is_valid({"Other": {}})
    assert not judge.is_valid({"Note": {"text": "it stands inside of others only"}})


def test_the_organisms_own_payloads_have_schemas_too(desk: Desk) -> None:
    estimate = BudgetEstimate(unit="tokens", low=Decimal(1), high=Decimal(2))
    judge = etree.XMLSchema(etree.fromstring(desk.organism("schema", "--xsd", "--primitives").out))
    assert judge.validate(etree.fromstring(encode_xml(estimate)))
    schema = json.loads(desk.organism("schema", "--json", "--primitives").out)
    assert Draft202012Validator(schema).is_valid(encode_json(estimate))


def test_the_schema_of_the_file_needs_none(desk: Desk) -> None:
    (desk.folder / "organism.yaml").unlink()
    ran = desk.organism("schema", "--config")
    assert (ran.code, ran.err) == (0, "")
    schema = json.loads(ran.out)
    Draft202012Validator.check_schema(schema)
    judge = Draft202012Validator(schema)
    assert judge.is_valid(yaml.safe_load(FILE))
    assert not judge.is_valid({"organism": "test", "handlers": {"writer": {"agnet": {}}}})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "name one: --xsd, --json, --events or --config"),
        (("--config", "--primitives"), "organism schema: --primitives goes with --xsd or --json"),
        (("--events", "--primitives"), "organism schema: --primitives goes with --xsd or --json"),
        (("--xsd", "--events"), "--xsd and --events cannot go together: name one"),
        (("none.yaml", "--xsd"), "none.yaml"),
    ],
)
def test_what_is_missing_is_said(desk: Desk, options: tuple[str, ...], says: str) -> None:
    ran = desk.organism("schema", *options)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err
