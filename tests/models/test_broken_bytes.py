"""Streams whose bytes break the readers above them: each comes to its end, whichever of them it was that broke."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Final

import pytest

from organism import ModelError
from tests.generators import left_half_way
from tests.models import anthropic_server, hostile

if TYPE_CHECKING:
    from collections.abc import Mapping

BEGUN: Final[Mapping[str, bytes]] = {
    "openai": hostile.events(hostile.word("Hel")),
    "anthropic": anthropic_server.events(anthropic_server.started(), *anthropic_server.words("Hel")),
}
"""The head of a stream, and its first words."""
BROKEN: Final[Mapping[str, bytes]] = {
    "no UTF-8": b'data: {"x": "\xff\xfe"}\n\n',
    "no JSON": b"event: content_block_delta\ndata: {nothing\n\n",
    "a number that is too large": b"event: content_block_delta\ndata: [" + b"9" * 5000 + b"]\n\n",
}


pytestmark = pytest.mark.sockets


def chunk(raw: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(raw), raw)


@pytest.mark.parametrize("provider", BEGUN)
@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.by_turns
async def test_what_cannot_be_read_leaves_no_reader_half_way(provider: str, broken: str) -> None:
    before = left_half_way()
    way = hostile.says(BEGUN[provider], chunk(BROKEN[broken]), hang=True)
    async with hostile.facing([way], backend={"provider": provider}) as (organism, _):
        async with organism.thread() as thread:
            with pytest.raises(ModelError, match=r"not JSON|broke"):
                async with thread.stream("Say hello.") as stream:
                    async for _ in stream:
                        pass
        assert left_half_way() == before


@pytest.mark.parametrize("provider", BEGUN)
async def test_what_cannot_be_unpacked_leaves_no_reader_half_way(provider: str) -> None:
    before = left_half_way()
    head, _, words = BEGUN[provider].partition(b"\r\n\r\n")
    packed = gzip.compress(words)
    broken = head + b"\r\ncontent-encoding: gzip\r\n\r\n" + chunk(packed[:12]) + chunk(b"\xff" * 40)
    async with hostile.facing([hostile.says(broken, hang=True)], backend={"provider": provider}) as (organism, _):
        async with organism.thread() as thread:
            with pytest.raises(ModelError):
                async with thread.stream("Say hello.") as stream:
                    async for _ in stream:
                        pass
        assert left_half_way() == before
