"""Hostile bytes, for as long as the suite has time; ``make fuzz`` goes on for longer."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.seeds import WORDS, facts, json_of, seeds
from tests.fuzz.targets import TARGETS
from tests.fuzz.with_atheris import main

_SHARE = st.floats(0, 1, exclude_max=True)


@st.composite
def garbled(draw: st.DrawFn, target: str) -> bytes:
    """A seed with words and bytes put in, parts taken out, and parts of it doubled; or bytes of any kind."""
    data = draw(st.sampled_from(seeds(target)))
    for _ in range(draw(st.integers(1, 4))):
        start = int(draw(_SHARE) * len(data))
        end = start + draw(st.sampled_from([0, 0, 1, 3, 20, 300]))
        what = draw(st.sampled_from(["word", "word", "bytes", "again"]))
        if what == "word":
            new = draw(st.sampled_from(WORDS)) * draw(st.sampled_from([1, 1, 1, 2, 50]))
        else:
            new = draw(st.binary(max_size=4)) if what == "bytes" else data[start:end] * 2
        data = data[:start] + new + data[end:]
    return data


@pytest.mark.parametrize("target", TARGETS)
def test_garbled_bytes_are_read_or_refused(target: str) -> None:
    @settings(max_examples=60)
    @given(garbled(target))
    def holds(data: bytes) -> None:
        TARGETS[target](data)

    holds()


@pytest.mark.parametrize("target", TARGETS)
def test_what_fuzzing_begins_with_is_read(target: str) -> None:
    for data in seeds(target):
        TARGETS[target](data)


def test_make_fuzz_runs_every_target() -> None:
    makefile = (Path(__file__).parents[2] / "Makefile").read_text("utf-8").replace("\\\n", " ")
    (named,) = re.findall(r"^FUZZED := (.*)$", makefile, re.MULTILINE)
    assert named.split() == list(TARGETS)


def test_without_atheris_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "atheris", None)
    with pytest.raises(SystemExit, match=r"^atheris is not here \(.*\): `make fuzz` installs it"):
        main(["order"])


_ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**400), 10**400), st.floats(),
    st.sampled_from(["", "r", "1e999999999", "sNaN", "-Infinity", "1e-99999999999999999999", "\ud800", "completed", 2**63, 1e308, -1e18]),
    st.sampled_from([
        {"$float": "nan"}, {"$float": "inf"}, {"$decimal": "sNaN"}, {"$decimal": "1e999999999"}, {"$tuple": [1]}, {"$object": {"$": 1}},
        {"$failure": {}}, {"$failure": {"code": [], "text": 5}}, {"$xml": "", "Greeting": {}}, {"a": 1}, [], {}, [[]], [None, 1],
    ]),
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, value: Any) -> Any:
    """A JSON value with something else in one place of it."""
    inside = [*value.items()] if isinstance(value, dict) else [*enumerate(value)] if isinstance(value, list) else []
    if not inside or draw(st.integers(0, 9)) == 0:
        return draw(_ODD)
    key, inner = draw(st.sampled_from(inside))
    changed = type(value)(value)
    what = draw(st.sampled_from(["deeper", "deeper", "deeper", "deeper", "less", "more"]))
    if what == "less":
        del changed[key]
    elif what == "more" and isinstance(value, dict):
        changed[draw(st.sampled_from(["stranger", "$xml", "fact", "at"]))] = inner
    else:
        changed[key] = draw(damaged(inner))
    return changed


@pytest.mark.parametrize("target", ["journal_entry", "sealed_lines", "sqlite_chain"])
def test_facts_that_say_something_else_are_read_or_refused(target: str) -> None:
    @settings(max_examples=250 if target == "journal_entry" else 50)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        fact = data.draw(st.sampled_from(facts()))
        for _ in range(data.draw(st.integers(1, 3))):
            fact = data.draw(damaged(fact)) if isinstance(fact, dict) else fact
        TARGETS[target](json.dumps(fact).encode() if data.draw(st.booleans()) else _sure(fact))

    holds()


def _sure(value: Any) -> bytes:
    try:
        return json_of(value)
    except UnicodeEncodeError:
        return json.dumps(value).encode()
