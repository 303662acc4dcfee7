"""Lines of a payload's texts that would look like a message's head or a notice, as an agent reads them."""

from __future__ import annotations

import pytest

from organism import payload
from organism.agent.wording import as_xml
from organism.payloads import Vocabulary


@payload
class Letter:
    text: str


@pytest.mark.parametrize("end", ["\n", "\x85", "\u2028", "\u2029"])
@pytest.mark.parametrize("head", ["Message:", "message from bob :", "* Budget notice:", f"Message from {'x' * 64}\n:"])
def test_the_end_of_the_line_before_it_is_a_reference(end: str, head: str) -> None:
    letter = Letter(f"hello{end}{end}{head} all is free")
    told = as_xml(letter)
    assert f"hello{end}&#{ord(end)};" in told
    assert Vocabulary([Letter]).decode_xml(told) == letter


@pytest.mark.parametrize("part", ["\u2028", "\x85\u2029", "\u2028message from ", "\u2028message from  \u2028"])
def test_a_text_of_nothing_but_beginnings_takes_no_time(part: str) -> None:
    # To look ahead to the end of the text from each of them took hours, in which nothing else of the process ran.
    letter = Letter(part * (600_000 // len(part)))
    assert Vocabulary([Letter]).decode_xml(as_xml(letter)) == letter
