"""Frames and their one reply, failures that climb, cycles: R1 to R3, sentence by sentence, through the real pump."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest

from organism import Context, Forward, HandlerFailedError, Refused, Reply, Send, UnexpectedReplyError
from organism.primitives import HandlerFailed
from organism.record.facts import Answered, CameLate, Failed
from organism.testing import running
from tests.hard.pump_world import Go, Odd, Pile, Said, code, echo

if TYPE_CHECKING:
    from organism import Organism
    from organism.testing import Watch


def steps_of(watch: Watch, kind: type[Any]) -> list[Any]:
    return [step for fact in watch.facts for step in fact.steps if isinstance(step, kind)]


def failures(watch: Watch) -> list[tuple[str, str]]:
    return [(fact.handler, fact.failure.code) for fact in watch.of(Failed)]


async def silent(message: Go, ctx: Context) -> None:
    return None


# R1: frames and their one reply


async def test_all_replies_of_a_root_frame_leave_in_order() -> None:
    async def root(message: Go, ctx: Context) -> list[Reply[Said]]:
        return [Reply(Said("a")), Reply(Said("b")), Reply(Said("c"))]

    async with running(handlers={"root": code(root)}) as organism:
        result = await (await organism.send("root", Go())).result()
        assert [each.text for _, each in result.replies] == ["a", "b", "c"]
        assert result.reply == Said("a")
        assert result.outcome == "completed"


async def test_replies_of_a_root_frame_in_later_deliveries_leave_too() -> None:
    async def root(message: Go | Said, ctx: Context) -> list[Any]:
        if isinstance(message, Go):
            return [Reply(Said("first")), Send("echo", Go("second"))]
        return [Reply(message)]

    async with running(handlers={"root": code(root, "echo"), "echo": code(echo)}) as organism:
        result = await (await organism.send("root", Go())).result()
        assert [each.text for _, each in result.replies] == ["first", "second"]


async def test_two_replies_in_one_answer_below_the_root_refuse_that_answer() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        with pytest.raises(HandlerFailedError) as caught:
            await ctx.ask("twice", Go())
        return Reply(Said(f"{caught.value.code}: {caught.value.text}"))

    async def twice(message: Go, ctx: Context) -> list[Any]:
        return [Send("echo", Go("never")), Reply(Said("a")), Reply(Said("b"))]

    handlers = {"root": code(root, "twice"), "twice": code(twice, "echo"), "echo": code(echo)}
    async with running(handlers=handlers) as organism:
        said = await organism.ask("root", Go(), expect=Said)
        assert said.text == "validation: 'twice' answered its caller 2 times at once; a frame replies once"
        assert organism.usage("handler").get("echo") is None


async def test_a_reply_and_a_forward_in_one_answer_are_two_answers() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        with pytest.raises(HandlerFailedError) as caught:
            await ctx.ask("both", Go())
        return Reply(Said(caught.value.code))

    async def both(message: Go, ctx: Context) -> list[Any]:
        return [Reply(Said("a")), Forward("echo", Go("b"))]

    handlers = {"root": code(root, "both"), "both": code(both, "echo"), "echo": code(echo)}
    async with running(handlers=handlers) as organism:
        assert await organism.ask("root", Go(), expect=Said) == Said("validation")


async def test_a_second_reply_in_a_later_delivery_is_late_and_changes_no_outcome() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        reply = await ctx.ask("twice", Go(), expect=Said)
        await anyio.sleep(1)
        return Reply(reply)

    async def twice(message: Go | Said, ctx: Context) -> list[Any]:
        if isinstance(message, Said):
            return [Reply(Said("second"))]
        return [Reply(Said("first")), Send("echo", Go("x"))]

    handlers = {"root": code(root, "twice"), "twice": code(twice, "echo"), "echo": code(echo)}
    async with running(handlers=handlers) as organism:
        result = await (await organism.send("root", Go())).result()
        assert (result.outcome, result.reply, len(result.replies)) == ("completed", Said("first"), 1)
        late = steps_of(organism.watch, CameLate)
        assert [step.payload for step in late] == [Said("second")]


async def test_a_second_reply_to_a_send_is_late() -> None:
    heard: list[str] = []

    async def root(message: Go | Said, ctx: Context) -> Send[Go] | None:
        if isinstance(message, Go):
            return Send("twice", message)
        heard.append(message.text)
        return None

    async def twice(message: Go | Said, ctx: Context) -> list[Any]:
        if isinstance(message, Said):
            return [Reply(Said("second"))]
        return [Reply(Said("first")), Send("echo", Go("x"))]

    handlers = {"root": code(root, "twice"), "twice": code(twice, "echo"), "echo": code(echo)}
    async with running(handlers=handlers) as organism:
        result = await (await organism.send("root", Go())).result()
        assert heard == ["first"]
        assert result.outcome == "completed"
        assert len(steps_of(organism.watch, CameLate)) == 1


async def test_forward_replaces_the_frame_for_an_asker() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(await ctx.ask("first", message, expect=Said))

    async def first(message: Go, ctx: Context) -> Forward[Go]:
        return Forward("second", message)

    async def second(message: Go, ctx: Context) -> Forward[Go]:
        return Forward("echo", Go(f"{message.text} by {ctx.sender}"))

    handlers = {
        "root": code(root, "first"),
        "first": code(first, "second"),
        "second": code(second, "echo"),
        "echo": code(echo),
    }
    async with running(handlers=handlers) as organism:
        assert await organism.ask("root", Go("hi"), expect=Said) == Said("hi by first")


async def test_the_reply_after_a_forward_goes_to_the_sender_in_its_own_frame() -> None:
    heard: list[tuple[str, str]] = []

    async def root(message: Go | Said, ctx: Context) -> Send[Go] | Reply[Said]:
        if isinstance(message, Go):
            return Send("first", message)
        heard.append((ctx.sender, message.text))
        return Reply(message)

    async def first(message: Go, ctx: Context) -> Forward[Go]:
        return Forward("echo", message)

    handlers = {"root": code(root, "first"), "first": code(first, "echo"), "echo": code(echo)}
    async with running(handlers=handlers) as organism:
        result = await (await organism.send("root", Go("hi"))).result()
        assert heard == [("echo", "hi")]
        assert result.replies == (("root", Said("hi")),)


async def test_forward_keeps_the_depth() -> None:
    async def hop(message: Go, ctx: Context) -> Forward[Go] | Reply[Said]:
        return Forward("hop", Go(n=message.n - 1)) if message.n else Reply(Said("there"))

    async with running(handlers={"hop": code(hop)}, budget={"depth": 2, "messages": 200}) as organism:
        assert await organism.ask("hop", Go(n=100)) == Said("there")


async def test_forward_at_the_root_lets_replies_leave() -> None:
    async def root(message: Go, ctx: Context) -> list[Any]:
        return [Reply(Said("mine")), Forward("echo", Go("theirs"))]

    async with running(handlers={"root": code(root, "echo"), "echo": code(echo)}) as organism:
        result = await (await organism.send("root", Go())).result()
        assert result.replies == (("root", Said("mine")), ("echo", Said("theirs")))


async def test_a_forward_by_a_frame_that_has_answered_brings_a_late_reply() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        reply = await ctx.ask("first", message, expect=Said)
        await anyio.sleep(1)
        return Reply(reply)

    async def first(message: Go | Said, ctx: Context) -> list[Any]:
        if isinstance(message, Said):
            return [Forward("echo", Go("late"))]
        return [Reply(Said("in time")), Send("echo", Go())]

    handlers = {"root": code(root, "first"), "first": code(first, "echo"), "echo": code(echo)}
    async with running(handlers=handlers) as organism:
        result = await (await organism.send("root", Go())).result()
        assert result.replies == (("root", Said("in time")),)
        assert [step.payload for step in steps_of(organism.watch, CameLate)] == [Said("late")]


async def test_a_fan_out_by_send_is_gathered_in_the_senders_frame() -> None:
    async def root(message: Go | Said, ctx: Context) -> list[Any]:
        if isinstance(message, Go):
            return [Send("echo", Go(letter)) for letter in "abcde"]
        ctx.state["heard"] = [*ctx.state.get("heard", []), message.text]
        heard = ctx.state["heard"]
        return [Reply(Said("".join(heard)))] if len(heard) == 5 else []

    async with running(handlers={"root": code(root, "echo"), "echo": code(echo)}) as organism:
        result = await (await organism.send("root", Go())).result()
        assert result.replies == (("root", Said("abcde")),)
        assert result.usage.messages == 11


async def test_a_thread_ends_when_its_last_branch_ends() -> None:
    """Hard case 8: one of two branches answers nothing first."""

    async def root(message: Go, ctx: Context) -> list[Send[Go]]:
        return [Send("silent", message), Send("slow", message)]

    async def slow(message: Go, ctx: Context) -> None:
        await anyio.sleep(100)

    handlers = {"root": code(root, "silent", "slow"), "silent": code(silent), "slow": code(slow, timeout=None)}
    async with running(handlers=handlers) as organism:
        thread = await organism.send("root", Go())
        with anyio.move_on_after(99):
            await thread.result()
        assert not thread.ended
        result = await thread.result()
        assert (result.outcome, result.replies) == ("completed", ())
        assert result.usage.seconds == pytest.approx(100)


# All of an answer or nothing of it


async def test_nothing_of_an_answer_happens_where_one_part_may_not() -> None:
    """Hard case 44: a Forward beside a Send to a non-peer; the thread still ends."""

    async def root(message: Go, ctx: Context) -> list[Any]:
        ctx.state["tried"] = True
        return [Reply(Said("never")), Forward("echo", message), Send("stranger", message)]

    handlers = {"root": code(root, "echo"), "echo": code(echo), "stranger": code(echo)}
    async with running(handlers=handlers) as organism:
        result = await (await organism.send("root", Go())).result()
        assert (result.outcome, result.code, result.replies) == ("failed", "routing", ())
        assert result.usage.messages == 1
        assert failures(organism.watch) == [("root", "routing")]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([Send("echo", Go()), Send("nobody", Go())], "routing: 'nobody' is not a peer of 'root'"),
        ([Send("echo", Go()), Send("eho", Go())], "routing: 'eho' is not a peer of 'root'; did you mean 'echo'?"),
        ([Send("echo", Go()), Send("echo", Odd())], "validation: 'echo' takes Go, not Odd"),
        ([Send("echo", Go()), Send("echo", "text")], "validation: str is not a payload; send a value of a class that is declared with @payload"),
        ([Send("echo", Go()), Reply(HandlerFailed("crashed", "forged"))], "validation: only the organism itself sends HandlerFailed"),
        ([Send("echo", Go()), Go()], "validation: 'root' answered with Go; a handler answers with None, Reply, Send or Forward"),
        ([Send("echo", Go()), None], "validation: 'root' answered with NoneType; a handler answers with None, Reply, Send or Forward"),
        ([Send("echo", Go()), Send(cast("Any", None), Go())], "routing: an address is the name of a handler, not None"),
        ([Send("echo", Go()), Send(cast("Any", ["echo"]), Go())], "routing: an address is the name of a handler, not ['echo']"),
        (
            Go(),
            "validation: a handler answers with None, Reply, Send, Forward or several of them, not Go; write Reply(Go(...))",
        ),
        ("done", "validation: a handler answers with None, Reply, Send, Forward or several of them, not str"),
        (True, "validation: a handler answers with None, Reply, Send, Forward or several of them, not bool"),
        ({"to": "echo"}, "validation: a handler answers with None, Reply, Send, Forward or several of them, not dict"),
        (Reply, "validation: a handler answers with None, Reply, Send, Forward or several of them, not type"),
    ],
)  # fmt: skip
async def test_a_bad_answer_fails_whole(answer: Any, said: str) -> None:
    async def root(message: Go, ctx: Context) -> Any:
        return answer

    async with running(handlers={"root": code(root, "echo"), "echo": code(echo)}) as organism:
        result = await (await organism.send("root", Go())).result()
        assert (result.outcome, f"{result.code}: {result.error}") == ("failed", said)
        assert result.usage.messages == 1


async def test_answers_may_come_from_a_generator_and_one_that_raises_crashes_alone() -> None:
    async def root(message: Go, ctx: Context) -> Any:
        def answers() -> Any:
            yield Reply(Said("a"))
            if message.n:
                raise ValueError("half way")
            yield Reply(Said("b"))

        return answers()

    async with running(handlers={"root": code(root)}) as organism:
        good = await (await organism.send("root", Go())).result()
        assert [each.text for _, each in good.replies] == ["a", "b"]
        bad = await (await organism.send("root", Go(n=1))).result()
        assert (bad.outcome, bad.error, bad.replies) == ("failed", "ValueError: half way", ())


# R2: who hears what


async def test_none_at_the_root_simply_ends() -> None:
    async with running(handlers={"silent": code(silent)}) as organism:
        result = await (await organism.send("silent", Go())).result()
        assert (result.outcome, result.replies, result.error) == ("completed", (), None)
        with pytest.raises(HandlerFailedError) as caught:
            await organism.ask("silent", Go())
        assert caught.value.code == "no_reply"


async def test_an_asker_hears_no_reply_and_a_sender_nothing() -> None:
    calls: list[str] = []

    async def root(message: Go, ctx: Context) -> Any:
        calls.append(type(message).__name__)
        with pytest.raises(HandlerFailedError) as caught:
            await ctx.ask("silent", message)
        return [Send("silent", message), Reply(Said(caught.value.code))]

    async with running(handlers={"root": code(root, "silent"), "silent": code(silent)}) as organism:
        result = await (await organism.send("root", Go())).result()
        assert (result.outcome, result.reply, calls) == ("completed", Said("no_reply"), ["Go"])


async def test_no_reply_comes_when_the_whole_frame_has_closed() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        start = ctx.now()
        with pytest.raises(HandlerFailedError) as caught:
            await ctx.ask("middle", message)
        return Reply(Said(f"{caught.value.code} at {(ctx.now() - start).total_seconds():g}"))

    async def middle(message: Go | Said, ctx: Context) -> Send[Go] | None:
        return Send("slow", message) if isinstance(message, Go) else None

    async def slow(message: Go, ctx: Context) -> Reply[Said]:
        await anyio.sleep(5)
        return Reply(Said("ignored"))

    handlers = {"root": code(root, "middle"), "middle": code(middle, "slow"), "slow": code(slow)}
    async with running(handlers=handlers) as organism:
        assert await organism.ask("root", Go()) == Said("no_reply at 5")


async def test_a_reply_to_an_ask_is_no_new_message() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(await ctx.ask("echo", message, expect=Said))

    async with running(handlers={"root": code(root, "echo"), "echo": code(echo)}) as organism:
        result = await (await organism.send("root", Go("x"))).result()
        assert result.usage.messages == 2


async def test_a_reply_that_its_sender_does_not_take_fails_the_senders_frame() -> None:
    called: list[str] = []

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        with pytest.raises(HandlerFailedError) as caught:
            await ctx.ask("middle", message)
        return Reply(Said(f"{caught.value.code}: {caught.value.text}"))

    async def middle(message: Go, ctx: Context) -> Send[Go]:
        called.append(type(message).__name__)
        return Send("echo", message)

    handlers = {"root": code(root, "middle"), "middle": code(middle, "echo"), "echo": code(echo)}
    async with running(handlers=handlers) as organism:
        said = await organism.ask("root", Go(), expect=Said)
        assert said.text == "validation: 'middle' does not take Said, the reply of 'echo'"
        assert called == ["Go"]
        answered = [fact.handler for fact in organism.watch.of(Answered)]
        assert answered == ["middle", "echo", "root"]


async def test_the_message_of_a_reply_nobody_takes_is_not_charged() -> None:
    async def root(message: Go, ctx: Context) -> Send[Go]:
        return Send("echo", message)

    async with running(handlers={"root": code(root, "echo"), "echo": code(echo)}) as organism:
        result = await (await organism.send("root", Go())).result()
        assert (result.outcome, result.code, result.usage.messages) == ("failed", "validation", 2)


async def test_a_handler_may_send_to_itself() -> None:
    async def countdown(message: Go | Said, ctx: Context) -> Any:
        if isinstance(message, Said):
            return Reply(Said(f"{message.text}."))
        return Send("countdown", Go(n=message.n - 1)) if message.n else Reply(Said("0"))

    async with running(handlers={"countdown": code(countdown)}) as organism:
        assert await organism.ask("countdown", Go(n=3)) == Said("0...")


async def test_a_self_send_gets_no_new_budget() -> None:
    """Hard case 9, second half: a handler with a budget of its own sends to itself within that budget."""

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        with pytest.raises(HandlerFailedError) as caught:
            await ctx.ask("again", message)
        return Reply(Said(caught.value.code))

    async def again(message: Go, ctx: Context) -> Send[Go]:
        return Send("again", message)

    handlers = {"root": code(root, "again"), "again": code(again, budget={"messages": 5, "depth": 100})}
    async with running(handlers=handlers, budget={"messages": 100}) as organism:
        result = await (await organism.send("root", Go())).result()
        assert result.reply == Said("exhausted")
        assert [each.usage.messages for each in result.threads] == [5]


FAILING = {
    "raises": ("crashed", "ValueError: broken"),
    "refuses": ("refused", "not today"),
    "dawdles": ("timeout", "'dawdles' did not finish within 7 s"),
    "strays": ("routing", "'elsewhere' is not a peer of 'strays'"),
    "babbles": ("validation", "a handler answers with None, Reply, Send, Forward or several of them, not str"),
    "resigns": ("stopped", "by a colleague"),
}


async def raises(message: Go, ctx: Context) -> None:
    raise ValueError("broken")


async def refuses(message: Go, ctx: Context) -> None:
    raise Refused("not today")


async def dawdles(message: Go, ctx: Context) -> None:
    await anyio.sleep(1000)


async def strays(message: Go, ctx: Context) -> Send[Go]:
    return Send("elsewhere", message)


async def babbles(message: Go, ctx: Context) -> str:
    return "well"


async def resigns(message: Go, ctx: Context) -> None:
    raise HandlerFailedError("stopped", "by a colleague")


def failing() -> dict[str, Any]:
    made = {"raises": raises, "refuses": refuses, "dawdles": dawdles, "strays": strays, "babbles": babbles}
    return {
        name: code(function, **({"timeout": 7} if name == "dawdles" else {}))
        for name, function in {**made, "resigns": resigns}.items()
    }


@pytest.mark.parametrize("name", FAILING)
async def test_an_asker_hears_how_a_handler_failed(name: str) -> None:
    """Hard case 10, first half."""

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        with pytest.raises(HandlerFailedError) as caught:
            await ctx.ask(message.text, message)
        return Reply(Said(f"{caught.value.code}: {caught.value.text}"))

    async with running(handlers={"root": code(root, *FAILING), **failing()}) as organism:
        result = await (await organism.send("root", Go(name))).result()
        assert result.reply.text == ": ".join(FAILING[name])
        assert result.outcome == "completed"


@pytest.mark.parametrize("name", FAILING)
async def test_a_sender_that_takes_failures_hears_them_from_the_organism(name: str) -> None:
    async def root(message: Go | HandlerFailed, ctx: Context) -> Send[Go] | Reply[Said]:
        if isinstance(message, Go):
            return Send(message.text, message)
        return Reply(Said(f"{ctx.sender}, {message.code}: {message.text}"))

    async with running(handlers={"root": code(root, *FAILING), **failing()}) as organism:
        result = await (await organism.send("root", Go(name))).result()
        assert result.reply.text == "organism, " + ": ".join(FAILING[name])
        assert result.outcome == "completed"
        assert result.usage.messages == 2  # the organism's own primitives cost nothing


@pytest.mark.parametrize("name", FAILING)
async def test_a_failure_at_the_root_is_the_outcome(name: str) -> None:
    async with running(handlers=failing()) as organism:
        result = await (await organism.send(name, Go())).result()
        outcome = "stopped" if FAILING[name][0] == "stopped" else "failed"
        assert (result.outcome, result.code, result.error) == (outcome, *FAILING[name])


@pytest.mark.parametrize(
    ("name", "retry"),
    [("raises", True), ("dawdles", True), ("refuses", False), ("strays", False), ("babbles", False)],
)
async def test_a_failure_says_whether_trying_again_could_help(name: str, retry: bool) -> None:
    async def root(message: Go | HandlerFailed, ctx: Context) -> Any:
        if isinstance(message, HandlerFailed):
            return Reply(Said(str(message.retry)))
        with pytest.raises(HandlerFailedError) as caught:
            await ctx.ask(name, message)
        assert caught.value.retry is retry
        return Send(name, message)

    async with running(handlers={"root": code(root, *FAILING), **failing()}) as organism:
        assert await organism.ask("root", Go()) == Said(str(retry))


async def test_failures_climb_past_callers_that_do_not_take_them() -> None:
    async def top(message: Go | HandlerFailed, ctx: Context) -> Send[Go] | Reply[Said]:
        return Send("one", message) if isinstance(message, Go) else Reply(Said(message.text))

    async def one(message: Go | Said, ctx: Context) -> Send[Go]:
        assert isinstance(message, Go)
        return Send("two", message)

    async def two(message: Go | Said, ctx: Context) -> Send[Go]:
        assert isinstance(message, Go)
        return Send("raises", message)

    handlers = {"top": code(top, "one"), "one": code(one, "two"), "two": code(two, "raises"), "raises": code(raises)}
    async with running(handlers=handlers) as organism:
        result = await (await organism.send("top", Go())).result()
        assert (result.outcome, result.replies) == ("completed", (("top", Said("ValueError: broken")),))


async def test_a_failure_that_nobody_takes_reaches_the_root_with_its_code() -> None:
    async def one(message: Go | Said, ctx: Context) -> Send[Go]:
        return Send("refuses", message) if isinstance(message, Go) else Send("one", Go())

    async with running(handlers={"one": code(one, "refuses"), "refuses": code(refuses)}) as organism:
        result = await (await organism.send("one", Go())).result()
        assert (result.outcome, result.code, result.error) == ("failed", "refused", "not today")


async def test_one_failed_branch_does_not_stop_the_others() -> None:
    async def root(message: Go | Said, ctx: Context) -> list[Any]:
        if isinstance(message, Go):
            return [Send("raises", message), Send("slow", Go("still here"))]
        return [Reply(message)]

    async def slow(message: Go, ctx: Context) -> Reply[Said]:
        await anyio.sleep(20)
        return Reply(Said(message.text))

    handlers = {"root": code(root, "raises", "slow"), "raises": code(raises), "slow": code(slow)}
    async with running(handlers=handlers) as organism:
        result = await (await organism.send("root", Go())).result()
        assert result.outcome == "failed"
        assert result.replies == (("root", Said("still here")),)


async def test_a_failed_frame_answers_no_more() -> None:
    """Its caller has heard of the failure; what the rest of its branch replies comes late."""

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        with pytest.raises(HandlerFailedError) as caught:
            await ctx.ask("middle", message)
        await anyio.sleep(25)
        return Reply(Said(caught.value.code))

    async def middle(message: Go | Said, ctx: Context) -> list[Any]:
        if isinstance(message, Said):
            return [Reply(message)]
        return [Send("raises", message), Send("slow", message)]

    async def slow(message: Go, ctx: Context) -> Reply[Said]:
        await anyio.sleep(20)
        return Reply(Said("too late"))

    handlers = {
        "root": code(root, "middle"),
        "middle": code(middle, "raises", "slow"),
        "raises": code(raises),
        "slow": code(slow),
    }
    async with running(handlers=handlers) as organism:
        result = await (await organism.send("root", Go())).result()
        assert (result.outcome, result.reply) == ("completed", Said("crashed"))
        assert [step.payload for step in steps_of(organism.watch, CameLate)] == [Said("too late")]


async def test_a_failure_keeps_its_code_through_askers() -> None:
    async def asks(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(await ctx.ask("again" if message.n else "refuses", Go(n=0), expect=Said))

    handlers = {"root": code(asks, "again"), "again": code(asks, "refuses"), "refuses": code(refuses)}
    async with running(handlers=handlers) as organism:
        with pytest.raises(HandlerFailedError) as caught:
            await organism.ask("root", Go(n=1))
        assert (caught.value.code, caught.value.text) == ("refused", "not today")


class _UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even that")


@pytest.mark.parametrize(
    ("error", "code_", "text"),
    [
        (HandlerFailedError("oops", "an unknown code"), "crashed", "oops: an unknown code"),
        (ValueError("half a character: \ud800"), "crashed", "ValueError: half a character: \\ud800"),
        (ValueError("a bell: \x07"), "crashed", "ValueError: a bell: \x07"),
        (_UnprintableError(), "crashed", "_UnprintableError"),
        (Refused(), "refused", ""),
        (ExceptionGroup("both", [ValueError("x"), Refused("no")]), "refused", "no"),
        (ExceptionGroup("both", [ValueError("x"), ExceptionGroup("in", [OSError("y")])]), "crashed", "ValueError: x"),
    ],
    ids=["unknown-code", "surrogate", "bell", "unprintable", "empty", "group", "nested-group"],
)
async def test_whatever_a_handler_raises_its_caller_hears_of_it(
    error: Exception, code_: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    # A report of this test could not be passed between the processes of a parallel run with half a character in its log.
    caplog.set_level(logging.CRITICAL, logger="organism.handlers")

    async def root(message: Go | HandlerFailed, ctx: Context) -> Any:
        return Send("wild", message) if isinstance(message, Go) else Reply(Said(f"{message.code}: {message.text}"))

    async def wild(message: Go, ctx: Context) -> None:
        raise error

    async with running(handlers={"root": code(root, "wild"), "wild": code(wild)}) as organism:
        assert await organism.ask("root", Go()) == Said(f"{code_}: {text}")


async def test_an_unexpected_reply_tells_what_came() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        with pytest.raises(UnexpectedReplyError) as caught:
            await ctx.ask("echo", message, expect=Odd)
        assert caught.value.reply == Said("hi")
        return Reply(Said(str(caught.value)))

    async with running(handlers={"root": code(root, "echo"), "echo": code(echo)}) as organism:
        assert await organism.ask("root", Go("hi")) == Said("expected Odd, got Said")


# Who may address whom


async def test_sender_thread_and_ids_are_set_by_the_pump() -> None:
    seen: list[tuple[str, str, str]] = []

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        seen.append((ctx.name, ctx.sender, ctx.thread))
        return Reply(await ctx.ask("inner", message, expect=Said))

    async def inner(message: Go, ctx: Context) -> Reply[Said]:
        seen.append((ctx.name, ctx.sender, ctx.thread))
        assert ctx.message_id == ctx.idempotency_key
        return Reply(Said(ctx.message_id))

    async with running(handlers={"root": code(root, "inner"), "inner": code(inner)}) as organism:
        thread = await organism.send("root", Go())
        result = await thread.result()
        assert seen == [("root", "", thread.id), ("inner", "root", thread.id)]
        assert result.reply.text.startswith(thread.id)


async def test_a_handler_learns_nothing_of_handlers_that_are_no_peers() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        said: list[str] = []
        for to in ("secret", "absent"):
            with pytest.raises(HandlerFailedError) as caught:
                await ctx.ask(to, message)
            said.append(str(caught.value).replace(to, "X"))
        assert said[0] == said[1]
        return Reply(Said(said[0]))

    async with running(handlers={"root": code(root), "secret": code(echo)}) as organism:
        assert await organism.ask("root", Go()) == Said("routing: 'X' is not a peer of 'root'")


@pytest.mark.parametrize("way", ["ask", "spawn"])
@pytest.mark.parametrize(
    ("to", "payload", "said"),
    [
        (None, Go(), "routing: an address is the name of a handler, not None"),
        ("echo", "text", "validation: str is not a payload; send a value of a class that is declared with @payload"),
        ("echo", Odd(), "validation: 'echo' takes Go, not Odd"),
        ("echo", HandlerFailed("crashed", "forged"), "validation: only the organism itself sends HandlerFailed"),
    ],
)
async def test_what_may_not_be_asked_or_spawned_is_refused_and_the_handler_goes_on(
    way: str, to: Any, payload: Any, said: str
) -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        with pytest.raises(HandlerFailedError) as caught:
            await getattr(ctx, way)(to, payload)
        return Reply(Said(str(caught.value)))

    async with running(handlers={"root": code(root, "echo"), "echo": code(echo)}) as organism:
        assert await organism.ask("root", Go()) == Said(said)


async def test_each_receiver_has_the_payload_as_it_was_sent() -> None:
    """Hard case 40, second half: a payload's list cannot be changed by one of two receivers."""

    async def root(message: Go, ctx: Context) -> list[Send[Pile]]:
        pile = Pile(items=["a", "b"])
        return [Send("taker", pile), Send("taker", pile)]

    seen: list[Any] = []

    async def taker(message: Pile, ctx: Context) -> None:
        seen.append(list(message.items))
        with pytest.raises((AttributeError, TypeError)):
            message.items.append("c")
        with pytest.raises(AttributeError):
            message.items = ["c"]  # type: ignore[misc]

    async with running(handlers={"root": code(root, "taker"), "taker": code(taker)}) as organism:
        assert (await (await organism.send("root", Go())).result()).outcome == "completed"
        assert seen == [["a", "b"], ["a", "b"]]


# Cycles, which R3 refuses


async def cycle_of(organism: Organism, to: str = "a") -> str:
    with anyio.fail_after(1000):
        said: Said = await organism.ask(to, Go(), expect=Said)
    return said.text


async def test_asking_who_waits_for_this_very_branch_is_refused_at_once() -> None:
    """Hard case 29: A asks B asks A."""

    async def a(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(await ctx.ask("b", message, expect=Said))

    async def b(message: Go, ctx: Context) -> Reply[Said]:
        with pytest.raises(HandlerFailedError) as caught:
            await ctx.ask("a", message)
        return Reply(Said(f"{caught.value.code}: {caught.value.text}"))

    async with running(handlers={"a": code(a, "b"), "b": code(b, "a")}) as organism:
        assert await cycle_of(organism) == "cycle: 'a' waits for this very branch"


@pytest.mark.parametrize("answer", [Send("a", Go()), Forward("a", Go())])
async def test_sending_to_who_waits_for_this_very_branch_is_refused_at_once(answer: Any) -> None:
    """Hard case 29: A asks B who Sends to A."""

    async def a(message: Go, ctx: Context) -> Reply[Said]:
        with pytest.raises(HandlerFailedError) as caught:
            await ctx.ask("b", message)
        return Reply(Said(caught.value.code))

    async def b(message: Go, ctx: Context) -> Any:
        return answer

    async with running(handlers={"a": code(a, "b"), "b": code(b, "a")}) as organism:
        assert await cycle_of(organism) == "cycle"


async def test_a_cycle_below_sends_is_refused() -> None:
    async def a(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(await ctx.ask("b", message, expect=Said))

    async def b(message: Go | HandlerFailed, ctx: Context) -> Any:
        return Send("c", message) if isinstance(message, Go) else Reply(Said(message.code))

    async def c(message: Go, ctx: Context) -> Send[Go]:
        return Send("a", message)

    async with running(handlers={"a": code(a, "b"), "b": code(b, "c"), "c": code(c, "a")}) as organism:
        assert await cycle_of(organism) == "cycle"


async def test_asking_oneself_is_a_cycle_and_sending_to_oneself_is_none() -> None:
    async def a(message: Go, ctx: Context) -> Any:
        if message.n:
            return Reply(Said("sent"))
        with pytest.raises(HandlerFailedError) as caught:
            await ctx.ask("a", Go(n=1))
        return [Reply(Said(caught.value.code)), Forward("a", Go(n=1))]

    async with running(handlers={"a": code(a)}) as organism:
        result = await (await organism.send("a", Go())).result()
        assert [each.text for _, each in result.replies] == ["cycle", "sent"]


async def test_a_handler_that_has_finished_waits_for_nobody() -> None:
    """A sends to B, B sends to A: no cycle, A's mailbox is free."""

    async def a(message: Go | Said, ctx: Context) -> Any:
        if isinstance(message, Said):
            return Reply(message)
        return Send("b", message) if not message.n else Reply(Said("a again"))

    async def b(message: Go | Said, ctx: Context) -> Any:
        return Reply(message) if isinstance(message, Said) else Send("a", Go(n=1))

    async with running(handlers={"a": code(a, "b"), "b": code(b, "a")}) as organism:
        assert await cycle_of(organism) == "a again"


async def test_two_branches_that_would_wait_for_each_others_mailboxes() -> None:
    """B asks C while C asks B, each at work for another: whoever comes second is refused."""

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        answers = await ctx.ask_all([("b", Go(n=1)), ("c", Go(n=1))])
        return Reply(Said(" ".join(sorted(str(getattr(each, "code", None) or each.text) for each in answers))))

    def other(name: str) -> Any:
        async def handle(message: Go, ctx: Context) -> Reply[Said]:
            if not message.n:
                return Reply(Said(f"{ctx.name} helped"))
            await anyio.sleep(1)
            return Reply(await ctx.ask(name, Go(), expect=Said))

        return handle

    handlers = {"root": code(root, "b", "c"), "b": code(other("c"), "c"), "c": code(other("b"), "b")}
    async with running(handlers=handlers) as organism:
        # The second is told of the cycle; its failure frees its mailbox, and the first gets its answer.
        assert await cycle_of(organism, "root") in {"b helped cycle", "c helped cycle"}


async def test_a_ring_of_three_branches_that_would_wait_for_each_other() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        answers = await ctx.ask_all([(name, Go(n=delay)) for delay, name in enumerate("bcd", 1)])
        return Reply(Said(" ".join(str(getattr(each, "code", None) or each.text) for each in answers)))

    def other(name: str) -> Any:
        async def handle(message: Go, ctx: Context) -> Reply[Said]:
            if not message.n:
                return Reply(Said(f"{ctx.name} helped"))
            await anyio.sleep(message.n)
            return Reply(await ctx.ask(name, Go(), expect=Said))

        return handle

    handlers = {
        "root": code(root, "b", "c", "d"),
        "b": code(other("c"), "c"),
        "c": code(other("d"), "d"),
        "d": code(other("b"), "b"),
    }
    async with running(handlers=handlers) as organism:
        assert await cycle_of(organism, "root") == "c helped d helped cycle"


async def test_a_cycle_through_a_message_that_is_queued_in_another_branch() -> None:
    """A asks B; B's message to C is queued behind C's delivery, which then addresses A: C would never be free."""

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        answers = await ctx.ask_all([("c", Go(n=1)), ("a", Go())])
        return Reply(Said(" ".join(str(getattr(each, "code", None) or each.text) for each in answers)))

    async def a(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(Said("a") if message.n else await ctx.ask("b", message, expect=Said))

    async def b(message: Go | Said, ctx: Context) -> Any:
        return Reply(message) if isinstance(message, Said) else Send("c", Go())

    async def c(message: Go, ctx: Context) -> Reply[Said]:
        if not message.n:
            return Reply(Said("c"))
        await anyio.sleep(1)
        return Reply(await ctx.ask("a", Go(n=1), expect=Said))

    handlers = {"root": code(root, "a", "c"), "a": code(a, "b"), "b": code(b, "c"), "c": code(c, "a")}
    async with running(handlers=handlers) as organism:
        assert await cycle_of(organism, "root") == "cycle c"


async def test_a_busy_handler_that_waits_for_somebody_else_is_no_cycle() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        answers = await ctx.ask_all([("a", Go(n=1)), ("b", Go())], expect=Said)
        return Reply(Said(" ".join(each.text for each in answers if isinstance(each, Said))))

    async def a(message: Go, ctx: Context) -> Reply[Said]:
        if message.n:
            await ctx.ask("slow", message)
        return Reply(Said(f"a{message.n}"))

    async def b(message: Go, ctx: Context) -> Reply[Said]:
        await anyio.sleep(1)
        return Reply(await ctx.ask("a", Go(), expect=Said))

    async def slow(message: Go, ctx: Context) -> Reply[Said]:
        await anyio.sleep(10)
        return Reply(Said())

    handlers = {"root": code(root, "a", "b"), "a": code(a, "slow"), "b": code(b, "a"), "slow": code(slow)}
    async with running(handlers=handlers) as organism:
        assert await cycle_of(organism, "root") == "a1 a0"


async def test_in_a_sub_thread_nobody_waits() -> None:
    """A asks B, who has a budget of its own: in B's sub-thread A is another, and no cycle."""

    async def a(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(Said("deep")) if message.n else Reply(await ctx.ask("b", message, expect=Said))

    async def b(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(await ctx.ask("a", Go(n=1), expect=Said))

    async with running(handlers={"a": code(a, "b"), "b": code(b, "a", budget={"messages": 10})}) as organism:
        assert await cycle_of(organism) == "deep"
