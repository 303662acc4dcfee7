"""Any text may be the id of a thread: each has its own file, inside of the folder, on every file system."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from organism.journal.check import FOREIGN
from organism.journal.filenames import file_name, is_file_name, root_of_name

ids = st.one_of(
    st.text(st.sampled_from("aAbB_./\\-:0 é\0\ud800"), max_size=8),
    st.text(max_size=200),
    st.sampled_from(FOREIGN),
)


@given(ids)
@example("x" * 10_000)
@example("." * 100)
@settings(max_examples=200)
def test_a_name_is_short_plain_and_says_its_thread(root: str) -> None:
    name = file_name(root)
    assert re.fullmatch(r"[a-z0-9_-]+\.jsonl", name)
    assert len(name) <= 255
    assert is_file_name(name)
    said = root_of_name(name)
    assert said == root or (said is None and len(name) > 100)


@given(ids, ids)
@settings(max_examples=300)
def test_two_threads_have_two_files(one: str, other: str) -> None:
    assert (file_name(one).casefold() == file_name(other).casefold()) == (one == other)


def test_the_ids_that_others_chose() -> None:
    names = [file_name(root).casefold() for root in FOREIGN]
    assert len(set(names)) == len(FOREIGN)


@pytest.mark.parametrize(
    ("root", "name"),
    [
        ("3f2a-b", "3f2a-b.jsonl"),
        ("", "_.jsonl"),
        ("..", "_2e_2e.jsonl"),
        ("a/b", "a_2fb.jsonl"),
        ("a_b", "a_5fb.jsonl"),
        ("A", "_41.jsonl"),
        ("é", "_c3_a9.jsonl"),
        ("con", "_63on.jsonl"),
        ("com1", "_63om1.jsonl"),
        ("console", "console.jsonl"),
    ],
)
def test_names_can_be_read(root: str, name: str) -> None:
    assert file_name(root) == name


@pytest.mark.parametrize(
    "name", ["a.json", "A.jsonl", ".jsonl", "a b.jsonl", "_2.jsonl", "__.jsonl", "jsonl", "a.jsonl.gz"]
)
def test_other_files_are_not_ours(name: str) -> None:
    assert not is_file_name(name)
