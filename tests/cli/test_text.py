"""What a terminal is given."""

from __future__ import annotations

import operator
import unicodedata
from functools import partial
from time import process_time
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from organism.cli.text import cut, harmless, one_line, padded, width_of, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\nlines", "plain\nlines"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("bell\x07 back\x08 null\x00 del\x7f", "bell\\x07 back\\x08 null\\x00 del\\x7f"),
        ("one\r\ntwo", "one\ntwo"),
        ("over\rwritten", "over\\rwritten"),
        ("\x9b31m", "\\x9b31m"),
        ("right\u202eto left", "right\\u202eto left"),
        ("half\ud800", "half\\ud800"),
        ("a\tb", "a   b"),
        ("日本 👩\u200d🚀 café", "日本 👩\u200d🚀 café"),
    ],
)
def test_what_a_terminal_would_act_on_is_written_out(text: str, shown: str) -> None:
    assert harmless(text) == shown


@given(st.text())
def test_nothing_harmful_is_left(text: str) -> None:
    shown = harmless(text)
    assert not {one for one in shown if one < " " or "\x7f" <= one <= "\x9f"} - {"\n"}
    shown.encode()
    assert harmless(shown) == shown
    assert "\n" not in one_line(text)


def test_one_line_joins_lines() -> None:
    assert one_line("  first \n\n  second\x1b\n") == "first second\\x1b"


@pytest.mark.parametrize(("text", "width"), [("abc", 3), ("日本", 4), ("e\u0301", 1), ("", 0)])
def test_width_is_what_a_terminal_needs(text: str, width: int) -> None:
    assert width_of(text) == width


def test_padding_and_cutting_count_columns() -> None:
    assert padded("日", 4) == "日  "
    assert padded("7", 3, right=True) == "  7"
    assert cut("日本語", 6) == "日本語"
    assert cut("日本語", 5) == "日本…"
    assert cut("abc", 2) == "a…"


def test_long_lines_are_broken_at_blanks() -> None:
    assert wrapped("one two three four five", 20) == ["one two three four", "five"]
    assert wrapped("short\n\nlines", 20) == ["short", "", "lines"]
    assert wrapped("key:    value", 20) == ["key:    value"]  # what fits keeps its blanks
    assert wrapped("key:    values ".ljust(20), 20) == ["key:    values"]
    assert wrapped("x" * 41, 5) == ["x" * 20, "x" * 20, "x"]  # narrower than that no line is broken
    assert wrapped("  " + "word " * 6, 20) == ["  word word word", "  word word word"]


def test_a_word_longer_than_a_line_is_broken_where_it_must_be() -> None:
    assert wrapped("x" * 45, 20) == ["x" * 20, "x" * 20, "x" * 5]
    assert wrapped("日" * 15, 20) == ["日" * 10, "日" * 5]


def columns(one: str) -> int:
    if unicodedata.combining(one):
        return 0
    return 2 if unicodedata.east_asian_width(one) in "WF" else 1


def plainly_wrapped(paragraph: str, width: int) -> list[str]:
    """As :func:`wrapped`, of one paragraph, looking at each character by itself."""
    if sum(map(columns, paragraph)) <= width:
        return [paragraph.rstrip()]
    indent = paragraph[: len(paragraph) - len(paragraph.lstrip(" "))][: width // 2]
    lines = [""]
    for word in paragraph.split():
        if lines[-1] and sum(map(columns, f"{lines[-1]} {word}")) <= width:
            lines[-1] += f" {word}"
            continue
        lines.append(indent)
        for one in word:
            if sum(map(columns, lines[-1] + one)) > width:
                lines.append("")
            lines[-1] += one
    return lines[1:] or [""]


RUNS = st.builds(
    operator.mul, st.sampled_from(["a", "é", "漢", "\u0301", "👩\u200d", " ", "  ", "\u3000"]), st.integers(1, 50)
)


@given(st.lists(RUNS, max_size=8).map("".join), st.integers(20, 41))
@example("漢" * 30, 21)
@example("漢" * 10 + "a" + "漢" * 10, 21)
@example("漢" * 10 + "\u0301" * 3 + "漢" * 10, 20)
@example("é" * 20 + "\u0301" * 3 + "é", 20)
def test_runs_of_characters_that_are_as_wide_are_broken_as_any_others(text: str, width: int) -> None:
    assert wrapped(text, width) == plainly_wrapped(text, width)
    assert width_of(text) == sum(map(columns, text))


def test_a_text_may_have_more_different_characters_than_are_kept_in_mind() -> None:
    text = "".join(map(chr, range(0xE000, 0xE000 + 70_000)))
    assert width_of(text) == sum(map(columns, text))
    assert width_of(text[:100]) == sum(map(columns, text[:100]))


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])), st.integers(20, 60))
def test_wrapping_loses_no_word_and_keeps_the_width(text: str, width: int) -> None:
    lines = wrapped(harmless(text), width)
    assert all(width_of(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(harmless(text).split())


@pytest.mark.parametrize("word", ["x" * 70, "日本" * 50, "e\u0301" * 70, "\u0301" * 500 + "x" * 50])
def test_a_long_word_is_broken_where_it_is_full_and_nothing_of_it_is_lost(word: str) -> None:
    first, *more = wrapped(f"a {word} b", 20)
    assert first == "a"
    assert "".join(more) in {f"{word} b", f"{word}b"}
    assert all(width_of(line) <= 20 for line in more)


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (partial(wrapped, width=80), "日"),
        (partial(wrapped, width=80), "e\u0301"),
        (one_line, " "),
    ],
)
def test_what_a_model_makes_long_takes_no_longer_than_its_length_says(told: Callable[[str], object], text: str) -> None:
    def seconds(times: int) -> float:
        taken: list[float] = []
        for _ in range(5):
            began = process_time()
            told(text * times)
            taken.append(process_time() - began)
        return min(taken)

    assert seconds(24_000) < 9 * seconds(4_000) + 0.01
