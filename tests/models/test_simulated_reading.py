"""How the simulated model reads: documents in texts, sentences, names of fields, patterns."""

from __future__ import annotations

import re
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from organism.models.simulation.defaults import matching
from organism.models.simulation.documents import documents, prose, records
from organism.models.simulation.fields import reference_of, references_in, role_of
from organism.models.simulation.ranking import Passage, best, read
from organism.models.simulation.situation import understand
from organism.models.simulation.style import Dice
from organism.models.simulation.words import joined, key_words, normal, one_line, sentences, shortened, stem
from tests.models.simulated_world import user

DICE = Dice.of(0)


@pytest.mark.parametrize(
    ("text", "name", "tree"),
    [
        ("<Greeting xmlns='urn:x'><name>Ada &amp; co</name></Greeting>", "Greeting", {"name": "Ada & co"}),
        ("<p:Note xmlns:p='urn:x'><p:tags><item>a</item></p:tags></p:Note>", "Note", {"tags": ["a"]}),
        ("<Note><tags><item>a</item><item>b</item></tags></Note>", "Note", {"tags": ["a", "b"]}),
        ("<Note><tag>a</tag><tag>b</tag></Note>", "Note", {"tag": ["a", "b"]}),
        ("<Note><by.none/><to/></Note>", "Note", {"by": None, "to": ""}),
        (
            "<Note><of><entry key='a b'>1</entry><entry key='c'>2</entry></of></Note>",
            "Note",
            {"of": {"a b": "1", "c": "2"}},
        ),
        ('<Note path="a.md">Rain.</Note>', "Note", {"path": "a.md", "text": "Rain."}),
        ("<Note><![CDATA[<b>]]><!-- no --></Note>", "Note", "<b>"),
        ('{"Note": {"text": "a {b} [c]"}}', "Note", {"text": "a {b} [c]"}),
        ('{"path": "a.md"}', "", {"path": "a.md"}),
        ('[{"path": "a.md"}]', "", [{"path": "a.md"}]),
    ],
)
def test_documents_are_found_in_prose(text: str, name: str, tree: Any) -> None:
    for before, after in (("", ""), ("\n ", "\n"), ("Message from ada:\n", "\nGoodbye.")):
        if text.startswith("[") and before.strip():
            continue  # a bracket within prose is a note or a link
        (found,) = documents(before + text + after)
        assert (found.name, found.tree) == (name, tree)
        assert prose(before + text + after, [found]) == "\n".join(
            part.strip() for part in (before, after) if part.strip()
        )


@pytest.mark.parametrize(
    "text",
    ["", "a < b and c > d", "see [1] and {x}", "use <b>bold</b> words", "<Open><never>", "{'a': 1}", "[link](x)"],
)
def test_what_is_no_document_is_prose(text: str) -> None:
    assert documents(text) == []


@given(text=st.text(st.sampled_from("<>/ab\"'=[]{}:,&;!-? \n"), max_size=60) | st.text(max_size=60))
def test_reading_never_fails(text: str) -> None:
    for document in documents(text):
        assert 0 <= document.start < document.end <= len(text)
        records(document)
    understand([user(text), {"role": "assistant"}, {"role": "tool", "content": text}, user(text)])


def test_records_know_what_stands_around_them() -> None:
    (document,) = documents('{"path": "a.md", "parts": [{"text": "One.", "line": 1}, {"text": "Two."}], "tags": ["x"]}')
    found = [dict(record.fields) for record in records(document)]
    assert {"path": "a.md", "text": "One.", "line": 1} in found
    assert {"path": "a.md", "text": "Two."} in found
    assert {"path": "a.md", "tag": "x"} in found
    assert {reference_of(fields) for fields in found} == {"a.md"}


def test_sentences_are_parted_and_cleaned() -> None:
    text = (
        '# The sea\n\nDr. Gray came at 3.5 knots, e.g. by boat. "Why?" she\nasked. He said: no!\n\n- first thing\n- second\n'
        "  thing\n\n| a | b |\n|---|---|\n| c | d |\n\n```\ncode. Not this.\n```\n\u6d77\u306f\u9752\u3044\u3002\u7a7a\u3082\u3002"
    )
    assert sentences(text) == [
        "The sea", "Dr. Gray came at 3.5 knots, e.g. by boat.", '"Why?" she asked.', "He said: no!", "first thing",
        "second thing", "a | b", "c | d", "\u6d77\u306f\u9752\u3044\u3002", "\u7a7a\u3082\u3002",
    ]  # fmt: skip


@given(text=st.text(st.sampled_from("aB. !?\n-|#`'\"1"), max_size=80))
def test_every_sentence_stands_in_the_text(text: str) -> None:
    bare = re.sub(r"\s+", "", text)
    for sentence in sentences(text):
        assert sentence == one_line(sentence) != ""
        assert re.sub(r"\s+", "", sentence) in bare or sentence.startswith(("-", "#")) or "|" in text or "\n" in text


def test_quotes_that_are_joined_can_be_parted_again() -> None:
    quotes = ["The sea is blue.", "a row | of a table", "another row", "It is deep."]
    assert sentences(joined(quotes)) == quotes


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tide", "tides"),
        ("swarm", "swarming"),
        ("stop", "stopped"),
        ("berry", "berries"),
        ("make", "makes"),
        ("crash", "crashes"),
    ],
)
def test_plural_and_tense_have_one_stem(one: str, other: str) -> None:
    assert stem(one) == stem(other)


def test_key_words_are_those_that_say_something() -> None:
    assert key_words("What is the Budget of a thread, and how do threads end?", 6) == ["Budget", "thread", "end"]
    assert key_words("Where did Grace Hopper keep the moth?", 2) == ["Grace", "Hopper"]
    assert key_words("How is it?", 5) == []


@given(text=st.text(max_size=80), most=st.integers(0, 60))
def test_a_text_is_shortened_to_its_limit(text: str, most: int) -> None:
    short = shortened(text, most)
    assert len(short) <= most or short == text
    assert short == text or text.startswith(short.rstrip("\u2026"))


@pytest.mark.parametrize(
    ("name", "hint", "role"),
    [
        ("question", "", "query"), ("search_terms", "", "terms"), ("query", "the key words", "terms"), ("filePath", "", "reference"),
        ("source_text", "", "text"), ("text_path", "", "reference"), ("sources", "", "reference"), ("notes", "", "text"),
        ("maxItems", "", "count"), ("confidence", "", "confidence"), ("heading", "", "title"), ("where", "a file", "reference"),
        ("x", "", "unknown"), ("colour", "the number of it", "unknown"),
    ],
)  # fmt: skip
def test_a_field_is_guessed_from_its_name_and_description(name: str, hint: str, role: str) -> None:
    assert role_of(name, hint) == role


def test_names_are_compared_without_case_and_separators() -> None:
    assert normal("filePath") == normal("file_path") == normal("File-Path") == "filepath"


def test_references_are_found_in_plain_text() -> None:
    text = "See docs/a.md, docs/sub/b_c.rst (and https://example.org/x?y=1), e.g. notes.txt; and/or 3.5 or ctx.ask."
    assert references_in(text, 9) == ["docs/a.md", "docs/sub/b_c.rst", "https://example.org/x?y=1", "notes.txt"]
    assert references_in(text, 1) == ["docs/a.md"]


@pytest.mark.parametrize(
    ("pattern", "least", "most"),
    [
        (r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$", 0, 40), (r"^[a-z][a-z0-9_-]{0,63}$", 5, 10), (r"^(?:[A-Za-z0-9+/]{4})*$", 8, 8),
        (r"^(a|bc|def)+$", 3, 3), (r"^(?!0)\d{3}$", 0, 9), (r"^[^\s]{2,}$", 30, 40), (r"^\d{4}-\d{2}T\d\d(Z|[+-]\d\d)$", 0, 40),
        (r"^\u0041\x42[\]\-a]\.\*$", 0, 9), (r"x{0}y?z*$", 0, 9), (r"^(?P<n>a)(?:b)$", 0, 9), (r".", 3, 3), (r"^(\w+)?$", 4, 6),
    ],
)  # fmt: skip
def test_texts_are_made_for_patterns(pattern: str, least: int, most: int) -> None:
    made = list(islice(matching(pattern, least, most), 5))
    assert made
    assert all(re.search(pattern, text) and least <= len(text) <= most for text in made)


@pytest.mark.parametrize("pattern", ["(", "[z-a]", "*", "(" * 200, "\\u12"])
def test_a_pattern_that_cannot_be_read_gives_nothing(pattern: str) -> None:
    assert list(matching(pattern, 0, 9)) == []


def test_the_best_sentences_fit_the_question_and_differ() -> None:
    text = (
        "Bees dance. The queen bee lays eggs. The queen bee lays many eggs. Rain falls. A queen bee lives five years."
    )
    found = best(read([Passage(text, "a.md")], "How long lives a queen bee?", DICE, jitter=0), 3)
    assert found[0].text == "A queen bee lives five years."
    assert found[0].source == "a.md"
    said = [sentence.text for sentence in found]
    assert "Rain falls." not in said
    assert sum("lays" in sentence for sentence in said) <= 1


def test_of_sentences_that_fit_equally_well_the_first_is_the_best_whatever_order_their_words_are_asked_in() -> None:
    carriers = {"amber": 4, "cedar": 1, "delta": 1}
    others = [f"Old {word} number {word}{n} sleeps." for word, count in carriers.items() for n in range(count)]
    text = " ".join(["Amber birch cedar stand there.", "Amber delta ember stand there.", *others])
    first, second, *_ = found = read([Passage(text)], "amber birch cedar delta ember", DICE, jitter=0)
    assert first.score == second.score
    assert [each.text for each in best(found, 1)] == ["Amber birch cedar stand there."]


def test_where_nothing_fits_the_first_sentences_stand() -> None:
    found = best(read([Passage("Rain falls every day here. Snow falls rarely there.")], "queens", DICE, jitter=0), 1)
    assert [sentence.text for sentence in found] == ["Rain falls every day here."]


def test_that_somebody_found_nothing_is_no_find() -> None:
    passages = [Passage("Nothing at hand answers this: How long does honey keep?"), Passage("Honey keeps for years.")]
    found = read(passages, "How long does honey keep?", DICE, jitter=0.0)
    assert [sentence.text for sentence in best(found, 3)] == ["Honey keeps for years."]


def test_all_texts_of_a_bare_list_are_read_however_short() -> None:
    result = '["Honey keeps for years.", "A swarm leaves in May, and takes the old queen along.", "Wax"]'
    heard = understand(
        [
            user("<Question><text>How long does honey keep?</text></Question>"),
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "1", "type": "function", "function": {"name": "search", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "1", "content": result},
        ]
    )
    assert [passage.text for passage in heard.passages] == [
        "Honey keeps for years.",
        "A swarm leaves in May, and takes the old queen along.",
    ]


def test_a_prompt_is_understood() -> None:
    call = {"id": "1", "function": {"name": "find", "arguments": '{"path": "a.md"}'}}
    situation = understand(
        [
            {"role": "system", "content": "You are the desk."},
            user("<Question><text>What is rain?</text><folder>docs</folder></Question>"),
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": "Rain is water that falls from clouds."},
            user("Budget notice: warning. 75 % of tokens used."),
        ]
    )
    assert situation.question == "What is rain?"
    assert situation.given["folder"] == "docs"
    assert situation.passages == (Passage("Rain is water that falls from clouds.", "a.md"),)
    assert situation.references == ("a.md",)
    assert (situation.rounds, situation.complaints, situation.pressure) == (1, 0, 0.5)
    assert [(made.name, made.failed) for made in situation.calls] == [("find", False)]


def test_a_question_stays_when_the_next_delivery_has_none() -> None:
    later = [
        user("<Question><text>What is rain?</text></Question>"),
        user("<Note><path>a.md</path><text>Water that falls.</text></Note>"),
    ]
    situation = understand(later)
    assert situation.question == "What is rain?"
    assert situation.given["path"] == "a.md"
    assert Passage("Water that falls.", "a.md") in situation.material
