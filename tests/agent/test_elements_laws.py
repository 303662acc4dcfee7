"""The example that a model reads where it writes XML: an element of every field, whatever the class."""

from __future__ import annotations

import re
from typing import Annotated, Any

from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from organism import payload
from organism.agent.elements import Element
from organism.payloads import describe
from tests.payloads.payload_classes import payload_values

few = settings(max_examples=25)
"""Each example declares classes."""


def example(cls: type, peer: str | None = None) -> str:
    return Element(cls, peer).shown().partition("\n")[2]


@few
@given(payload_values(), st.sampled_from([None, "peer", 'a "b" <c>']))
def test_it_is_an_element_with_one_inside_of_it_for_each_field(value: Any, peer: str | None) -> None:
    cls = type(value)
    root = etree.fromstring(example(cls, peer).encode())
    assert (root.tag, root.get("to")) == (cls.__name__, peer)
    names = [str(child.tag) for child in root.iterchildren(tag=etree.Element)]
    assert names == [field.name for field in describe(cls).fields]


@payload
class Branch:
    """A part of a tree."""

    name: str
    parts: list[Branch] = []  # noqa: RUF012 - it becomes a tuple
    by_name: dict[str, Branch] = {}  # noqa: RUF012 - and so it is with dicts
    above: Branch | None = None


@payload
class Leaf:
    pass


@payload
class Told:
    of: Branch | Leaf
    note: Annotated[str, "Two hyphens -- or three --- or more ----- end a comment."] = "-"
    scores: dict[str, float | None] = {}  # noqa: RUF012 - and so it is with dicts


def test_a_class_that_holds_itself_is_shown_once() -> None:
    shown = example(Branch)
    assert shown.count("<!-- as in Branch -->") == 3
    root = etree.fromstring(shown)
    assert [child.tag for child in root.iterchildren(tag=etree.Element)] == ["name", "parts", "by_name", "above"]


def test_a_class_without_fields_is_an_empty_element() -> None:
    assert example(Leaf, "peer") == '<Leaf to="peer"/>'


def test_what_a_comment_may_not_hold_is_parted() -> None:
    shown = example(Told)
    etree.fromstring(shown)
    comments = re.findall(r"<!--(.*?)-->", shown, re.DOTALL)
    assert comments
    assert not any("--" in comment or comment.endswith("-") for comment in comments)
    assert "Two hyphens - - or three - - - or more - - - - - end a comment." in shown
    assert "<!-- or -->" in shown
    assert 'or <entry.none key="text"/>' in shown


@payload
class Bell:
    sign: str = "a\x1b[0mb"


def test_what_no_xml_can_hold_is_written_as_in_texts() -> None:
    shown = example(Bell)
    etree.fromstring(shown)
    assert "a_x001B_[0mb" in shown
