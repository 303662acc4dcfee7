"""Messages of ``start``: payloads decoded when the file is read, every mistake in them at its place."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from organism import config
from organism.errors import ConfigurationError
from organism.payloads import encode_json, payload
from organism.primitives import BudgetWarning  # noqa: TC001 - read from the annotation of a handler

if TYPE_CHECKING:
    from tests.config.conftest import Project

HEAD = """
organism: demo
handlers:
  look: {code: desk:look}
  think: {agent: {accepts: [desk:Question, desk:Answer], replies: desk:Answer}, description: Thinks.}
  warned: {agent: {accepts: organism.primitives:BudgetWarning, replies: desk:Answer}, description: Is warned.}
start:
"""

GOOD = [
    ("look", "{Question: {text: What?}}", {"text": "What?"}),
    ("look", "{Question: {text: 'no', copies: 2, price: 0.10, share: 0.5, tags: [a, '08']}}",
     {"text": "no", "copies": 2, "price": "0.10", "share": 0.5, "tags": ["a", "08"]}),
    ("look", "{Question: {text: a, price: 1e-10, share: 1, tags: []}}", {"text": "a", "price": "1E-10", "share": 1.0}),
    ("look", "What is an organism?", {"text": "What is an organism?"}),
    ("look", "<Question><text>What?</text></Question>", {"text": "What?"}),
    ("look", "|\n        <Question>\n        <text>What?</text></Question>", {"text": "What?"}),
    ("look", "'{\"Question\": {\"text\": \"5\"}}'", {"text": "5"}),
    ("think", "{Question: {text: What?}}", {"text": "What?"}),
]  # fmt: skip


@pytest.mark.parametrize(("to", "document", "fields"), GOOD)
def test_a_payload_is_decoded(project: Project, to: str, document: str, fields: dict[str, Any]) -> None:
    (message,) = project.load(f"{HEAD}  - to: {to}\n    payload: {document}\n").start
    assert message.to == to
    document_read = encode_json(message.payload)["Question"]
    assert {name: document_read[name] for name in fields} == fields
    if "price" in fields:
        assert message.payload.price == Decimal(fields["price"])


BAD = [
    ("look", "{Question: {txt: a}}", ["7:31 start[0].payload.Question.txt: is not a field; did you mean 'text'?"]),
    ("look", "{Question: {copies: many}}", [
        "7:25 start[0].payload.Question: Question.text: is missing (str)",
        "7:34 start[0].payload.Question.copies: expected int, got str 'many'",
    ]),
    ("look", "{Question: {text: no, copies: many}}", [
        "7:32 start[0].payload.Question.text: 'no' is true or false to some readers of YAML and a text to others: quote it",
        "7:44 start[0].payload.Question.copies: expected int, got str 'many'",
    ]),
    ("look", "{Question: {text: 5}}", ["7:32 start[0].payload.Question.text: expected str, got int 5"]),
    ("look", "{Question: {text: no}}", [
        "7:32 start[0].payload.Question.text: 'no' is true or false to some readers of YAML and a text to others: quote it"
    ]),
    ("look", "{Question: {text: a, tags: [b, 5]}}", ["7:45 start[0].payload.Question.tags[1]: expected str, got int 5"]),
    ("look", "{Qestion: {text: a}}", None),
    ("look", "{Answer: {text: a}}", None),
    ("look", "{Question: {text: a}, Answer: {text: b}}", None),
    ("look", "[]", None),
    ("look", "<Question><text>a</Question>", None),
    ("look", "<Answer><text>a</text></Answer>", None),
    ("think", "What?", None),
    ("think", "''", None),
    ("look", "5", ["7:14 start[0].payload: '5' is a number in YAML: quote it to make it a text"]),
    ("look", "", ["7:13 start[0].payload: is empty: quote it"]),
    ("warned", "{BudgetWarning: {}}", None),
]  # fmt: skip


@pytest.mark.parametrize(("to", "document", "mistakes"), BAD)
def test_a_payload_that_is_wrong(project: Project, to: str, document: str, mistakes: list[str] | None) -> None:
    found = project.mistakes(f"{HEAD.lstrip()}  - to: {to}\n    payload: {document}\n")
    if mistakes is None:
        (mistake,) = found
        assert mistake.startswith("organism.yaml:8:14 start[0].payload: ")
    else:
        assert found == [f"organism.yaml:{mistake.replace('7:', '8:', 1)}" for mistake in mistakes]


@payload
class Note:
    text: str


@payload
class Other:
    text: str


async def note(note: Note | BudgetWarning, ctx: object) -> None:
    """Notes it."""


def test_in_python_a_payload_is_itself() -> None:
    document: dict[str, Any] = {"organism": "demo", "handlers": {"note": note}}
    (message,) = config.build({**document, "start": [{"to": "note", "payload": Note(text="a")}]}).start
    assert message.payload == Note(text="a")
    with pytest.raises(ConfigurationError) as caught:
        config.build({**document, "start": [{"to": "note", "payload": Other(text="a")}]})
    assert caught.value.mistakes == ("Organism(start=...) start[0].payload: 'note' takes 'Note', and no 'Other'",)


def test_a_payload_from_the_layers(project: Project) -> None:
    file = f"{HEAD}  - {{to: look, payload: {{Question: {{text: a}}}}}}\n"
    (message,) = project.load(file, environ={"ORGANISM_START__0__PAYLOAD__QUESTION__TEXT": "no"}).start
    assert message.payload.text == "no"
    (message,) = project.load(file, set={"start": [], "start.0": "{to: look, payload: 'Why?'}"}).start
    assert message.payload.text == "Why?"
