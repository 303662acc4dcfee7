"""Entries as a SQLite journal holds them: shorter, and the same when they are read."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from hypothesis import example, given
from hypothesis import strategies as st

from organism import payload
from organism.journal.chain import canonical
from organism.journal.codec import content, contents, decode, encode
from organism.journal.sqlite_file import long, short
from organism.journal.texts import marked_bytes, root_mark, whole_bytes
from organism.record.facts import Answered, Handed, Posted

if TYPE_CHECKING:
    from organism.record.facts import Fact

ONE = "The quick brown fox jumps over the lazy dog, and over the next one. "
OTHER = "Not one of these characters needs to be escaped anywhere, in JSON or in XML. "

PIECES = st.sampled_from([ONE, OTHER, ">", "</", "<", "&", '"', '":"', "\\", "\x0e", "\x1f", "ä", "x", "r"])
IDS = st.text(st.sampled_from(["r", "x", ".", '"', "\\", "\1", "\x0e", "ä", "\ud800", "\udc00"]), max_size=4)
TEXTS = st.lists(PIECES, max_size=6).map("".join)


@payload
class Pair:
    one: str
    other: str


@payload
class Box:
    pairs: list[Pair]
    text: str | None = None


def answered(*payloads: Pair | Box, root: str = "r") -> Answered:
    steps = tuple(
        Posted(thread=root, seq=2, to="pong", payload=each, sender="ping", kind="send", frame=(root, 2), opens=True, depth=1)
        for each in payloads
    )  # fmt: skip
    return Answered(at=1.0, thread=root, seq=1, handler="ping", steps=steps)


def entry(pair: Pair, root: str = "r") -> bytes:
    return content(answered(pair, root=root), root)


def short_in_version_1(raw: bytes, root: bytes) -> bytes:
    """What the first version of the tables held of an entry."""
    texts = dict.fromkeys(re.findall(rb'>([^"\\<>\x00-\x1f]{40,})</', raw))
    for text, mark in zip(texts, range(14, 32), strict=False):
        raw = raw.replace(b':"%b"' % text, bytes([mark]), 1)
    return short(raw, root)


@given(one=TEXTS, other=TEXTS, root=st.sampled_from(["r", ONE, f">{ONE}</", "\x0e"]))
@example(one=f">{ONE}</", other=ONE, root="r")
@example(one=ONE, other=f"{ONE}</{ONE}>{OTHER}</", root="r")
@example(one=f'>{OTHER}":"{ONE}"</', other=OTHER, root=OTHER)
def test_what_was_shortened_is_read_as_it_was(one: str, other: str, root: str) -> None:
    mark = root_mark(root)
    for payloads in ([Pair(one, other)], [Box([Pair(other, one)], one), Pair(one, one)]):
        fact = answered(*payloads, root=root)
        plain = decode(encode(fact, root))
        kept = Answered(at=1.0, thread=root, seq=1, handler="ping", state={"a": (one,), "b": (payloads,)})
        for each in (fact, plain, kept):
            whole, marked = contents(each, root, root_mark(root))
            assert whole == content(each, root)
            assert b"\x0e" not in whole
            assert long(short(marked, mark), mark) == whole
            assert long(short(marked_bytes(whole), mark), mark) == whole
            assert long(short_in_version_1(whole, mark), mark) == whole


BYTES = st.sampled_from([b">", b"</", b"<", b":", b'"', b'"r', b"\\", b"x", ONE.encode(), OTHER.encode()])


@given(st.lists(BYTES, max_size=12).map(b"".join))
@example(b'>%b":"%b"</%b</>%b</:"%b"' % ((ONE.encode(),) * 5))
def test_any_bytes_without_marks_are_read_as_they_were(data: bytes) -> None:
    assert whole_bytes(marked_bytes(data)) == data
    assert long(short(marked_bytes(data), b'"r'), b'"r') == data
    assert long(short_in_version_1(data, b'"r'), b'"r') == data


def test_long_texts_of_a_payload_stand_in_the_file_once() -> None:
    pair = Pair(ONE, OTHER)
    kept = Answered(at=1.0, thread="r", seq=1, handler="ping", state={"k": (pair,)})
    for fact in (answered(pair), decode(encode(answered(pair), "r")), answered(Box([pair], ONE)), kept):
        whole, marked = contents(fact, "r", root_mark("r"))
        for each in (marked, marked_bytes(whole)):
            assert each.count(OTHER.encode()) == 1
            assert each.count(ONE.encode()) == whole.count(b">%b<" % ONE.encode())


def test_the_same_long_text_twice_is_read_twice() -> None:
    whole, marked = contents(answered(Pair(ONE, ONE), Pair(ONE, OTHER)), "r", root_mark("r"))
    assert len(marked) < len(whole)
    assert long(short(marked, root_mark("r")), root_mark("r")) == whole


def test_more_long_texts_than_there_are_marks_are_read_as_they_were() -> None:
    many = [f"{ONE}{number}" for number in range(40)]
    pairs = [Pair(each, each) for each in many]
    whole, marked = contents(answered(Box(pairs), *(Pair(each, ONE) for each in many)), "r", root_mark("r"))
    assert len(marked) < len(whole)
    assert long(marked, root_mark("r")) == whole


def test_a_secret_in_a_long_text_is_left_out_wherever_the_text_stands() -> None:
    key = "sk-A1b2C3d4E5f6G7h8I9j0K1l2M3n4"
    whole, marked = contents(answered(Pair(f"{ONE}{key} and more {ONE}", OTHER), Pair(ONE, key)), "r", root_mark("r"))
    assert key.encode() not in whole + marked
    assert long(marked, root_mark("r")) == whole
    assert whole.count(b"[secret]") == 4


def halves(text: str) -> bytes:
    """A text in which two halves that stand together are the same as the character that they are."""
    return text.encode("utf-16-le", "surrogatepass")


def ids(fact: Fact) -> list[str]:
    """The threads in the steps of a delivery that handed its message on."""
    return [step.frame[0] + (step.to or ("", 0))[0] for step in fact.steps if isinstance(step, Handed)]


@given(root=IDS, below=IDS, said=IDS)
@example(root="r", below="r.2", said="r")
@example(root="", below="x", said='"')
@example(root="x\ud800", below="x\ud800\udc00", said="y")
@example(root="\ud800", below="x", said="\udc00")
def test_ids_below_the_root_and_half_characters_are_read_as_they_were(root: str, below: str, said: str) -> None:
    for thread in (root, below, f"{root}{below}"):
        fact = Answered(
            at=1.0,
            thread=thread,
            seq=1,
            handler=said,
            steps=(Handed(frame=(root, 1), to=(thread, 2)),),
            state={"k": (said,)},
        )
        whole, shown = contents(fact, root, root_mark(root))
        assert long(shown, root_mark(root)) == whole == canonical(encode(fact, root))
        read = decode(json.loads(whole))
        assert [halves(each) for each in (read.thread, *ids(read))] == [halves(each) for each in (thread, *ids(fact))]
