"""XML as people and models write it, and as nobody should."""

from __future__ import annotations

import gc
import inspect
import re
import sys
import time
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from lxml import etree

from organism.errors import InvalidPayloadError
from organism.payloads import Limits, Vocabulary, encode_xml, payload, xsd
from organism.primitives import BudgetReport


@payload
class Greeting:
    """Someone to be greeted."""

    name: str


@payload
class Note:
    title: Annotated[str, "In one line; no <b>markup</b>."]
    pages: list[int]
    scores: dict[str, float | None]
    about: Greeting | Note | None
    level: Literal["low", "two words"] = "low"
    rank: int | None = 3
    tags: list[str | None] | None = None


vocabulary = Vocabulary([Greeting, Note])

MEMORY = Path("/proc/self/statm")


def error_of(document: str | bytes, words: Vocabulary = vocabulary, **kwargs: Any) -> str:
    with pytest.raises(InvalidPayloadError) as caught:
        words.decode_xml(document, **kwargs)
    return str(caught.value)


def test_the_wire_form() -> None:
    note = Note("A & B", [1, 2], {"x": 0.5, "y\n": None}, Greeting("Ada"), tags=["", None])
    assert encode_xml(Greeting("Ada")) == b'<Greeting xmlns="urn:organism:payloads"><name>Ada</name></Greeting>'
    assert encode_xml(note).decode() == (
        '<Note xmlns="urn:organism:payloads"><title>A &amp; B</title><pages><item>1</item><item>2</item></pages>'
        '<scores><entry key="x">0.5</entry><entry.none key="y&#10;"/></scores><about><Greeting><name>Ada</name></Greeting></about>'
        "<level>low</level><rank>3</rank><tags><item></item><item.none/></tags></Note>"
    )


def test_empty_and_absent_are_different() -> None:
    written = [
        Note("", [], {}, None, rank=None),
        Note("", [], {}, None, rank=None, tags=[]),
        Note("", [], {}, None, rank=3, tags=[""]),
        Note("", [], {}, None, rank=None, tags=[None]),
    ]
    documents = [encode_xml(note) for note in written]
    assert [vocabulary.decode_xml(document) for document in documents] == written
    assert b"<rank.none/></Note>" in documents[0]
    assert vocabulary.decode_xml("<Note><title/><pages/><scores/></Note>") == Note("", [], {}, None)


def test_it_is_read_as_people_write_it() -> None:
    document = """<?xml version="1.0" encoding="utf-8"?>
        <!-- a note -->
        <Note xmlns="urn:organism:payloads">
          <title>Two
        lines <![CDATA[& <more>]]></title>
          <pages> <item> 1 </item> <item>+2</item> </pages>
          <scores>
            <entry key='x'>1e3</entry>
            <!-- one more -->
          </scores>
          <level>
            two   words
          </level>
        </Note>
    """
    note = Note("Two\n        lines & <more>", [1, 2], {"x": 1000.0}, None, level="two words")
    assert vocabulary.decode_xml(document.strip()) == note
    assert vocabulary.decode_xml(document.strip().encode()) == note
    assert vocabulary.decode_xml(
        '<p:Greeting xmlns:p="urn:organism:payloads"><p:name>&#65;&quot;</p:name></p:Greeting>'
    ) == (Greeting('A"'))


def test_a_schema_for_readers() -> None:
    text = xsd(Note)
    assert "<xs:documentation>In one line; no &lt;b&gt;markup&lt;/b&gt;.</xs:documentation>" in text
    assert "<xs:documentation>Someone to be greeted.</xs:documentation>" in text
    assert text.count("<xs:complexType name=") == 2


def test_the_schema_refuses_a_key_that_stands_twice() -> None:
    schema = etree.XMLSchema(etree.fromstring(xsd(Note)))
    document = encode_xml(Note(title="", pages=[], scores={"a": 1.0, "b": 2.0}, about=None))
    assert [schema.validate(etree.fromstring(each)) for each in (document, document.replace(b'"b"', b'"a"'))] == [
        True,
        False,
    ]


def test_a_primitive_inside_of_a_payload_is_in_the_namespace_of_the_document() -> None:
    @payload
    class Summary:
        report: BudgetReport

    summary = Summary(BudgetReport({"tokens": Decimal(5)}))
    assert encode_xml(summary).count(b"xmlns") == 1
    assert Vocabulary([Summary]).decode_xml(encode_xml(summary)) == summary


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (
            "<Greeting><nme>Ada</nme></Greeting>",
            "Greeting.nme: is not a field; did you mean 'name'?; Greeting.name: is missing (str)",
        ),
        ("<Greeting><a>x</a></Greeting>", "Greeting.a: is not a field; there are name; "),
        ("<Greeting/>", "Greeting.name: is missing (str)"),
        ("<Greeting><name>a</name><name>b</name></Greeting>", "Greeting.name: occurs twice"),
        (
            "<Note><title/><title/><pages/><scores/><title><b/></title></Note>",
            "occurs twice; Note.title: occurs twice; Note: has its fields out of order",
        ),
        ("<Greeting>x<name>a</name></Greeting>", "Greeting: holds the text 'x', where only elements may stand"),
        ("<Greeting><name>a<b/></name></Greeting>", "Greeting.name: holds text only; it has the element <b>"),
        (
            "<Greeting lang='en'><name>a</name></Greeting>",
            "Greeting: has the attribute 'lang'; only the entries of a dict have one",
        ),
        ("<Greting/>", "'Greting' is not a payload of this organism; did you mean 'Greeting'?"),
        ("<a:Greeting xmlns:a='urn:x'/>", "Greeting: is in the namespace 'urn:x'; write xmlns='urn:organism:payloads'"),
        (
            '<Greeting xmlns="urn:organism:payloads"><name xmlns="">a</name></Greeting>',
            "Greeting.name: is in no namespace, not in the namespace 'urn:organism:payloads' like the document",
        ),
        (
            "<Note><pages/><title/><scores/></Note>",
            "Note: has its fields out of order; they come as title, pages, scores",
        ),
        ("<Note><title/><pages><page>1</page></pages><scores/></Note>", "Note.pages[0]: expected <item>, got <page>"),
        ("<Note><title/><pages><item>x</item></pages><scores/></Note>", "Note.pages[0]: expected a whole number"),
        (
            "<Note><title/><pages/><scores><entry>1</entry></scores></Note>",
            'Note.scores[0]: has no key; write <entry key="...">',
        ),
        (
            "<Note><title/><pages/><scores><entry key='a'>1</entry><entry.none key='a'/></scores></Note>",
            "Note.scores['a']: occurs twice",
        ),
        (
            "<Note><title/><pages/><scores><item/></scores></Note>",
            'Note.scores[0]: expected <entry key="...">, got <item>',
        ),
        (
            "<Note><title/><pages/><scores><entry.none key='a'>1</entry.none></scores></Note>",
            "Note.scores['a']: must be empty",
        ),
        (
            "<Note><title/><pages/><scores/><about/></Note>",
            "Note.about: holds 0 elements; expected one of <Greeting>, <Note>",
        ),
        ("<Note><title/><pages/><scores/><about><Dog/></about></Note>", "Note.about: holds <Dog>; expected one of"),
        (
            "<Note><title/><pages/><scores/><about><Greeting/></about></Note>",
            "Note.about.Greeting.name: is missing (str)",
        ),
        (
            "<Note><title/><pages/><scores/><level>high</level></Note>",
            "Note.level: expected 'low' | 'two words', got str 'high'",
        ),
        ("<Note><title/><pages/><scores/><rank>1</rank><rank.none/></Note>", "Note.rank.none: occurs twice"),
    ],
)
def test_mistakes_are_told_with_their_place(document: str, problem: str) -> None:
    assert problem in error_of(document)


def test_texts_that_only_look_right_are_told() -> None:
    @payload
    class Reading:
        when: datetime
        value: float

    told = error_of("<Reading><when>2023-02-29T00:00:00Z</when><value>1e400</value></Reading>", Vocabulary([Reading]))
    assert told == (
        "Reading: 2 problems: Reading.when: expected a date and time with its offset, such as 2026-01-31T12:00:00+01:00, "
        "got '2023-02-29T00:00:00Z'; Reading.value: expected a finite number, got '1e400'"
    )


def test_all_mistakes_are_told_at_once_but_not_without_end() -> None:
    told = error_of("<Note><pages><item>x</item><item/></pages><scores><entry key='a'>b</entry></scores></Note>")
    assert told == (
        "Note: 4 problems: Note.pages[0]: expected a whole number (at most 4300 digits), got 'x'; "
        "Note.pages[1]: expected a whole number (at most 4300 digits), got ''; "
        "Note.scores['a']: expected a finite number, got 'b'; Note.title: is missing (str)"
    )
    many = f"<Note><title/><pages>{'<item>x</item>' * 50_000}</pages><scores/></Note>"
    assert error_of(many).startswith("Note: more than 20 problems: ")
    assert len(error_of(many)) < 5_000
    assert len(error_of(f"<Greeting>{''.join(f'<stranger{n}/>' for n in range(1000))}</Greeting>")) < 5_000


def test_only_what_is_expected_is_taken() -> None:
    greeting = encode_xml(Greeting("Ada"))
    assert vocabulary.decode_xml(greeting, [Note, Greeting]) == Greeting("Ada")
    assert error_of(greeting, expect=[Note]) == "expected Note, got 'Greeting'"
    assert error_of("<!-- odd --><Nte/>", expect=[Note]) == "expected Note, got 'Nte'; did you mean 'Note'?"
    assert error_of("<Note/>", expect=[]) == "expected no payload, got 'Note'"


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (b"", "is not well-formed XML"),
        (b"   ", "is not well-formed XML"),
        (b"hello", "is not well-formed XML"),
        (b"<Greeting><name>a</name>", "is not well-formed XML"),
        (b"<Greeting><name>a</name></Greeting", "is not well-formed XML"),
        (b"<Greeting><name>a</nam", "is not well-formed XML"),
        (b"<Greeting><name>a</name></Greeting><Greeting/>", "is not well-formed XML"),
        (b"<Greeting><name>a</name></Greeting>x", "is not well-formed XML"),
        (b"<Greeting><name>a</Greeting></name>", "is not well-formed XML"),
        (b"<Greeting><name>a\x00</name></Greeting>", "is not well-formed XML"),
        (b"<Greeting><name>a\x01</name></Greeting>", "is not well-formed XML"),
        (b"<Greeting><name>&#1;</name></Greeting>", "is not well-formed XML"),
        (b"<Greeting><name>&#xD800;</name></Greeting>", "is not well-formed XML"),
        (b"<Greeting><name>&nbsp;</name></Greeting>", "is not well-formed XML"),
        (b"<Greeting><name>a & b</name></Greeting>", "is not well-formed XML"),
        (b"<x:Greeting/>", "is not well-formed XML"),
        (b"<Greeting><name>\xff</name></Greeting>", "is not in UTF-8"),
        (b"<Greeting><name>\xed\xa0\x80</name></Greeting>", "is not in UTF-8"),
        ("<Greeting><name>ä</name></Greeting>".encode("latin-1"), "is not in UTF-8"),
        ("<Greeting><name>ä</name></Greeting>".encode("utf-16"), "is not in UTF-8"),
        ("<Greeting><name>\ud800</name></Greeting>", "is not in UTF-8"),
        (b"<?xml version='1.0' encoding='latin-1'?><Greeting/>", "declares the encoding 'latin-1'; only UTF-8 is read"),
        (
            b"<?xml version='1.0' encoding='UTF-16'?><Greeting/>",
            "declares the encoding 'UTF-16'; only UTF-8 is read",
        ),
    ],
)
def test_what_is_no_document_in_utf8_is_refused(document: bytes | str, problem: str) -> None:
    assert error_of(document).startswith(problem)


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ("<Greeting><name>a</Greeting>", "Opening and ending tag mismatch: name and Greeting, line 1, column 29"),
        ("<Greeting>\n<name>a\n</Greeting>", "Opening and ending tag mismatch: name line 2 and Greeting, line 3, column 12"),
        ("<Greeting><name>a", "Premature end of data in tag name, line 1, column 18"),
        ("<Greeting>\n<name>a</name>\n", "Premature end of data in tag Greeting line 1, line 3, column 1"),
    ],
)  # fmt: skip
def test_a_line_is_named_once_where_it_is_one(document: str, problem: str) -> None:
    assert error_of(document) == f"is not well-formed XML: {problem}"


@pytest.mark.parametrize(
    "document",
    [
        "<!DOCTYPE Greeting><Greeting><name>a</name></Greeting>",
        '<!DOCTYPE Greeting SYSTEM "http://example.org/x.dtd"><Greeting><name>a</name></Greeting>',
        '<!DOCTYPE g [<!ENTITY x SYSTEM "file:///etc/passwd">]><Greeting><name>&x;</name></Greeting>',
        '<!DOCTYPE g [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><Greeting><name>&b;&b;</name></Greeting>',
        '<?xml version="1.0"?>\n<?pi?><!-- x -->\n<!DOCTYPE g [<!ATTLIST name x CDATA "y">]><Greeting><name>a</name></Greeting>',
        "\ufeff<!DOCTYPE g><Greeting/>",
    ],
)
def test_document_types_are_refused_before_they_are_read(document: str) -> None:
    assert error_of(document) == "has a document type (<!DOCTYPE); leave it out, entities are not read"
    assert error_of(document.encode()) == "has a document type (<!DOCTYPE); leave it out, entities are not read"


def test_nothing_is_included_or_fetched() -> None:
    include = '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file:///etc/passwd" parse="text"/>'
    assert "holds text only; it has the element <include>" in error_of(f"<Greeting><name>{include}</name></Greeting>")
    instance = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    for attribute in (
        'xsi:schemaLocation="urn:organism:payloads http://example.org/x.xsd"',
        'xsi:nil="true"',
        'xsi:type="Note"',
    ):
        told = error_of(f"<Greeting {instance} {attribute}><name>a</name></Greeting>")
        assert "only the entries of a dict have one" in told


def test_limits() -> None:
    small = Vocabulary([Greeting, Note], limits=Limits(size=200, depth=4, text=20))
    assert small.decode_xml(encode_xml(Greeting("a" * 20))) == Greeting("a" * 20)
    assert error_of(encode_xml(Greeting("a" * 200)), small) == "is longer than 200 bytes"
    assert error_of("<Greeting><name>" + "ä" * 100 + "</name></Greeting>", small) == "is longer than 200 bytes"
    assert error_of(encode_xml(Greeting("a" * 21)), small) == "has a text of more than 20 characters in <name>"
    assert error_of("<!-- odd -->" + encode_xml(Greeting("a" * 21)).decode(), small).startswith(
        "has a text of more than 20"
    )
    nested = "<Note><title/><pages/><scores/><about><Note><title/><pages/><scores/><about><Note/></about></Note></about></Note>"
    for odd in ("", "<!-- odd -->"):
        assert error_of(odd + nested, small) == "has elements nested more than 4 deep"
    after_many = "<!-- odd --><Note>" + "<title/>" * 9 + "<Note>" * 4
    assert error_of(after_many, small) == "has elements nested more than 4 deep"
    with pytest.raises(ValueError, match="depth"):
        Limits(depth=257)


def test_a_document_as_deep_as_is_allowed_is_read() -> None:
    def nested(levels: int) -> Note:
        return Note("", [], {}, nested(levels - 1) if levels > 1 else None)

    assert vocabulary.decode_xml(encode_xml(nested(49))) == nested(49)
    assert error_of(encode_xml(nested(51))) == "has elements nested more than 100 deep"
    assert error_of("<!-- odd -->" + "<Greeting>" * 100_000) == "has elements nested more than 100 deep"
    assert error_of("<Greeting>" * 100_000).startswith(
        "is not well-formed XML: Excessive depth in document: 256, line 1"
    )


def test_a_call_from_deep_in_the_stack_says_that_it_is_too_deep() -> None:
    def nested(levels: int) -> Note:
        return Note("", [], {}, nested(levels - 1) if levels > 1 else None)

    def from_below(frames: int) -> Any:
        return from_below(frames - 1) if frames else vocabulary.decode_xml(document)

    document = encode_xml(nested(45))
    here = len(inspect.stack(0))
    with pytest.raises(InvalidPayloadError, match=r"^is nested too deep to be read from here$"):
        from_below(sys.getrecursionlimit() - here - 60)


def test_a_long_document_is_read_and_refused_like_a_short_one() -> None:
    note = Note("", list(range(5_000)), {str(n): None for n in range(5_000)}, None)
    assert vocabulary.decode_xml(encode_xml(note)) == note
    assert error_of(encode_xml(note).replace(b">4999<", b">x<")) == (
        "Note.pages[4999]: expected a whole number (at most 4300 digits), got 'x'"
    )


@pytest.mark.parametrize(
    "document",
    [
        b"<Greeting>" + b"<!-- -->" * 200_000 + b"</Greeting>",
        b"<!---->" * 250_000 + b"<Greeting/>",
        b" " * 2_000_000 + b"<Greeting/>",
        b"<Greeting>" + b"<" * 2_000_000,
        b"<Greeting>" + b"<name/>" * 250_000 + b"</Greeting>",
        b"<Greeting " + b"".join(b'a%d="" ' % n for n in range(100_000)) + b"/>",
        b"<Greeting " + b"".join(b'xmlns:a%d="b" ' % n for n in range(50_000)) + b"/>",
        b"<Greeting><name>" + b"&" * 2_000_000,
        b"<Note><title>" + b"_x005F" * 150_000 + b"</title></Note>",
        b"<Note><title/><pages/><scores>" + b'<entry key="a">1</entry>' * 60_000 + b"</scores></Note>",
        b"<Note><title/><pages><item>" + b"9" * 1_000_000 + b"</item></pages><scores/></Note>",
        b"<Note><title/><pages/><scores/><level>" + b"two " * 250_000 + b"</level></Note>",
        b"<?xml " + b"encoding " * 200_000 + b"?><Greeting/>",
    ],
    ids=range(13),
)
def test_hostile_documents_take_no_time(document: bytes) -> None:
    assert len(document) < Limits().size
    begin = time.process_time()
    assert len(error_of(document)) < 5_000
    assert time.process_time() - begin < 3


def flood(first: int) -> None:
    """48,000 names that nobody has seen before, as elements, attributes, prefixes and closing tags."""
    for number in range(first, first + 8):
        names = [f"{kind}{number}x{n}" + "y" * 40 for kind in "tap" for n in range(2_000)]
        tags = "".join(f"<{name}/>" for name in names[:2_000])
        attributes = "".join(f"<name {name}=''/>" for name in names[2_000:4_000])
        prefixes = "".join(f"<name xmlns:{name}='urn:x'/>" for name in names[4_000:])
        error_of(f"<Greeting>{tags}{attributes}{prefixes}</Greeting>")
        error_of(f"<Greeting><name>a</{names[0] * 300}></Greeting>")


@pytest.mark.skipif(not MEMORY.exists(), reason="tells how much memory the process has, on Linux")
def test_names_of_hostile_documents_are_forgotten() -> None:
    """The library that checks schemas keeps names for ever; it must not see those that nobody here has."""

    def pages() -> int:
        gc.collect()
        return int(MEMORY.read_text().split()[1])

    for number in range(4):  # until the allocators have what they want
        flood(100 * number)
    grown: list[int] = []
    while (
        len(grown) < 4 and min(grown, default=4_000) >= 4_000
    ):  # other work of this process may want memory meanwhile, once
        before = pages()
        for number in range(8):
            flood(1000 * (len(grown) + 1) + 100 * number)
        grown.append(pages() - before)
    assert min(grown) < 4_000, grown  # of 4 kB; with the names kept it would be 8,000 each time


def test_texts_that_xml_cannot_hold_are_escaped() -> None:
    text = "\x00 _x0000_ _x005F_x0000_ \ufffe ]]> \r\n\t _x0041_ snake_case"
    document = encode_xml(Greeting(text)).decode()
    assert re.findall(r"<name>(.*)</name>", document, re.DOTALL) == [
        "_x0000_ _x005F_x0000_ _x005F_x005F_x005F_x0000_ _xFFFE_ ]]&gt; &#13;\n\t _x0041_ snake_case"
    ]
    assert vocabulary.decode_xml(document) == Greeting(text)


@pytest.mark.parametrize("text", ["a & b", "a < b", "&nbsp;"])
def test_markup_that_was_meant_as_text_is_told_with_its_way_out(text: str) -> None:
    with pytest.raises(InvalidPayloadError, match=r"write '&' as '&amp;', and '<' as '&lt;'$"):
        Vocabulary().decode_xml(f"<BudgetEstimate><unit>{text}</unit></BudgetEstimate>")
