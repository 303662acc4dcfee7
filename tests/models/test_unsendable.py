"""Requests that cannot be sent as they are written: whoever wrote them hears of it, nobody pays, and nobody else is kept waiting."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest

from organism import ModelError
from organism.models.factories import check_backend
from organism.record.facts import CallSettled
from organism.settings import BackendSettings
from tests.models import anthropic_server, hostile

if TYPE_CHECKING:
    from collections.abc import Mapping

ECHOES: Final[Mapping[str, Any]] = {"openai": hostile.echo, "anthropic": anthropic_server.echo}
UNSENDABLE: Final[Mapping[str, tuple[dict[str, Any], str]]] = {
    "a header that is a number": ({"extra_headers": {"X-Team": 7}}, "extra_headers.X-Team: must be a text"),
    "a header of two lines": ({"extra_headers": {"X-Team": "a\nX-Other: b"}}, "extra_headers.X-Team: must be a text without"),
    "a header without a name": ({"extra_headers": {"X Team": "a"}}, "extra_headers: 'X Team' is not the name of a header"),
    "a name that is a number": ({"extra_headers": {7: "a"}}, "extra_headers: 7 is not the name of a header"),
    "headers that are none": ({"extra_headers": "X-Team: a"}, "extra_headers: must be a mapping"),
    "a query that is none": ({"extra_query": "a=b"}, "extra_query: must be a mapping"),
    "no number": ({"top_p": math.nan}, "the request cannot be written"),
}  # fmt: skip


pytestmark = pytest.mark.sockets


@pytest.mark.parametrize("provider", ECHOES)
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("what", UNSENDABLE)
@pytest.mark.by_turns
async def test_what_cannot_be_sent_costs_nothing_and_is_not_tried_again(
    provider: str, what: str, *, streamed: bool
) -> None:
    extra, said = UNSENDABLE[what]
    ways = [ECHOES[provider]] * 2
    async with hostile.facing(ways, retries=4, backend={"provider": provider}) as (organism, server):
        async with organism.thread() as thread:
            # More of them than a circuit bears of failures.
            for _ in range(6):
                with pytest.raises(ModelError, match="attempt 1") as caught:
                    if streamed:
                        async with thread.stream("Say hello.", extra=extra):
                            pass
                    else:
                        await thread.complete("Say hello.", extra=extra)
                assert said in str(caught.value)
                assert "attempt 2" not in str(caught.value)
            assert server.asked == 0
            assert (await thread.complete("And you?", max_output_tokens=5)).text == "And you?"
        *charged, _ = (fact.charge for fact in organism.watch.of(CallSettled))
        assert {(charge.input_tokens, charge.output_tokens) for charge in charged} == {(0, 0)}


@pytest.mark.parametrize("provider", ECHOES)
def test_what_the_file_has_beside_a_body_is_checked_before_anything_starts(provider: str) -> None:
    headers = {"X-Team": 7, "X Other": "a", "X-Lines": "a\r\nb", "X-Right": "a b\tc"}
    settings = BackendSettings(provider=provider, model="m", base_url="http://h", options={"extra_headers": headers})
    assert list(check_backend(settings, environ={})) == [
        "options.extra_headers.X-Team: must be a text, not a value of type int; write it in quotes",
        "options.extra_headers: 'X Other' is not the name of a header",
        "options.extra_headers.X-Lines: must be a text without line ends and other control characters",
    ]


@pytest.mark.parametrize("provider", ECHOES)
@pytest.mark.by_turns
async def test_an_option_that_nothing_can_write_costs_nothing(provider: str) -> None:
    backend = {"provider": provider, "options": {"user": object()}}
    async with hostile.facing([ECHOES[provider]], retries=4, backend=backend) as (organism, server):
        async with organism.thread() as thread:
            with pytest.raises(ModelError, match="cannot be written") as caught:
                await thread.complete("Say hello.")
            assert "attempt 2" not in str(caught.value)
        assert server.asked == 0
        (settled,) = organism.watch.of(CallSettled)
        assert (settled.charge.input_tokens, settled.charge.output_tokens) == (0, 0)


@pytest.mark.parametrize("accounting", ["estimate", "strict"])
@pytest.mark.parametrize("provider", ECHOES)
@pytest.mark.by_turns
async def test_an_option_that_an_sdk_has_a_form_for_is_sent_and_paid_for(provider: str, accounting: str) -> None:
    backend = {"provider": provider, "options": {"user": datetime(2026, 11, 1, tzinfo=UTC)}}
    async with hostile.facing([ECHOES[provider]], backend=backend) as (organism, server):
        async with organism.thread(budget={"tokens": 10_000, "accounting": accounting}) as thread:
            assert (await thread.complete("Say hello.", max_output_tokens=50)).text == "Say hello."
        assert server.asked == 1
