"""The laws of budgets in 200 threads at once, on three levels, under 20 accounts and a ceiling; ``benchmarks/soak.py`` is the long form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import pytest

from benchmarks.soak import THREADS, soak

if TYPE_CHECKING:
    from pathlib import Path

EACH: Final = 3


@pytest.mark.parametrize("accounting", ["strict", "estimate"])
@pytest.mark.by_turns
async def test_no_law_breaks_while_hundreds_of_calls_wait_overrun_are_cut_and_cancelled(
    accounting: Literal["strict", "estimate"], tmp_path: Path
) -> None:
    figures, broken = await soak(accounting, EACH, 1, tmp_path)
    assert broken == []
    # What it is about did happen.
    assert sum(figures[way] for way in ("answered", "refused", "failed", "cancelled")) == EACH * THREADS
    assert min(figures[what] for what in ("waited", "answered", "refused", "failed", "cancelled")) > 2
    assert {"sub-thread", "account"} <= figures["refused by"].keys()
    overrun = {kind for kind, beyond in figures["beyond"].items() if beyond}
    if accounting == "strict":
        assert (overrun, figures["said"]) == (set(), 0)
    else:
        assert "thread" in overrun
        assert figures["said"] > 2
