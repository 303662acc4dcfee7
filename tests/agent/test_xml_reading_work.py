"""What reading a model's text costs, in steps: no text makes it look at anything again and again, while all other threads wait."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest

from organism import InvalidPayloadError, payload
from organism.agent.xml_reading import NotRepairedError, found_in, repaired
from organism.payloads import Vocabulary
from organism.testing import Says, ScriptedModel, running
from tests.agent import test_xml_speech as desk

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


@payload
class Note:
    text: str


WORDS: Final = Vocabulary([Note])
MANY: Final = 10_000
SCRAPS: Final = (
    "<", "</", "<a", "< ", "<a b=", "<?", "&", "&a;", "`", "`a`", "\n", " ", "\nMessage from ", "]]>", "<!--", "<![CDATA[",
    "<a>", "</a>", "<!---->", "<think>", "<think></think>", "<Note>", "</Note>", "<Note/>", "<Note to='a'/>", "`<Note>`", "```\n<Note>\n",
    "<Note><text>", "\nMessage from a:\n", "<a:b c='d'>",
)  # fmt: skip
"""Texts that are made of nothing but one of these."""
NO_TAGS: Final = SCRAPS[:14]
AROUND: Final = (
    "{}",
    "<Note to='a'><text>{}",
    "<Note><text>{}</text></Note>",
    "<Note {}>",
    "<Note a='{}'/>",
    "<N{}>",
    "`{}`",
    "<think>{}",
)


def steps(act: Callable[[], object]) -> int:
    """How many functions are called, of Python and of C."""
    count = 0

    def called(frame: FrameType, event: str, arg: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        act()
    finally:
        sys.setprofile(before)
    return count


def read(text: str) -> None:
    for found in found_in(text, lambda name: name == "Note"):
        try:
            WORDS.decode_xml(repaired(found))
        except (NotRepairedError, InvalidPayloadError):
            continue


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("scrap", SCRAPS)
def test_twice_the_text_takes_at_most_twice_the_steps(scrap: str, around: str) -> None:
    once, twice = (steps(partial(read, around.format(scrap * n))) for n in (200, 400))
    assert twice <= 2 * once + 50


@pytest.mark.parametrize("around", ["{}", "<Note to='a'><text>{}", "<Note><text>{}</text></Note>", "`{}`"])
@pytest.mark.parametrize("scrap", NO_TAGS)
def test_steps_are_taken_for_tags_alone(scrap: str, around: str) -> None:
    read(around.format(scrap))  # what is made once is made
    few, many = (steps(partial(read, around.format(scrap * n))) for n in (10, MANY))
    references = MANY if scrap in {"&", "&a;"} and "Note" in around else 0  # each is written anew
    assert many <= few + 10 * references + 100


def test_a_reference_of_some_thousand_digits_is_no_character() -> None:
    digits = "1" * 5_000
    (found,) = found_in(f'<Note to="&#{digits};"><text>x</text></Note>', lambda _: False)
    assert found.to == f"&#{digits};"


async def test_of_an_answer_that_is_all_mistakes_some_are_told() -> None:
    told = await _told(desk.SEARCH + "".join(f'<X{number} to="nobody"/>' for number in range(MANY)))
    assert told.count("Message from organism:") == 100
    assert "so much is wrong that nothing after &lt;X99&gt; was read" in told


async def test_of_many_names_that_could_be_misspelled_some_are_looked_at() -> None:
    # After the guesses a name that is nearly right is taken for markup; one that is right is not.
    strangers = "".join(f"<Z{number}qq/>" for number in range(200))
    told = await _told(f"<Anwser/>{strangers}<Anssser/>")
    assert (told.count("there is no &lt;Anwser&gt;"), told.count("Anssser")) == (1, 0)
    told = await _told(f"{strangers}<Answer><nothing/></Answer>")
    assert "Answer.nothing" in told or "Answer: " in told


async def _told(wrong: str) -> str:
    """What a model is told that says this, and then replies."""
    model = ScriptedModel([Says(text=wrong), Says(text=desk.ANSWER)])
    async with running(handlers=desk.desk(), models=model.models()) as organism:
        await organism.ask("desk", desk.Question("What is a pump?"))
    return "\n\n".join(str(each["content"]) for each in model.requests[1].messages[2:] if each["role"] == "user")
