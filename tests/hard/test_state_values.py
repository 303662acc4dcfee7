"""What a handler may keep in its state: what any reader of JSON understands, and payloads (R7)."""

from __future__ import annotations

from typing import Any

import pytest

from organism import Context, Reply
from organism.testing import running
from tests.hard.pump_world import Go, Said, code

HALF = "which is not a character; write it as text.encode('utf-8', 'backslashreplace').decode()"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("n", float("nan"), "state['n']: nan cannot be kept; a float must be finite (None says that there is none)"),
        ("n", [1.5, {"a": float("-inf")}], "state['n']: -inf cannot be kept; a float must be finite (None says that"),
        ("t", "x\ud800", f"state['t'] holds a lone surrogate (U+D800) at index 1, {HALF}"),
        ("t", {"a": ["é", "\udfff"]}, f"state['t'] holds a lone surrogate (U+DFFF) at index 0, {HALF}"),
        ("t", {"\udc80": 1}, f"a key in state['t'] holds a lone surrogate (U+DC80) at index 0, {HALF}"),
        ("\udc80", 1, f"a key of state holds a lone surrogate (U+DC80) at index 0, {HALF}"),
    ],
)
async def test_what_no_payload_could_hold_is_refused_where_it_is_kept(key: str, value: Any, said: str) -> None:
    seen: list[Any] = []

    async def keep(message: Go, ctx: Context) -> Reply[Said]:
        ctx.state["before"] = ["é", 1.5, None, "\U0001f600"]
        try:
            ctx.state[key] = value
        except ValueError as error:
            return Reply(Said(str(error)))
        finally:
            seen.append(dict(ctx.state))
        return Reply(Said("was kept"))

    async with running(handlers={"keep": code(keep)}) as organism:
        assert (await organism.ask("keep", Go(), expect=Said)).text.startswith(said)
    assert seen == [{"before": ["é", 1.5, None, "\U0001f600"]}]
