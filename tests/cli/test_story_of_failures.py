"""What ``organism show`` tells of threads in which something went wrong: who failed, who heard of it, and who waited in vain."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Desk

WORK = '''
    from __future__ import annotations

    from contextlib import suppress
    from typing import TYPE_CHECKING

    import anyio

    from organism import Forward, HandlerFailedError, Reply, Send, payload
    from organism.primitives import HandlerFailed

    if TYPE_CHECKING:
        from organism import Context


    @payload
    class Job:
        text: str


    @payload
    class Done:
        text: str


    async def ask_mute(job: Job, ctx: Context) -> Reply[Done]:
        """Asks somebody who says nothing; before that somebody else, where it is told to."""
        for before in ctx.options.get("before", ()):
            with suppress(HandlerFailedError):
                await ctx.ask(before, job)
        try:
            await ctx.ask(ctx.options.get("whom", "mute"), job)
        except HandlerFailedError as error:
            return Reply(Done(error.code))
        return Reply(Done("heard"))


    async def mute(job: Job, ctx: Context) -> None:
        """Says nothing."""


    async def first(job: Job, ctx: Context) -> Forward[Job]:
        """Has somebody else answer."""
        return Forward("second", job)


    async def second(job: Job | Done, ctx: Context) -> Send[Job] | None:
        """Sends it on, and says nothing."""
        return Send("shouter", job) if isinstance(job, Job) else None


    async def send(job: Job | HandlerFailed, ctx: Context) -> Send[Job] | Reply[Done]:
        """Sends, and hears what came of it."""
        if isinstance(job, HandlerFailed):
            return Reply(Done(job.code))
        return Send("crasher", job)


    async def sloppy(job: Job, ctx: Context) -> Send[Job]:
        """Sends, and takes no answer."""
        return Send("shouter", job)


    async def shout(job: Job, ctx: Context) -> Reply[Done]:
        """Shouts."""
        return Reply(Done(job.text.upper()))


    async def crash(job: Job, ctx: Context) -> None:
        """Crashes."""
        raise ValueError(job.text)


    async def hurry(job: Job, ctx: Context) -> Reply[Done]:
        """Waits, but not for long."""
        try:
            await ctx.ask("sleeper", job, timeout=0.01)
        except HandlerFailedError as error:
            return Reply(Done(error.code))
        return Reply(Done("awake"))


    async def sleep(job: Job, ctx: Context) -> None:
        """Sleeps."""
        await anyio.sleep_forever()


    async def crowd(job: Job, ctx: Context) -> Reply[Done]:
        """Asks more than can be awake at once."""
        answers = await ctx.ask_all([("sleeper", job), ("sleeper", Job("and again"))])
        return Reply(Done(" and ".join(each.code for each in answers)))


    async def stop(job: Job, ctx: Context) -> list[Send]:
        """Has somebody fail whose failure stops it all."""
        return [Send("sleeper", job), Send("stopper", job)]


    async def outer(job: Job, ctx: Context) -> Reply[Done]:
        """Has it done in a sub-thread."""
        return Reply(await ctx.ask("inner", job, expect=Done))


    async def inner(job: Job, ctx: Context) -> Reply[Done]:
        """Has it done in one below."""
        return Reply(await ctx.ask("shouter", job, expect=Done))


    async def spend(job: Job, ctx: Context) -> Reply[Done]:
        """Calls its model until it may not any more."""
        while True:
            await ctx.complete(f"Say something about {job.text}.", max_output_tokens=40)
'''
FILE = """
    organism: demo
    journal: sqlite:organism.db
    handlers:
      asker: {code: work:ask_mute, peers: [mute]}
      mute: {code: work:mute}
      late_asker: {code: work:ask_mute, peers: [crasher, mute], options: {before: [crasher]}}
      far_asker: {code: work:ask_mute, peers: [first], options: {whom: first}}
      first: {code: work:first, peers: [second]}
      second: {code: work:second, peers: [shouter]}
      sender: {code: work:send, peers: [crasher]}
      sloppy: {code: work:sloppy, peers: [shouter]}
      shouter: {code: work:shout, budget: {messages: 3}}
      crasher: {code: work:crash}
      stopper: {code: work:crash, on_failure: {do: stop, attempts: 2, backoff: [0.01, 1]}}
      hurrier: {code: work:hurry, peers: [sleeper]}
      sleeper: {code: work:sleep, timeout: null}
      both: {code: work:stop, peers: [sleeper, stopper]}
      crowd: {code: work:crowd, peers: [sleeper]}
      outer: {code: work:outer, peers: [middle]}
      middle: {code: work:inner, peers: [shouter], budget: {messages: 5}}
      spender: {code: work:spend}
"""


@pytest.fixture
def shop(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("COLUMNS", "200")
    desk.write("work.py", WORK.replace('ctx.ask("inner"', 'ctx.ask("middle"'))
    desk.write("organism.yaml", FILE)
    return desk


def told(desk: Desk, to: str, *more: str) -> list[str]:
    """What is shown of a thread that began at a handler, without times and blanks."""
    ran = desk.organism("run", "--to", to, "--send", "x", "--json", *more)
    assert ran.out, ran.err
    return shown(desk, ran.object["thread"])


def shown(desk: Desk, thread: str) -> list[str]:
    ran = desk.organism("show", thread)
    assert ran.code == 0, ran.err
    return [re.sub(r"^ *\d+\.\d{3} +", "", line) for line in ran.out.splitlines()]


def test_who_says_nothing_is_done_and_who_asked_goes_on(shop: Desk) -> None:
    lines = told(shop, "asker")
    told_in_order = (
        "asker asks mute, #2: Job: x",
        "mute is done",
        "asker hears of #2: no_reply: mute finished without a reply",
        "asker replies: Done: no_reply",
    )
    asked = lines.index(told_in_order[0])
    assert tuple(lines[asked : asked + 4]) == told_in_order


def test_who_says_nothing_after_another_has_failed_is_told_of_as_well(shop: Desk) -> None:
    lines = told(shop, "late_asker")
    (failed,) = [line for line in lines if line.startswith("crasher fails")]
    assert failed.endswith("; late_asker hears it")
    assert "late_asker hears of #3: no_reply: mute finished without a reply" in lines


def test_who_asks_hears_nothing_until_all_is_done_that_could_have_answered(shop: Desk) -> None:
    """The first hands on, the second sends, and whoever was sent to says nothing; then the second has its say, and says nothing."""
    lines = told(shop, "far_asker")
    (heard,) = [line for line in lines if "no_reply:" in line]
    assert heard == "far_asker hears of #3: no_reply: second finished without a reply"
    assert lines.index("shouter answers second, #5: Done: X") < lines.index(heard)
    assert lines[lines.index(heard) - 1] == "second is done"
    assert lines[lines.index(heard) + 1] == "far_asker replies: Done: no_reply"


def test_who_is_answered_or_has_given_up_is_not_told_of_as_one_without_a_reply(shop: Desk) -> None:
    for to in ("outer", "hurrier", "both", "sloppy"):
        assert not [line for line in told(shop, to) if "without a reply" in line]


def test_whose_message_is_refused_at_the_end_of_the_time_has_not_finished_without_a_reply(shop: Desk) -> None:
    lines = told(shop, "crowd", "--set", "handlers.sleeper.concurrency=1", "--set", "budget.seconds=0.2")
    assert not [line for line in lines if "without a reply" in line]
    # Nobody's call or message crossed these levels: they are told of whom the thread was opened for.
    warnings = [line for line in lines if line.startswith("budget warning: ")]
    assert warnings
    assert all(line.startswith("budget warning: crowd: seconds ") for line in warnings)


def test_a_sender_hears_of_a_failure_in_one_line(shop: Desk) -> None:
    lines = told(shop, "sender")
    assert next(line for line in lines if "crashed" in line).startswith("crasher fails: crashed: ValueError: x")
    assert [line.rpartition("; ")[2] for line in lines if line.startswith("crasher fails")] == ["sender hears it"]
    assert not [line for line in lines if "HandlerFailed" in line]
    assert "sender replies: Done: crashed" in lines


def test_a_reply_that_nobody_takes_is_told(shop: Desk) -> None:
    lines = told(shop, "sloppy")
    (line,) = [line for line in lines if line.startswith("nobody handles it: ")]
    assert line.startswith("nobody handles it: validation: ")


def test_whoever_waits_no_longer_is_named(shop: Desk) -> None:
    lines = told(shop, "hurrier")
    assert "hurrier waits no longer for sleeper" in lines
    assert not [line for line in lines if line.startswith("  sleeper has")]


def test_a_sub_thread_that_nobody_waits_for_ends_as_cancelled(shop: Desk) -> None:
    lines = told(shop, "hurrier", "--set", "handlers.sleeper.budget.messages=9")
    assert [line for line in lines if line.startswith("sub-thread .2: ended cancelled after ")]
    assert not [line for line in lines if "nobody handles it" in line]


def test_a_failure_that_stops_a_thread_is_told_with_its_attempts(shop: Desk) -> None:
    lines = told(shop, "both")
    (line,) = [line for line in lines if "fails for good" in line]
    assert line.startswith("stopper fails for good, at attempt 2: crashed: ValueError: x")
    assert line.endswith("; the thread is stopped")


def test_what_is_below_a_sub_thread_is_shown_with_it(shop: Desk) -> None:
    ran = shop.organism("run", "--to", "outer", "--send", "x", "--json")
    (middle,) = ran.object["threads"]
    lines = shown(shop, middle["thread"])
    assert lines[0].startswith(f"thread {middle['thread']}, began ")
    assert any("middle asks shouter in sub-thread" in line for line in lines), lines
    assert not any(line.startswith("outside to outer") for line in lines)


def test_warnings_are_told_where_they_are_raised(shop: Desk) -> None:
    lines = told(shop, "spender", "--set", "budget.tokens=600")
    warnings = [line for line in lines if line.startswith("budget warning: ")]
    assert warnings
    assert all(line.startswith("budget warning: spender: tokens ") for line in warnings)
    assert not any("[thread" in line for line in warnings)
