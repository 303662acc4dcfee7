"""What is sent again under the id of a thread: the same gets that thread, anything else an error that names both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from organism import Context, Reply, payload
from organism.errors import IdTakenError
from organism.journal.pruning import Mark
from tests.durable.inline import Inline
from tests.hard.pump_world import Go, Odd, Said, code

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KINDS: Final = ("sqlite", "jsonl")
TEA: Final = Go("tea", 1)


async def shop(message: Go, ctx: Context) -> Reply[Said]:
    """Sells, some of it slowly."""
    await anyio.sleep(message.n)
    return Reply(Said(f"sold {message.text}"))


async def takes_both(message: Go | Odd, ctx: Context) -> Reply[Said]:
    """Sells as well."""
    return Reply(Said(f"other {message.text}"))


HANDLERS: Final = {"shop": code(shop), "other": code(takes_both)}


def organism(path: Path, kind: str, **keys: Any) -> Inline:
    journal = "memory:" if kind == "memory" else f"{kind}:{path / 'journal'}"
    given: dict[str, Any] = {"handlers": HANDLERS, "journal": journal, **keys}
    return Inline(name="test", **given)


async def refused(organism: Inline, to: str, message: Any, **how: Any) -> str:
    """Why this cannot be sent under the id ``w``."""
    with pytest.raises(IdTakenError) as raised:
        await organism.send(to, message, id="w", **how)
    assert raised.value.id == "w"
    return raised.value.why


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["memory", *KINDS])
async def test_a_thread_that_lives_is_had_by_what_began_it_alone(tmp_path: Path, kind: str) -> None:
    async with organism(tmp_path, kind) as first:
        handle = await first.send("shop", TEA, id="w", labels={"try": "1"})
        assert await first.send("shop", Go("tea", 1), id="w", labels={"try": "2"}, budget={"messages": 9}) is handle
        said = "is that of another message: {}; send this one under another id"
        assert await refused(first, "shop", Go("coffee", 1)) == said.format(
            "'text' of that Go is 'tea', of this one 'coffee'"
        )
        assert await refused(first, "shop", Go("tea", 2)) == said.format("'n' of that Go is 1, of this one 2")
        assert await refused(first, "other", TEA) == said.format("that one is for 'shop', this one for 'other'")
        assert await refused(first, "shop", Odd("tea")) == said.format("that one is of class Go, this one of class Odd")
        assert await refused(first, "shop", TEA, conversation="c") == said.format(
            "that one is in no conversation, this one in conversation 'c'"
        )
        assert (await handle.result()).reply == Said("sold tea")


@pytest.mark.anyio
@pytest.mark.parametrize("kind", KINDS)
async def test_a_thread_of_an_earlier_process_is_had_by_what_began_it_alone(tmp_path: Path, kind: str) -> None:
    why = "'text' of that Go is 'tea', of this one 'coffee'"
    async with organism(tmp_path, kind) as first:
        await first.send("shop", TEA, id="w")
    async with organism(tmp_path, kind) as second:  # that was left unfinished
        assert why in await refused(second, "shop", Go("coffee", 1))
        assert (await (await second.send("shop", TEA, id="w")).result()).reply == Said("sold tea")
        assert why in await refused(second, "shop", Go("coffee", 1))  # and has ended
    async with organism(tmp_path, kind) as third:
        assert why in await refused(third, "shop", Go("coffee", 1))
        assert (await (await third.send("shop", TEA, id="w")).result()).reply == Said("sold tea")
        assert third.usage().messages == 1


@pytest.mark.anyio
@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_refused_under_the_id_of_an_unfinished_thread_leaves_that_as_it_is(
    tmp_path: Path, kind: str
) -> None:
    async with organism(tmp_path, kind) as first:
        await (await first.send("shop", TEA, id="v")).result()
        await first.send("shop", TEA, id="w")
        await first.fork("v", at=1, id="f")
        await first.send("shop", TEA, id="u", conversation="c")
    async with organism(tmp_path, kind) as second:
        left = set(second.unfinished)
        assert left == {"w", "f", "conversation:c"}
        await refused(second, "shop", Go("coffee", 1))
        for id_ in ("f", "u"):
            with pytest.raises(IdTakenError):
                await second.send("other", TEA, id=id_)
        for id_, at in (("f", 2), ("w", 1), ("u", 1)):
            with pytest.raises(IdTakenError):
                await second.fork("v", at=at, id=id_)
        assert set(second.unfinished) == left
        assert second.thread_of("w") is None
        assert second.statistics().threads == 0
        fork = await second.fork("v", at=1, id="f")
        assert await second.fork("v", at=1, id="f") is fork
        assert set(second.unfinished) == {"w", "conversation:c"}
        assert (await fork.result()).outcome == "completed"


@pytest.mark.anyio
@pytest.mark.parametrize("kind", KINDS)
async def test_once_a_thread_is_pruned_nobody_knows_what_began_it(tmp_path: Path, kind: str) -> None:
    async with organism(tmp_path, kind) as first:
        await (await first.send("shop", TEA, id="w")).result()
    async with organism(tmp_path, kind) as second:
        works = second._works
        assert works is not None
        await works.ingress.prune(Mark(until=1e12))
        assert await second.ask("shop", Go("coffee", 1), id="w") == Said("sold coffee")


@pytest.mark.anyio
@pytest.mark.parametrize("kind", KINDS)
async def test_two_that_are_sent_at_once_under_one_id_are_compared(tmp_path: Path, kind: str) -> None:
    said: list[str] = []
    async with organism(tmp_path, kind) as first, anyio.create_task_group() as tasks:

        async def send(text: str) -> None:
            try:
                await first.send("shop", Go(text, 1), id="w")
            except IdTakenError:
                said.append(text)

        tasks.start_soon(send, "tea")
        tasks.start_soon(send, "coffee")
    assert len(said) == 1


ACCOUNTS: Final = {"tenant": {"messages": 100}}


@pytest.mark.anyio
@pytest.mark.parametrize("process", [1, 2])
async def test_a_tenant_does_not_get_the_thread_of_another_one(tmp_path: Path, process: int) -> None:
    acme: Mapping[str, Any] = {"accounts": {"tenant": "acme"}}
    async with organism(tmp_path, "sqlite", accounts=ACCOUNTS) as first:
        await (await first.send("shop", TEA, id="w", **acme)).result()
        await first.send("shop", Go("milk"), id="v", conversation="c", **acme)
        if process == 1:
            await compare(first)
    if process == 2:
        async with organism(tmp_path, "sqlite", accounts=ACCOUNTS) as second:
            await compare(second)


async def compare(organism: Inline) -> None:
    """Sends under both ids again."""
    acme: Mapping[str, Any] = {"accounts": {"tenant": "acme"}}
    for other in ({}, {"accounts": {"tenant": "evil"}}):
        said = await refused(organism, "shop", Go("coffee"), **other)
        assert said == "is that of another message: that one is under other accounts; send this one under another id"
    assert (await organism.send("shop", TEA, id="w", **acme)).id == "w"
    # A turn is under the accounts that its conversation began under, also where none are named.
    for how in ({}, acme):
        assert (await organism.send("shop", Go("milk"), id="v", conversation="c", **how)).id == "v"
    with pytest.raises(IdTakenError, match="that one is under other accounts"):
        await organism.send("shop", Go("milk"), id="v", conversation="c", accounts={"tenant": "evil"})
    with pytest.raises(IdTakenError, match="that one is in conversation 'c', this one in conversation 'd'"):
        await organism.send("shop", Go("milk"), id="v", conversation="d")


@pytest.mark.anyio
async def test_a_turn_is_had_again_by_the_name_that_its_conversation_began_with(tmp_path: Path) -> None:
    keys: Mapping[str, Any] = {"conversation": {"messages": 1, "on_cap": "rotate"}}
    async with organism(tmp_path, "sqlite", **keys) as first:
        for number in range(3):
            await (await first.send("shop", Go(str(number)), id=f"t{number}", conversation="c")).result()
    async with organism(tmp_path, "sqlite", **keys) as second:
        for number in range(3):
            again = await second.send("shop", Go(str(number)), id=f"t{number}", conversation="c")
            assert (await again.result()).reply == Said(f"sold {number}")


def ordering(**more: Any) -> Any:
    """A handler, and its payload class as it is in one version of a program."""
    Order: Any = payload(type("Order", (), {"__annotations__": {"item": str, **more}, "__module__": __name__}))  # noqa: N806

    async def order(message: Any, ctx: Context) -> Reply[Said]:
        """Orders."""
        return Reply(Said(message.item))

    order.__annotations__["message"] = Order
    return Order, {"handlers": {"shop": code(order)}}


@pytest.mark.anyio
async def test_a_class_that_has_changed_since_is_compared_as_it_reads_what_was_sent(tmp_path: Path) -> None:
    older, keys = ordering()
    async with organism(tmp_path, "sqlite", **keys) as first:
        await (await first.send("shop", older(item="tea"), id="w")).result()
    newer, keys = ordering(note=str | None)
    async with organism(tmp_path, "sqlite", **keys) as second:
        assert (await second.send("shop", newer(item="tea", note=None), id="w")).id == "w"
        assert "'note' of that Order is None, of this one 'new'" in await refused(
            second, "shop", newer(item="tea", note="new")
        )
    newest, keys = ordering(count=int)
    async with organism(tmp_path, "sqlite", **keys) as third:  # nobody knows what that one would say today
        assert (await third.send("shop", newest(item="coffee", count=2), id="w")).id == "w"


@pytest.mark.anyio
async def test_what_was_a_secret_may_have_been_anything(tmp_path: Path) -> None:
    key = "sk-proj-" + "aB3dE5fG7h" * 3
    async with organism(tmp_path, "sqlite") as first:
        await (await first.send("shop", Go(f"use {key}, and tea"), id="w")).result()
    async with organism(tmp_path, "sqlite") as second:
        assert (await second.send("shop", Go(f"use {key}, and tea"), id="w")).id == "w"
        for other in (f"use {key}, and coffee", f"take {key}, and tea", "use, and tea"):
            assert "'text' of that Go is 'use [secret], and tea'" in await refused(second, "shop", Go(other))


@pytest.mark.anyio
async def test_a_fork_is_had_again_by_its_origin_alone(tmp_path: Path) -> None:
    async with organism(tmp_path, "sqlite") as first:
        for id_ in ("w", "v"):
            await (await first.send("shop", TEA, id=id_)).result()
        fork = await first.fork("w", at=1, id="f")
        assert await first.fork("w", at=1, id="f") is fork
        assert await first.fork("w", id="f") is fork
        with pytest.raises(IdTakenError, match="that one is a fork of 'w' at 1, this one is of 'v'; choose another"):
            await first.fork("v", id="f")
        with pytest.raises(IdTakenError, match="that one is a fork of 'w' at 1, this one is of 'w' at 2"):
            await first.fork("w", at=2, id="f")
        with pytest.raises(IdTakenError, match="that one is no fork, this one is of 'w'"):
            await first.fork("w", id="v")
        assert (await first.send("shop", TEA, id="f")) is fork
        await fork.result()
