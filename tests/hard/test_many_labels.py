"""Labels and tags that have no end: what is kept of them does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from organism import Context, Reply
from organism.kernel.sums import ALL, MOST, OTHERS, Sums
from organism.testing import running
from tests.compiled import interpreted
from tests.hard.budget_world import Done, Task, code, models, spender

if TYPE_CHECKING:
    import pytest


async def tagged(task: Task, ctx: Context) -> Reply[Done]:
    """Makes one call, tagged with what it is told."""
    await ctx.complete(".", max_output_tokens=50, tags=(task.text,))
    return Reply(Done("done"))


@interpreted
async def test_what_comes_late_counts_together_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("organism.kernel.sums.MOST", 3)
    async with running(handlers={"worker": code(tagged)}, models=models(spender())) as organism:
        for number in (*range(6), 0, 1):
            handle = await organism.send("worker", Task(f"tag {number}"), labels={"id": f"{number}"})
            await handle.result()
        whole: Any = organism.usage()
        for by, start in (("tag", "tag "), ("label:id", "")):
            found: Any = organism.usage(by=by)
            assert set(found) == {f"{start}0", f"{start}1", f"{start}2", OTHERS}
            assert sum(each.tokens for each in found.values()) == whole.tokens
            assert [found[f"{start}{number}"].model_calls for number in range(3)] == [2, 2, 1]
            assert found[OTHERS].model_calls == 3
        of_labels: Any = organism.usage(by="label")
        assert of_labels[f"id={OTHERS}"].messages == 3


def test_whatever_labels_are_called_they_have_an_end() -> None:
    sums = Sums()
    for number in range(3 * MOST):
        sums.tally("label", f"a={number}").add([1] * 6, [0] * 3)
        sums.tally("label", f"{number}=a").add([1] * 6, [0] * 3)
        sums.tally("tag", f"{number}").add([1] * 6, [0] * 3)
        sums.tally("account", f"tenant:{number}").add([1] * 6, [0] * 3)
    found = {kind: [name for each, name in sums.totals if each == kind] for kind in ("label", "tag", "account")}
    assert MOST < len(found["label"]) <= 2 * MOST + 1
    assert len(found["tag"]) == MOST + 1
    assert len(found["account"]) == 3 * MOST  # those are limited, each by itself
    for kind, count in (("label", 6), ("tag", 3)):
        amounts = [tally.amounts[0] for (each, _), tally in sums.totals.items() if each == kind]
        assert sum(amounts) == count * MOST
    assert sums.totals["label", f"a={OTHERS}"].amounts[0] > 2 * MOST
    assert sums.tally(*ALL).amounts == [0] * 6
