"""Servers that send without end: no more of an answer is read than it can have, and what came is paid for."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import TYPE_CHECKING, Any, Final

import pytest

from organism import ModelError
from organism.models.transport.body import MOST, MOST_A_TOKEN, MOST_OF_A_REFUSAL
from tests.generators import left_half_way
from tests.models import anthropic_server, hostile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.models.hostile import Peer, Way

HELD: Final = 50
"""Tokens of output that a call of ``hostile`` asks for."""
BEGUN: Final[Mapping[str, bytes]] = {
    "openai": hostile.events(hostile.word("Hello")),
    "anthropic": anthropic_server.events(anthropic_server.started(), *anthropic_server.words("Hello")),
}
"""The head of a stream, and its first words."""
FILLER: Final = (b": " + b"nothing " * 1000 + b"\n\n") * 100


pytestmark = pytest.mark.sockets


def chunk(raw: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(raw), raw)


def endless(head: bytes, filler: bytes) -> Way:
    """Sends a head, and then its filler until nobody listens."""

    async def way(peer: Peer) -> None:
        await peer.request()
        await peer.send(head)
        while True:
            await peer.send(chunk(filler))

    return way


def said(raw: bytes, status: int = 200, **headers: object) -> Way:
    """Says this, in one piece."""
    return hostile.says(hostile.whole(raw, status, **headers), hang=True)


async def charged(way: Way, **backend: Any) -> tuple[str, int, int]:
    """What went wrong with a whole answer, what was charged for it, and what is still held."""
    async with hostile.facing([way], backend=backend) as (organism, _):
        async with organism.thread() as thread:
            with pytest.raises(ModelError) as caught:
                await thread.complete("Say hello.")
            tokens = thread.budget.tokens
        return str(caught.value), int(tokens.used), int(tokens.held)


@pytest.mark.parametrize("provider", BEGUN)
@pytest.mark.by_turns
async def test_a_whole_answer_without_end_is_read_up_to_a_bound_and_all_that_was_held_is_charged(provider: str) -> None:
    before = left_half_way()
    text, used, held = await charged(
        endless(hostile.head(transfer_encoding="chunked"), b"word " * 100_000), provider=provider
    )
    assert f"the answer is longer than {MOST:,} bytes" in text
    assert (used, held) == (hostile.estimate_of("Say hello.") + HELD, 0)
    assert left_half_way() == before


@pytest.mark.parametrize("provider", BEGUN)
@pytest.mark.by_turns
async def test_what_counts_is_what_comes_out_of_a_packed_answer(provider: str) -> None:
    packed = gzip.compress(b'{"choices": "' + b"a" * (MOST + 1))
    assert len(packed) < MOST / 900
    text, used, held = await charged(said(packed, content_encoding="gzip"), provider=provider)
    assert f"the answer is longer than {MOST:,} bytes" in text
    assert (used, held) == (hostile.estimate_of("Say hello.") + HELD, 0)


async def test_what_comes_behind_the_end_of_a_packed_answer_counts_too() -> None:
    head = hostile.head(transfer_encoding="chunked", content_encoding="gzip") + chunk(gzip.compress(b"{}"))
    text, _, _ = await charged(endless(head, b"\x00" * 500_000))
    assert "the answer is longer than" in text


async def test_an_answer_as_long_as_may_be_is_read_packed_or_not() -> None:
    document = json.dumps(hostile.answer("Hello")).encode()
    document += b" " * (MOST - len(document))
    packed = gzip.compress(document)
    for way in (said(document), said(packed, content_encoding="gzip"), said(document, content_encoding="identity")):
        async with hostile.facing([way]) as (organism, _), organism.thread() as thread:
            assert (await thread.complete("Say hello.")).text == "Hello"


async def test_only_what_was_asked_for_is_unpacked() -> None:
    text, _, held = await charged(said(zlib.compress(b"{}"), content_encoding="gzip, deflate"))
    assert "the answer is packed as 'gzip, deflate'; gzip was asked for" in text
    assert held == 0


@pytest.mark.parametrize("provider", BEGUN)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.by_turns
async def test_a_stream_without_end_is_cut_and_what_it_said_is_charged(provider: str, packed: bool) -> None:
    before = left_half_way()
    head, filler = BEGUN[provider], FILLER
    if packed:
        lines, _, body = head.partition(b"\r\n\r\n")
        packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
        head = lines + b"\r\ncontent-encoding: gzip\r\n\r\n"
        head += chunk(packer.compress(unchunked(body)) + packer.flush(zlib.Z_FULL_FLUSH))
        filler = packer.compress(filler) + packer.flush(zlib.Z_FULL_FLUSH)
    came: list[str] = []
    async with hostile.facing([endless(head, filler)], backend={"provider": provider}) as (organism, _):
        async with organism.thread() as thread:
            with pytest.raises(ModelError, match=f"longer than {MOST + HELD * MOST_A_TOKEN:,} bytes"):
                async with thread.stream("Say hello.") as stream:
                    came += [piece async for piece in stream]
            charge = thread.budget.tokens
        assert left_half_way() == before
    assert charge.held == 0
    if provider == "openai":  # the other has reported some input by then
        assert charge.used == hostile.estimate_of("Say hello.") + hostile.estimate("Hello")


def unchunked(body: bytes) -> bytes:
    """The bytes of a body that was sent in chunks."""
    found = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        found, body = found + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return found


@pytest.mark.parametrize("provider", BEGUN)
async def test_a_refusal_without_end_is_known_by_its_status_and_costs_nothing(provider: str) -> None:
    way = endless(hostile.head(503, transfer_encoding="chunked"), b"no " * 100_000)
    text, used, held = await charged(way, provider=provider)
    assert f"503: the answer is longer than {MOST_OF_A_REFUSAL:,} bytes" in text
    assert (used, held) == (0, 0)


@pytest.mark.parametrize("status", [200, 300, 400])
@pytest.mark.by_turns
async def test_no_encoding_is_read_that_takes_minutes(status: int) -> None:
    text, _, _ = await charged(said(b"9" * 1_000_000, status, content_type="text/plain; charset=punycode"))
    assert ("what it said cannot be read" if status != 200 else "the answer has no choices: 999") in text
