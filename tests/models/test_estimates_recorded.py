"""The law of estimates over real texts; ``benchmarks/estimates.py`` is the long form."""

from __future__ import annotations

from statistics import median

import pytest

from tests.models.recorded_world import FAMILIES, KINDS, Family, corpus, recorded


def _named(family: Family) -> str:
    return family.name


@pytest.mark.parametrize("family", FAMILIES, ids=_named)
def test_after_ten_calls_fewer_than_one_in_a_thousand_is_held_too_low_and_a_strict_one_never(family: Family) -> None:
    rows = recorded(family, seed=7, days=8, switches=1)
    assert len(rows) > 700
    assert {row.kind for row in rows} == set(KINDS)
    assert sum(row.error < -0.05 for row in rows) < len(rows) / 1000
    assert [row for row in rows if row.bound < row.real] == []


@pytest.mark.parametrize("family", FAMILIES, ids=_named)
def test_new_prompts_like_those_before_are_not_held_at_twice_their_truth(family: Family) -> None:
    rows = recorded(family, seed=8, days=0, switches=2, alike=True)
    for kind in ("prose", "code", "json", "japanese", "tools"):
        assert median(row.error for row in rows if row.kind == kind) < 1, kind


def test_what_was_recorded_has_every_kind() -> None:
    found = corpus()
    assert {*found.texts, "tools"} == set(KINDS)
    assert min(len(parts) for parts in found.texts.values()) >= 20
    assert min(len(found.tools), len(found.exchanges)) >= 30
    assert len(found.schemas) >= 8
    for parts in found.texts.values():
        for part in parts:
            assert len(part.tokens) == len(FAMILIES)
            assert max(part.tokens) <= len(part.message["content"].encode()) + 1
