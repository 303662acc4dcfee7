"""Calls that were out when their process ended count on limits that threads share, whoever goes on first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import BudgetExhaustedError, Context, Reply
from organism.testing import Says, ScriptedModel
from tests.durable.turns_world import Heard, Say, code, killed, sqlite

if TYPE_CHECKING:
    from pathlib import Path

    from tests.durable.turns_world import Talking

OTHERS: dict[str, Any] = {
    "ceiling": {"tokens": 1000, "window": "total"},
    "accounts": {"tenant": {"tokens": 1000, "window": "day"}},
}


async def spend(say: Say, ctx: Context) -> Reply[Heard]:
    """Asks for as many tokens as it is told."""
    try:
        completion = await ctx.complete("x", max_output_tokens=say.n)
    except BudgetExhaustedError as error:
        return Reply(Heard(f"{error.unit} of the {error.scope}"))
    return Reply(Heard(completion.text))


def spenders(folder: Path, shared: str) -> Talking:
    model = ScriptedModel(lambda request: Says(text="spent", seconds=5, usage=(10, request.max_output_tokens)))
    return sqlite(folder, handlers={"spend": code(spend)}, models=model.models(), **{shared: OTHERS[shared]})


@pytest.mark.parametrize("shared", OTHERS)
async def test_nobody_spends_what_a_call_may_have_cost_that_was_left_behind(tmp_path: Path, shared: str) -> None:
    under: dict[str, Any] = {"accounts": {"tenant": "acme"}} if shared == "accounts" else {}
    async with spenders(tmp_path / "0", shared) as organism:
        await organism.send("spend", Say(n=600), id="left", **under)
        await organism.send("spend", Say(n=100), id="small", **under)
        await anyio.sleep(1)
        left = killed(tmp_path / "0", "1")
    async with spenders(left, shared) as organism:
        assert set(organism.unfinished) == {"left", "small"}
        more = await organism.send("spend", Say(n=500), **under)
        assert "tokens of the" in (await more.result()).reply.text
        fits = await organism.send("spend", Say(n=100), **under)
        assert (await fits.result()).reply == Heard("spent")
        results = [await thread.result() for thread in await organism.resume()]
        assert {each.thread: each.usage.tokens // 100 for each in results} == {
            "left": 6,
            "small": 1,
        }  # there is no room to make them again
        name = "account:tenant:acme" if shared == "accounts" else ""
        node = organism.kernel.state.pools[name]
        usage: Any = organism.usage()
        assert usage.tokens == node.used[0] <= 1000
        assert not any(node.held)
