"""docs/performance.md: it is what its figures come to, and it judges them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from benchmarks.growth_laws import LAWS, said, slope
from benchmarks.page import SHARES, page
from benchmarks.where import NAMES, name_of

DOCS: Final = Path(__file__).parent.parent / "docs"
FIGURES: Final = DOCS / "performance" / "figures.json"
AROUND: Final[dict[str, Any]] = {"machine": {"date": "today", "CPU": "a CPU"}, "load": [0.5, 2.0], "runs": 3}


def test_the_page_is_what_was_measured() -> None:
    kept = json.loads(FIGURES.read_text("utf-8"))
    assert (DOCS / "performance.md").read_text("utf-8") == page(kept), "run `make bench`"
    assert {path.stem for path in FIGURES.parent.glob("*.svg")} == set(kept["growth"]["cases"]) <= set(LAWS)


@pytest.mark.parametrize(("ratio", "judged"), [(19.9, "20: **missed**"), (20.0, "20: reached")])
def test_a_ratio_below_its_aim_is_said_to_miss_it(ratio: float, judged: str) -> None:
    row = {"work": "W1", "peer": "autogen-core", "own": 200_000.0, "rate": 10_000.0, "ratio": ratio}
    assert f"| {ratio:.1f} | {judged} |" in page({"peers": {**AROUND, "rows": [row], "versions": {"pykka": "4.5.0"}}})


@pytest.mark.parametrize(("load", "busy"), [([0.5, 2.0], False), ([0.5, 9.0], True)])
def test_it_says_where_the_machine_was_busy(load: list[float], busy: bool) -> None:
    assert ("busy with other work" in page({"own": {**AROUND, "load": load, "rows": {}}})) == busy


def test_it_says_on_what_machine_and_under_what_load() -> None:
    text = page({"own": {**AROUND, "rows": {}}})
    assert "a CPU" in text
    assert "began: 0.5, and before it ended: 2.0" in text
    assert "## What is not claimed" in text


def test_it_says_where_the_time_goes() -> None:
    shares = dict.fromkeys(SHARES, 0.0) | {"rules": 0.44, "pump": 0.56, "looks": 1234.0, "cpu_us": 12.34}
    text = page({"where": {**AROUND, "rows": {"W1": shares, "W4": shares}, "bare": {"hop": 1.25}}})
    assert "hops | 12.3 | 1.2 | 44% | 56% | 0% |" in text
    assert "one token: hops | 12.3 |  | 44% | 56% | 0% |" in text


def test_what_is_told_apart_is_what_the_page_tells() -> None:
    assert set(SHARES) == set(NAMES)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("/x/organism/kernel/hop.py", "rules"),
        ("/x/organism/organism.py", "pump"),
        ("<constructor of organism.record.facts.Ended>", "journal"),
        ("<constructor of __main__.Ping>", "payloads"),
        ("/x/site-packages/trio/_core/_run.py", "loop"),
        ("/x/site-packages/attr/_make.py", None),
        ("/usr/lib/python3.11/json/encoder.py", None),
    ],
)
def test_each_file_is_somebodys_but_for_those_of_python(file: str, name: str | None) -> None:
    assert name_of(file) == name


@pytest.mark.parametrize(
    ("values", "word"),
    [([5, 5], "flat"), ([10, 32], "less than linear"), ([10, 100], "linear"), ([10, 1000], "**more than linear**")],
)
def test_growth_is_told_by_its_last_step(values: list[float], word: str) -> None:
    assert said(slope([1, 10, 100], [1, *values])) == word
