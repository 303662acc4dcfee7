"""Text that somebody made to do harm, given to ``run --send``: each ends in a line that says why, and costs little."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Desk

XML_BOMB: Final = "<!DOCTYPE Job [<!ENTITY a 'ha'>" + "".join(
    f"<!ENTITY {name} '{f'&{before};' * 10}'>" for before, name in zip("abcdefghi", "bcdefghij", strict=True)
)
INCLUDE: Final = "<xi:include xmlns:xi='http://www.w3.org/2001/XInclude' href='/etc/passwd' parse='text'/>"

SENT: Final = [
    (f"{XML_BOMB}]><Job><text>&j;</text></Job>", "has a document type (<!DOCTYPE); leave it out, entities are not read"),
    ("<!DOCTYPE Job [<!ENTITY a '" + "x" * 50_000 + "'>]><Job><text>" + "&a;" * 9_000 + "</text></Job>", "has a document type"),
    ("<!DOCTYPE Job [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><Job><text>&a;</text></Job>", "has a document type"),
    ("<!DOCTYPE Job SYSTEM 'http://example.org/x.dtd'><Job><text>x</text></Job>", "has a document type"),
    ("<Job><text>&a;</text></Job>", "is not well-formed XML: undefined entity"),
    (f"<Job><text>{INCLUDE}</text></Job>", "Job.text: holds text only; it has the element <include>"),
    ("<Job>" * 50_000, "is not well-formed XML: Excessive depth in document"),
    ("<!-- --><Job>" + "<text>" * 50_000, "has elements nested more than 100 deep"),
    ("<Job><text>" + "x" * 1_100_000 + "</text></Job>", "has a text of more than 1048576 characters in <text>"),
    ("<Job><text>" + "x" * 2_200_000 + "</text></Job>", "is longer than 2097152 bytes"),
    ("<Job " + " ".join(f"a{n}='b'" for n in range(100_000)) + "><text>x</text></Job>", "Job: more than 20 problems: Job: has the attribute"),
    ("<Job " + " ".join(f"xmlns:a{n}='b'" for n in range(9_000)) + "><a1:text>x</a1:text></Job>", "Job.text: is in the namespace 'b'"),
    ("<Job><text>\x00</text></Job>", "is not well-formed XML"),
    ("<Job><text>&#0;</text></Job>", "is not well-formed XML"),
    ("<j:Job xmlns:j='urn:other'><j:text>x</j:text></j:Job>", "Job: is in the namespace 'urn:other'; write xmlns='urn:organism:payloads'"),
    ("<j:Job xmlns:j='urn:organism:payloads'><text>x</text></j:Job>", "Job.text: is in no namespace, not in the namespace"),
    ("<Job><text>x</text><times>1<!-- 5 -->x</times></Job>", "Job.times: expected a whole number (at most 4300 digits), got '1x'"),
    ("<Job><text>x</text>", "is not well-formed XML: Premature end of data in tag Job"),
    ("<Job><text>x</text></Job><Job><text>y</text></Job>", "is not well-formed XML: Extra content at the end of the document"),
    ('{"Job": {"text": "x", "text": "y"}}', "is not JSON: an object has the name 'text' twice"),
    ('{"Job": {"text": "x", "times": NaN}}', "is not JSON: NaN is not a JSON number"),
    ('{"Job": {"text": "x", "times": 1e999999999}}', "Job.times: expected int, got Decimal Decimal('1E+999999999')"),
    ('{"Job": {"text": "x", "times": 1e99999999999999999999}}', "is not JSON: '1e99999999999999999999' has an exponent that is too large"),
    ('{"Job": {"text": "x", "times": ' + "9" * 5_000 + "}}", "has a number of more than 4300 digits"),
    ('{"Job": ' * 100_000, "is nested too deep to be read"),
    ('{"Job": {"text": "\\ud800"}}', "Job.text: "),
    ('{"Job": {"text": "' + "x" * 2_200_000 + '"}}', "is longer than 2097152 bytes"),
    ('{"Job": {"text": "x"}}{"Job": {"text": "y"}}', "is not JSON: Extra data"),
    ('{"Job": {"text": "x"', "is not JSON: Expecting"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "problem"), SENT, ids=[f"{text[:20]}-{n}" for n, (text, _) in enumerate(SENT)])
def test_what_is_sent_is_refused_in_a_line_that_says_why(desk: Desk, text: str, problem: str) -> None:
    desk.write("hostile", text.encode())
    ran = desk.organism("run", "--to", "shouter", "--send", "@hostile")
    first = ran.err.removeprefix("imported\n").splitlines()[0]
    assert (ran.code, ran.out) == (2, "")
    assert first.startswith(f"--send: {problem}"), first[:300]
    assert len(ran.err) < 6_000


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("<Job><text>a<!-- x -->b</text></Job>", "AB"),
        ("<Job><text>a<?pi x?>b</text></Job>", "AB"),
        ("<Job><text>a<![CDATA[b]]>c</text></Job>", "ABC"),
        ("<Job><text>a</text><times>1<!-- 0 -->0</times></Job>", "A" * 10),
        ("<Job><text>a</text><times><!-- 5 -->2<?pi 7?></times></Job>", "AA"),
    ],
)
def test_what_a_comment_parts_is_one_value_of_which_nothing_is_lost(desk: Desk, text: str, meant: str) -> None:
    ran = desk.organism("run", "--json", "--to", "shouter", "--send", text)
    (reply,) = ran.object["replies"]
    assert reply["payload"]["Done"]["text"] == meant


def test_an_escape_that_is_no_character_is_told_by_every_command(desk: Desk) -> None:
    desk.write("organism.yaml", 'organism: demo\njournal: "\\UFFFFFFFF"\n')
    for command in ("check", "run", "threads", "usage"):
        ran = desk.organism(command)
        assert ran.code == 2
        assert (ran.out + ran.err).startswith("organism.yaml")
        assert "unexpected" not in ran.err


LONG: Final = [
    "handlers: {a: {code: 'work:shout', peers: [" + ",".join(f"h{n}" for n in range(6_000)) + "]}}\n",
    "handlers: {" + ",".join(f"h{n}: {{code: 'gone:x'}}" for n in range(700)) + "}\n",
    "budget: {" + "a," * 10_000,
    "budget: [" + "[]," * 10_000,
    "journal: '" + "a\n\n" * 20_000 + "'\n",
    "a: &a {" + ", ".join(f"k{n}: 1" for n in range(2_000)) + "}\nb: {<<: [" + ",".join(["*a"] * 2_000) + "]}\n",
]


@pytest.mark.parametrize("text", LONG, ids=range(len(LONG)))
def test_a_file_with_thousands_of_mistakes_is_read_in_seconds(desk: Desk, text: str) -> None:
    desk.write("organism.yaml", f"organism: demo\n{text}")
    begin = time.process_time()
    ran = desk.organism("check")
    assert ran.code == 2
    lines = (ran.out + ran.err).splitlines()
    assert lines
    assert all(len(line) < 1_000 for line in lines)
    assert time.process_time() - begin < 5  # the first one took six seconds and more where time grew with the square
