"""Escapes in XML: what is written, against the rule as its words have it; and that long texts take no step for each character."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from organism.payloads.escapes import attribute_text, element_text, hidden, revealed

if TYPE_CHECKING:
    from collections.abc import Callable

PARTS = (
    *("_", "x", "F", "0", "_x", "x005F", "x005F_", "_x005F_", "x0000", "_x0000_", "_x001F_", "xFFFE_", "_xFFFF"),
    *("x0041_", "x000A_", "_x000d_", "\0", "\x1b", "\x1f", "\ufffe", "\uffff", "\ufffd", "\t", "\n", "\r"),
    *("a", "é", "€", "😀", "&", "<", ">", '"'),
)
texts = st.lists(st.sampled_from(PARTS) | st.text(max_size=3), max_size=12).map("".join)

UNHOLDABLE = "\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff"
CODE = "x(?:00(?:0[0-8BCEF]|1[0-9A-F])|FFF[EF])"


def plainly_hidden(text: str) -> str:
    """One by one."""

    def hide(match: re.Match[str]) -> str:
        before, look_alike, unholdable = match.groups()
        if unholdable:
            return f"{before}{before}_x{ord(unholdable):04X}_"
        return f"{before}{before}_x005F{look_alike}" if look_alike else match[0]

    # What matches neither is consumed by the last one, all of it: the middle of it is no beginning.
    return re.sub(f"((?:_x005F)*+)(?:(_{CODE})(?=[_{UNHOLDABLE}])|([{UNHOLDABLE}]))|(?:_x005F)++", hide, text)


def plainly_revealed(text: str) -> str:
    """One by one."""

    def show(match: re.Match[str]) -> str:
        before, code = match[1], match[2]
        if not code:
            return match[0]
        count = len(before) // len("_x005F")
        half = "_x005F" * (count // 2)
        return f"{half}_{code}_" if count % 2 else half + chr(int(code[1:], 16))

    shown, at = [], 0
    while match := re.compile(f"((?:_x005F)*+)_({CODE})_|((?:_x005F)++)").search(text, at):
        shown += [text[at : match.start()], show(match)]
        at = match.end()
        if match[2] and len(match[1]) % 12:  # the underscore behind a look-alike may begin another one
            shown[-1], at = shown[-1][:-1], at - 1
    return "".join([*shown, text[at:]])


def plainly_marked(text: str, references: dict[str, str]) -> str:
    return "".join(references.get(char, char) for char in plainly_hidden(text))


BETWEEN_TAGS = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}
IN_ATTRIBUTES = BETWEEN_TAGS | {'"': "&quot;", "\n": "&#10;", "\t": "&#9;"}


@given(texts)
@example("_x005F_x005F_x0000_x0001\0")
@example("\0x0000_x005F_x0000_")
def test_a_text_is_written_as_the_rule_says(text: str) -> None:
    assert hidden(text) == plainly_hidden(text)
    assert revealed(text) == plainly_revealed(text)


@given(texts)
@example("_x005F\0")
@example("_x005F_x005F_x0000_x005F\0_x0000_")
def test_no_two_texts_are_written_the_same_way(text: str) -> None:
    written = hidden(text)
    assert revealed(written) == text
    assert not re.search(f"[{UNHOLDABLE}]", written)


@given(texts.filter(lambda text: not re.search("[\ud800-\udfff]", text)))
def test_a_text_between_tags_and_in_an_attribute(text: str) -> None:
    assert element_text(text) == plainly_marked(text, BETWEEN_TAGS)
    assert attribute_text(text) == plainly_marked(text, IN_ATTRIBUTES)


@pytest.mark.parametrize("char", ["a", "é", "€", "😀", "\ud800", "\uffff"])
def test_a_long_text_with_few_escapes(char: str) -> None:
    # At every place of a character that has several bytes there is an end of what is looked at together.
    text = "".join(f"{'.' * shift}{char * 5000}\x1b" for shift in range(4))
    written = text.replace("\x1b", "_x001B_").replace("\uffff", "_xFFFF_")
    assert hidden(text) == written
    assert revealed(written) == text


@pytest.mark.parametrize("part", ["\0", "\x1b[31m", "\uffff", "_x0000_", "_x005F_x0000_", "_x", "<&", "\t\r", "😀\x01"])
@pytest.mark.parametrize("write", [hidden, element_text, attribute_text])
def test_a_long_text_takes_no_call_for_each_character(write: Callable[[str], str], part: str) -> None:
    text = part * 20_000
    calls = 0

    def count(_frame: object, _event: str, _arg: Any) -> None:
        nonlocal calls
        calls += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        write(text)
    finally:
        sys.setprofile(before)
    assert calls < len(text) // 20
