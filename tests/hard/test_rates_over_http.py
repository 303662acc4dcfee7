"""What a server says in its headers of its rate limits, over real connections: whole answers, streams and refusals."""

from __future__ import annotations

from typing import Any, Final

import anyio
import pytest

from tests.models.hostile import DONE, END, answer, facing, head, more, says, usage, whole, word

PER_MINUTE: Final = 1200
"""One every 50 ms; and 120 at once, as far as the organism knows."""
LEFT: Final = "x_ratelimit_remaining_requests"


pytestmark = pytest.mark.sockets


def streamed(**headers: Any) -> bytes:
    stream = head(content_type="text/event-stream", transfer_encoding="chunked", **headers)
    return stream + more(word("Hello"), word("", "stop"), usage(), DONE) + END


async def seconds_of(way: Any, *, stream: bool = False, calls: int = 3, **backend: Any) -> float:
    """How long some calls take, one after the other."""
    async with facing([way], backend=backend, retries=1) as (organism, _), organism.thread() as thread:
        began = anyio.current_time()
        for _ in range(calls):
            if stream:
                async with thread.stream("Hello?") as pieces:
                    assert [piece async for piece in pieces] == ["Hello"]
            else:
                assert (await thread.complete("Hello?")).text == "Hello"
        return anyio.current_time() - began


@pytest.mark.parametrize("stream", [False, True])
async def test_a_server_that_has_nothing_left_is_given_time(stream: bool) -> None:
    told = {LEFT: 0}
    way = says(streamed(**told)) if stream else says(whole(answer(), **told))
    assert await seconds_of(way, stream=stream, requests_per_minute=PER_MINUTE) >= 0.1


@pytest.mark.by_turns
async def test_what_is_left_in_plenty_changes_nothing_and_nonsense_neither() -> None:
    """Two calls go at once by the figure here, whatever the server says."""
    for left in (500, "lots", "-3"):
        told: dict[str, Any] = {LEFT: left}
        way = says(whole(answer(), **told))
        assert await seconds_of(way, calls=2, requests_per_minute=20) < 2.5


async def test_without_a_figure_of_ones_own_headers_hold_nobody_up() -> None:
    assert await seconds_of(says(whole(answer(), **{LEFT: 0})), calls=20) < 2


async def test_a_429_says_it_too() -> None:
    refused = says(whole({"error": {"message": "slow down"}}, 429, retry_after=0, **{LEFT: 0}))
    ways = iter([refused])
    fine = says(whole(answer()))

    async def way(peer: Any) -> None:
        await next(ways, fine)(peer)

    assert await seconds_of(way, calls=1, requests_per_minute=PER_MINUTE) >= 0.05
