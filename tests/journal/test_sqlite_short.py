"""Entries as a SQLite journal holds them: shorter, and the same when they are read."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from organism import payload
from organism.facts import Answered, Posted
from organism.journal.codec import content
from organism.journal.sqlite_file import long, short
from organism.journal.sqlite_reader import root_mark

ONE = "The quick brown fox jumps over the lazy dog, and over the next one. "
OTHER = "Not one of these characters needs to be escaped anywhere, in JSON or in XML. "

PIECES = st.sampled_from([ONE, OTHER, ">", "</", "<", "&", '"', '":"', "\\", "\x0e", "\x1f", "ä", "x", "r"])
TEXTS = st.lists(PIECES, max_size=6).map("".join)


@payload
class Pair:
    one: str
    other: str


def entry(pair: Pair, root: str = "r") -> bytes:
    posted = Posted(
        thread=root, seq=2, to="pong", payload=pair, sender="ping", kind="send", frame=(root, 2), opens=True, depth=1
    )
    return content(Answered(at=1.0, thread=root, seq=1, handler="ping", steps=(posted,)), root)


@given(one=TEXTS, other=TEXTS, root=st.sampled_from(["r", ONE, f">{ONE}</", "\x0e"]))
@example(one=f">{ONE}</", other=ONE, root="r")
@example(one=ONE, other=f"{ONE}</{ONE}>{OTHER}</", root="r")
@example(one=f'>{OTHER}":"{ONE}"</', other=OTHER, root=OTHER)
def test_what_was_shortened_is_read_as_it_was(one: str, other: str, root: str) -> None:
    whole = entry(Pair(one, other), root)
    assert long(short(whole, root_mark(root)), root_mark(root)) == whole


BYTES = st.sampled_from([b">", b"</", b"<", b":", b'"', b'"r', b"\\", b"x", ONE.encode(), OTHER.encode()])


@given(st.lists(BYTES, max_size=12).map(b"".join))
@example(b'>%b":"%b"</%b</>%b</:"%b"' % ((ONE.encode(),) * 5))
def test_any_bytes_without_marks_are_read_as_they_were(data: bytes) -> None:
    assert long(short(data, b'"r'), b'"r') == data


def test_long_texts_of_a_payload_stand_in_the_file_once() -> None:
    shortened = short(entry(Pair(ONE, OTHER)), root_mark("r"))
    assert (shortened.count(ONE.encode()), shortened.count(OTHER.encode())) == (1, 1)


def test_the_same_long_text_twice_is_read_twice() -> None:
    whole = entry(Pair(ONE, ONE))
    shortened = short(whole, root_mark("r"))
    assert len(shortened) < len(whole)
    assert long(shortened, root_mark("r")) == whole
