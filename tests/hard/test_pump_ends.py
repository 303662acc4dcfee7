"""A thread ends exactly once, with the gravest of what reached its root unhandled (R5); `state` lasts as long (R7)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import BudgetExhaustedError, Context, Forward, HandlerFailedError, Organism, Refused, Reply, Send
from organism.errors import RoutingError
from organism.primitives import HandlerFailed
from organism.record.facts import Ended
from organism.testing import Says, ScriptedModel, running
from tests.hard.pump_world import Go, Odd, Pile, Said, code, echo

if TYPE_CHECKING:
    from organism.testing import Watched


async def fails(message: Go, ctx: Context) -> None:
    """Fails with the code that its task names."""
    if message.n:
        await anyio.sleep(message.n)
    if message.text == "completed":
        return
    if message.text == "exhausted":
        raise BudgetExhaustedError("tokens", "thread", 1, 0, 1, 1)
    if message.text == "failed":
        raise Refused("no")
    raise HandlerFailedError(message.text, f"raised {message.text}")


def ends(organism: Watched) -> list[str]:
    return [fact.thread for fact in organism.watch.of(Ended)]


# Outcomes


@pytest.mark.parametrize(
    ("outcomes", "gravest"),
    [
        ("completed", "completed"),
        ("exhausted completed", "exhausted"),
        ("failed exhausted completed", "failed"),
        ("exhausted stopped failed", "stopped"),
        ("cancelled stopped failed exhausted completed", "cancelled"),
        ("completed exhausted failed stopped cancelled", "cancelled"),
    ],
)
async def test_the_gravest_of_what_nobody_handled_is_the_outcome(outcomes: str, gravest: str) -> None:
    async def root(message: Go, ctx: Context) -> list[Send[Go]]:
        return [Send("fails", Go(outcome)) for outcome in message.text.split()]

    async with running(handlers={"root": code(root, "fails"), "fails": code(fails)}) as organism:
        thread = await organism.send("root", Go(outcomes))
        result = await thread.result()
        assert result.outcome == gravest
        assert result.unit == ("tokens" if gravest == "exhausted" else None)
        assert (result.error is None) == (gravest == "completed")
        assert ends(organism) == [thread.id]


async def test_the_result_of_a_thread_that_has_ended_is_there_at_once() -> None:
    others: list[str] = []

    async def other() -> None:
        others.append("ran")

    async with running(handlers={"echo": code(echo)}) as organism:
        thread = await organism.send("echo", Go("x"))
        first = await thread.result()
        async with anyio.create_task_group() as group:
            group.start_soon(other)
            assert await thread.result() == first
            assert others == []
        with anyio.CancelScope() as scope:
            scope.cancel()
            await thread.result()
        assert scope.cancelled_caught


async def test_a_handle_that_is_printed_says_which_thread_it_is_and_how_it_ended() -> None:
    async with running(handlers={"echo": code(echo)}) as organism:
        thread = await organism.send("echo", Go("x"), id="first")
        assert repr(thread) == "<ThreadHandle first>"
        await thread.result()
        assert repr(thread) == "<ThreadHandle first, completed>"


async def test_an_organism_that_is_printed_says_which_it_is_and_whether_it_runs() -> None:
    organism = Organism(name="printed", handlers={"echo": code(echo)})
    assert repr(organism) == "<Organism 'printed', new>"
    async with organism:
        assert repr(organism) == "<Organism 'printed', running>"
    assert repr(organism) == "<Organism 'printed', closed>"


async def test_of_two_equally_grave_failures_the_first_is_told() -> None:
    async def root(message: Go, ctx: Context) -> list[Send[Go]]:
        return [Send("fails", Go("refused")), Send("fails", Go("crashed"))]

    async with running(handlers={"root": code(root, "fails"), "fails": code(fails)}) as organism:
        result = await (await organism.send("root", Go())).result()
        assert (result.outcome, result.code, result.error) == ("failed", "refused", "raised refused")


@pytest.mark.parametrize("outcome", ["failed", "exhausted", "stopped", "cancelled"])
async def test_what_a_handler_caught_does_not_count(outcome: str) -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        with pytest.raises(HandlerFailedError):
            await ctx.ask("fails", message)
        return Reply(Said("caught"))

    async with running(handlers={"root": code(root, "fails"), "fails": code(fails)}) as organism:
        result = await (await organism.send("root", Go(outcome))).result()
        assert (result.outcome, result.reply, result.error) == ("completed", Said("caught"), None)


@pytest.mark.parametrize("outcome", ["failed", "exhausted", "stopped", "cancelled"])
async def test_what_a_handler_answered_does_not_count(outcome: str) -> None:
    async def root(message: Go | HandlerFailed, ctx: Context) -> Send[Go] | Reply[Said]:
        return Send("fails", message) if isinstance(message, Go) else Reply(Said("answered"))

    async with running(handlers={"root": code(root, "fails"), "fails": code(fails)}) as organism:
        result = await (await organism.send("root", Go(outcome))).result()
        assert (result.outcome, result.reply, result.error) == ("completed", Said("answered"), None)


async def test_an_answer_beside_a_failed_branch_is_kept_and_the_outcome_is_failed() -> None:
    async def root(message: Go, ctx: Context) -> list[Any]:
        return [Reply(Said("early")), Send("fails", Go("failed"))]

    async with running(handlers={"root": code(root, "fails"), "fails": code(fails)}) as organism:
        result = await (await organism.send("root", Go())).result()
        assert (result.outcome, result.reply) == ("failed", Said("early"))
        assert await organism.ask("root", Go()) == Said("early")


async def test_an_answer_made_on_grace_is_exhausted() -> None:
    model = ScriptedModel([Says(text="all of it", usage=(900, 100)), Says(text="the last word", usage=(50, 5))])

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        await ctx.complete("x", max_output_tokens=900)
        with pytest.raises(BudgetExhaustedError):
            await ctx.complete("y", max_output_tokens=900)
        last = await ctx.complete("z", max_output_tokens=20, grace=True)
        return Reply(Said(last.text))

    async with running(
        handlers={"root": code(root)}, models=model.models(overhead=0), budget={"tokens": 1200}
    ) as organism:
        result = await (await organism.send("root", Go())).result()
        assert (result.outcome, result.unit, result.reply) == ("exhausted", "tokens", Said("the last word"))


# Exactly once


async def test_an_end_is_said_once_by_fact_result_and_log(caplog: pytest.LogCaptureFixture) -> None:
    """Hard case 12: cancelled twice, while a branch fails and another ends."""
    caplog.set_level(logging.INFO, "organism.threads")

    async def root(message: Go, ctx: Context) -> list[Send[Go]]:
        return [Send("fails", Go("failed", 5)), Send("echo", Go())]

    async with running(
        handlers={"root": code(root, "fails", "echo"), "fails": code(fails), "echo": code(echo)}
    ) as organism:
        thread = await organism.send("root", Go())
        await anyio.sleep(2)
        thread.cancel()
        thread.cancel()
        results = [await thread.result(), await thread.result()]
        assert results[0] is results[1]
        thread.cancel()
        await anyio.sleep(10)
        assert ends(organism) == [thread.id]
        lines = [record.getMessage() for record in caplog.records if record.name == "organism.threads"]
        assert len(lines) == 1
        assert lines[0].startswith(
            f"thread {thread.id} ended cancelled: 0 tokens, 0 USD, 0 model calls, 3 messages, 2.000 s"
        )


async def test_the_log_says_why_a_thread_did_not_complete(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "organism.threads")

    async def refuses(message: Go, ctx: Context) -> None:
        raise Refused(f"{message.text}\x1b[31m\n" + "x" * 400)

    async with running(handlers={"refuses": code(refuses), "echo": code(echo)}) as organism:
        for to in ("refuses", "echo"):
            await (await organism.send(to, Go("not today"))).result()
    failed, completed = [record.getMessage() for record in caplog.records if record.name == "organism.threads"]
    _, _, why = failed.partition(" s: ")
    assert why.startswith(r"not today\x1b[31m\nxxx")
    assert (why.endswith("x…"), len(why)) == (True, 300 + len(r"\x1b") - 1 + len(r"\n") - 1 + len("…"))
    assert completed.endswith(" s")


async def test_the_log_has_one_line_for_each_sub_thread_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "organism.threads")

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        await ctx.spawn("echo", message)
        return Reply(await ctx.ask("budgeted", message, expect=Said))

    handlers = {
        "root": code(root, "echo", "budgeted"),
        "echo": code(echo),
        "budgeted": code(echo, budget={"tokens": 10}),
    }
    async with running(handlers=handlers) as organism:
        await (await organism.send("root", Go())).result()
        lines = [record for record in caplog.records if record.name == "organism.threads"]
        assert [record.levelno for record in lines] == [logging.INFO] * 3
        assert sorted(str(record.args[0]) for record in lines if isinstance(record.args, tuple)) == sorted(
            ends(organism)
        )


async def test_an_end_takes_the_thread_out_of_the_live_registry() -> None:
    async with running(handlers={"echo": code(echo)}) as organism:
        thread = await organism.send("echo", Go(), id="mine")
        assert organism.thread_of("mine") is thread
        await thread.result()
        assert organism.thread_of("mine") is None
        assert thread.ended
        statistics = organism.statistics()
        assert (statistics.threads, statistics.queued, statistics.running, statistics.timers) == (0, 0, 0, 0)


async def test_looking_a_thread_up_never_makes_one() -> None:
    async with running(handlers={"echo": code(echo)}) as organism:
        assert organism.thread_of("nobody") is None
        assert organism.thread_of("") is None
        assert organism.statistics().threads == 0
        assert organism.watch.facts == []


async def test_a_name_that_is_like_none_is_answered_with_those_there_are() -> None:
    many = {f"h{number}": code(echo) for number in range(23)}
    async with running(handlers=many) as organism:
        with pytest.raises(RoutingError) as caught:
            await organism.send("nobody", Go())
    told = ", ".join(tuple(many)[:20])
    assert str(caught.value) == f"'nobody' is not a handler; there are: {told} and 3 more"


async def test_a_keyword_that_asking_does_not_take_is_told_with_those_it_takes() -> None:
    async with running(handlers={"echo": code(echo)}) as organism:
        with pytest.raises(TypeError) as caught:
            await organism.ask("echo", Go(), timeout=5)  # type: ignore[call-overload]
    assert str(caught.value) == (
        "ask() takes no keyword timeout; there are: accounts, budget, conversation, expect, id, labels; "
        "for a time limit, put the call into `anyio.fail_after(seconds)`"
    )


async def test_what_may_not_enter_opens_nothing() -> None:
    async with running(handlers={"echo": code(echo)}, ceiling={"messages": 1}) as organism:
        with pytest.raises(RoutingError, match="'ecko' is not a handler; did you mean 'echo'"):
            await organism.send("ecko", Go())
        with pytest.raises(RoutingError, match="'echo' takes Go, not Odd"):
            await organism.send("echo", Odd())
        with pytest.raises(RoutingError, match="'echo' takes Go, not str"):
            await organism.send("echo", "text")
        with pytest.raises(RoutingError, match="an address is the name of a handler, not None"):
            await organism.send(None, Go())  # type: ignore[arg-type]
        with pytest.raises(BudgetExhaustedError):
            await organism.send("echo", Go(), budget={"messages": 0})
        assert organism.statistics().threads == 0
        assert organism.watch.facts == []
        assert await organism.ask("echo", Go("in")) == Said("in")
        with pytest.raises(BudgetExhaustedError):
            await organism.send("echo", Go())


async def test_sending_with_the_id_of_a_live_thread_sends_nothing() -> None:
    async def slow(message: Go, ctx: Context) -> Reply[Said]:
        await anyio.sleep(10)
        return Reply(Said(message.text))

    async with running(handlers={"slow": code(slow)}) as organism:
        first = await organism.send("slow", Go("first"), id="webhook-17")
        again = await organism.send("slow", Go("first"), id="webhook-17")
        assert again is first
        assert (await again.result()).reply == Said("first")
        later = await organism.send("slow", Go("later"), id="webhook-17")
        assert (await later.result()).reply == Said("later")


async def test_two_that_wait_for_room_with_the_same_id_are_one() -> None:
    async def slow(message: Go, ctx: Context) -> Reply[Said]:
        await anyio.sleep(10)
        return Reply(Said(message.text))

    async with running(handlers={"slow": code(slow, concurrency=1)}, queue=1) as organism:
        for _ in range(2):
            await organism.send("slow", Go("before"))
            await anyio.sleep(0.1)
        results: list[Any] = []

        async def one() -> None:
            thread = await organism.send("slow", Go("same"), id="same")
            results.append(await thread.result())

        async with anyio.create_task_group() as group:
            group.start_soon(one)
            group.start_soon(one)
        assert results[0] is results[1]
        assert organism.usage().messages == 3


async def test_the_id_of_a_thread_may_look_like_that_of_a_sub_thread() -> None:
    started = anyio.Event()

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        await started.wait()
        handle = await ctx.spawn("echo", message)
        result = await handle.result()
        return Reply(Said(f"{result.reply.text} in {handle.id != ctx.thread}"))

    async with running(handlers={"root": code(root, "echo"), "echo": code(echo)}) as organism:
        first = await organism.send("root", Go("one"), id="x")
        rivals = [await organism.send("root", Go("other"), id=f"x.{number}") for number in range(4)]
        started.set()
        for thread, text in [(first, "one"), *((rival, "other") for rival in rivals)]:
            assert (await thread.result()).reply == Said(f"{text} in True")
        assert len(set(ends(organism))) == 10


@pytest.mark.parametrize("name", [".", "..", "a/b", "a_b", "", "x" * 10_000, "ünïcödé ✓", "a\nb"])
async def test_a_thread_may_have_any_id(name: str) -> None:
    async with running(handlers={"echo": code(echo)}) as organism:
        thread = await organism.send("echo", Go("hi"), id=name)
        assert (await thread.result()).reply == Said("hi")
        assert not name or thread.id == name


# Sub-threads


async def test_a_thread_ends_after_all_that_it_spawned() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        await ctx.spawn("slow", message)
        return Reply(Said("spawned"))

    async def slow(message: Go, ctx: Context) -> Reply[Said]:
        await anyio.sleep(10)
        return Reply(Said("slow"))

    async with running(handlers={"root": code(root, "slow"), "slow": code(slow)}) as organism:
        thread = await organism.send("root", Go())
        result = await thread.result()
        assert result.usage.seconds == pytest.approx(10)
        assert result.replies == (("root", Said("spawned")),)
        assert [(each.handler, each.reply) for each in result.threads] == [("slow", Said("slow"))]
        assert ends(organism) == [result.threads[0].thread, thread.id]


async def test_a_failed_spawn_does_not_fail_its_spawner() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        handle = await ctx.spawn("fails", Go("refused"))
        result = await handle.result()
        return Reply(Said(f"{result.outcome} {result.code}"))

    async with running(handlers={"root": code(root, "fails"), "fails": code(fails)}) as organism:
        result = await (await organism.send("root", Go())).result()
        assert (result.outcome, result.reply) == ("completed", Said("failed refused"))


async def test_a_shared_sub_thread_ends_with_the_thread_that_called_it() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        texts = [(await ctx.ask("worker", Go(str(number)), expect=Said)).text for number in range(3)]
        await anyio.sleep(1)
        assert organism.statistics().threads == 2
        return Reply(Said(" ".join(texts)))

    async def worker(message: Go, ctx: Context) -> Reply[Said]:
        ctx.state["calls"] = ctx.state.get("calls", 0) + 1
        return Reply(Said(f"{message.text}/{ctx.state['calls']}"))

    handlers = {"root": code(root, "worker"), "worker": code(worker, budget={"tokens": 100}, per="thread")}
    async with running(handlers=handlers) as organism:
        thread = await organism.send("root", Go())
        result = await thread.result()
        assert result.reply == Said("0/1 1/2 2/3")
        assert [each.usage.messages for each in result.threads] == [3]
        assert ends(organism) == [result.threads[0].thread, thread.id]


async def test_calls_of_one_answer_share_one_sub_thread() -> None:
    async def root(message: Go | Said, ctx: Context) -> Any:
        return [Send("worker", message), Send("worker", message)] if isinstance(message, Go) else Reply(message)

    handlers = {"root": code(root, "worker"), "worker": code(echo, budget={"tokens": 100}, per="thread")}
    async with running(handlers=handlers) as organism:
        result = await (await organism.send("root", Go("x"))).result()
        assert [each.usage.messages for each in result.threads] == [2]
        assert len(result.replies) == 2


async def test_a_forward_into_a_budget_of_its_own_answers_for_its_caller() -> None:
    async def root(message: Go, ctx: Context) -> Forward[Go]:
        return Forward("worker", message)

    handlers = {"root": code(root, "worker"), "worker": code(echo, budget={"tokens": 100})}
    async with running(handlers=handlers) as organism:
        result = await (await organism.send("root", Go("x"))).result()
        assert result.replies == (("worker", Said("x")),)
        assert (result.outcome, [each.outcome for each in result.threads]) == ("completed", ["completed"])


# What a handler remembers


async def test_state_is_kept_between_deliveries_of_one_handler_in_one_thread() -> None:
    async def root(message: Go | Said, ctx: Context) -> Any:
        ctx.state["seen"] = [*ctx.state.get("seen", []), type(message).__name__]
        return Send("echo", message) if isinstance(message, Go) else Reply(Said(" ".join(ctx.state["seen"])))

    async def echo_with_state(message: Go, ctx: Context) -> Reply[Said]:
        assert dict(ctx.state) == {}  # another handler's
        ctx.state["mine"] = True
        return Reply(Said())

    async with running(handlers={"root": code(root, "echo"), "echo": code(echo_with_state)}) as organism:
        assert await organism.ask("root", Go()) == Said("Go Said")
        assert await organism.ask("root", Go()) == Said("Go Said")  # another thread's


@pytest.mark.parametrize("how", ["raises", "strays", "dawdles", "babbles"])
async def test_a_failed_delivery_leaves_no_trace_in_state(how: str) -> None:
    """Hard case 40."""

    async def worse(message: Go, ctx: Context) -> Any:
        ctx.state["count"] += 1
        ctx.state["list"].append("lost")
        del ctx.state["list"]
        ctx.state["new"] = 1
        match how:
            case "raises":
                raise ValueError
            case "strays":
                return Send("stranger", message)
            case "dawdles":
                await anyio.sleep(100)
        return "nonsense"

    async def first(message: Go | HandlerFailed, ctx: Context) -> Any:
        if isinstance(message, HandlerFailed):
            return Reply(Said(f"{ctx.state['count']} {sorted(ctx.state)} {ctx.state['list']}"))
        if message.n:
            return await worse(message, ctx)
        ctx.state["count"] = 1
        ctx.state["list"] = ["a"]
        return Send("first", Go(n=1))

    async with running(handlers={"first": code(first, timeout=5)}) as organism:
        assert await organism.ask("first", Go()) == Said("1 ['count', 'list'] ['a']")


async def test_what_is_read_from_state_is_a_copy_and_so_is_what_is_written() -> None:
    async def root(message: Go | Said, ctx: Context) -> Any:
        if isinstance(message, Go):
            mine = ["a", {"deep": [1]}]
            ctx.state["list"] = mine
            mine.append("outside")
            ctx.state["list"].append("read")
            assert ctx.state["list"] == ["a", {"deep": [1]}]
            return Send("echo", message)
        kept = ctx.state["list"]
        kept[1]["deep"].append(2)
        assert ctx.state["list"] == ["a", {"deep": [1]}]
        return Reply(message)

    async with running(handlers={"root": code(root, "echo"), "echo": code(echo)}) as organism:
        assert await organism.ask("root", Go("fine")) == Said("fine")


async def test_state_holds_json_values_and_payloads_and_refuses_the_rest() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        good: dict[str, Any] = {
            "n": 1,
            "x": 1.5,
            "b": True,
            "none": None,
            "t": "t",
            "p": Pile(items=["a"]),
            "l": [Go()],
        }
        ctx.state.update(good)
        assert dict(ctx.state) == good
        ctx.state["tuple"] = (1, (2,))
        assert ctx.state["tuple"] == [1, [2]]
        for wrong in ({1, 2}, object(), b"bytes", {1: "a"}, [print]):
            with pytest.raises(TypeError):
                ctx.state["wrong"] = wrong
        with pytest.raises(TypeError):
            ctx.state[1] = "a"  # type: ignore[index]
        with pytest.raises(KeyError):
            del ctx.state["never"]
        with pytest.raises(KeyError):
            ctx.state["never"]
        del ctx.state["n"]
        assert "n" not in ctx.state
        assert "wrong" not in ctx.state
        assert len(ctx.state) == len(good)
        return Reply(Said())

    async with running(handlers={"root": code(root)}) as organism:
        result = await (await organism.send("root", Go())).result()
        assert (result.outcome, result.error) == ("completed", None)


async def test_state_is_empty_in_a_sub_thread_and_does_not_come_back() -> None:
    async def root(message: Go, ctx: Context) -> Any:
        if message.n == 2:
            return Reply(Said(str(ctx.state.get("seen"))))
        if message.n == 1:
            assert "seen" not in ctx.state
            ctx.state["seen"] = "inside"
            return Reply(Said())
        ctx.state["seen"] = "outside"
        return Send("middle", message)

    async def middle(message: Go | Said, ctx: Context) -> Any:
        if isinstance(message, Go):
            await ctx.ask("inner", message)
        return Send("root", Go(n=2)) if isinstance(message, Go) else Reply(message)

    async def inner(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(await ctx.ask("root", Go(n=1), expect=Said))

    async def top(message: Go | Said, ctx: Context) -> Any:
        return Reply(message) if isinstance(message, Said) else Send("root", message)

    async def both(message: Go | Said, ctx: Context) -> Any:
        return await root(message, ctx) if isinstance(message, Go) else Reply(message)

    handlers = {
        "top": code(top, "root"),
        "root": code(both, "middle"),
        "middle": code(middle, "inner", "root"),
        "inner": code(inner, "root", budget={"messages": 10}),
    }
    async with running(handlers=handlers) as organism:
        assert await organism.ask("top", Go()) == Said("outside")


async def test_state_that_is_changed_after_the_delivery_is_no_part_of_it() -> None:
    kept: list[Any] = []

    async def root(message: Go | Said, ctx: Context) -> Any:
        if isinstance(message, Go):
            ctx.state["count"] = 1
            kept.append(ctx.state)
            return Send("echo", message)
        with pytest.raises(Exception, match="over"):
            kept[0]["count"] = 2
        return Reply(Said(str(ctx.state["count"])))

    async with running(handlers={"root": code(root, "echo"), "echo": code(echo)}) as organism:
        assert await organism.ask("root", Go()) == Said("1")
