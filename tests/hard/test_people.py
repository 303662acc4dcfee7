"""People as handlers: asked, waited for without time or place, answered once, in any order."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import (
    Context,
    Forward,
    HandlerFailedError,
    NoQuestionError,
    Organism,
    Reply,
    Send,
    UnexpectedReplyError,
    payload,
)
from organism.payloads.primitives import BudgetDecision, BudgetRequest, HandlerFailed
from organism.record.facts import Posted, StoodStill, WentOn
from organism.testing import Says, ScriptedModel, running
from tests.hard.pump_world import Go, Odd, Said, code, echo, slow

if TYPE_CHECKING:
    from organism.results import Question
    from organism.testing import Watched


@payload
class Leave:
    """Whether somebody may go."""

    granted: bool
    why: str = ""


def boss(accepts: Any = Go, replies: Any = (Leave,), **keys: Any) -> dict[str, Any]:
    """The entry of a person in ``handlers``."""
    return {"human": {"accepts": accepts, "replies": list(replies)}, "description": "Decides.", **keys}


async def worker(message: Go, ctx: Context) -> Reply[Said]:
    """Asks before it does anything."""
    leave = await ctx.ask("boss", message, expect=Leave)
    return Reply(Said(f"{leave.granted} {leave.why}".strip()))


def asking(**keys: Any) -> dict[str, Any]:
    return {"worker": code(worker, "boss"), "boss": boss(), **keys}


async def asked(organism: Watched, count: int = 1) -> tuple[Question, ...]:
    """What people are asked, once it is so many."""
    while len(found := organism.inbox()) < count:  # noqa: ASYNC110 - as a client would look
        await anyio.sleep(0.01)
    return found


async def test_a_paused_thread_names_the_question_that_was_asked_first() -> None:
    async def desk(message: Go, ctx: Context) -> Reply[Said]:
        await ctx.ask_all([("late", message), ("boss", message)])
        return Reply(Said(message.text))

    async def late(message: Go, ctx: Context) -> Reply[Said]:
        await anyio.sleep(1)
        return Reply(Said((await ctx.ask("boss", message, expect=Leave)).why))

    handlers = {
        "desk": code(desk, "late", "boss"),
        "late": code(late, "boss", budget={"messages": 5}),  # in a thread of its own, which numbers its messages anew
        "boss": boss(),
    }
    async with running(handlers=handlers) as organism:
        thread = await organism.send("desk", Go("go"))
        first, second = await asked(organism, 2)
        assert (first.thread, second.thread.partition(".")[0]) == (thread.id, thread.id)
        assert int(second.id.rpartition("/")[2]) < int(first.id.rpartition("/")[2])
        resting = await thread.result()
        assert resting.error == f"waits for an answer of 'boss' to question {first.id}, and 1 more"
        for question in (first, second):
            await organism.answer(question.id, Leave(True))


async def test_a_question_waits_and_its_answer_goes_to_whoever_asked() -> None:
    async with running(handlers=asking()) as organism:
        thread = await organism.send("worker", Go("may I?"), labels={"arm": "a"})
        resting = await thread.result()
        assert (resting.outcome, thread.ended, thread.paused) == ("paused", False, True)
        (question,) = organism.inbox()
        assert resting.error == f"waits for an answer of 'boss' to question {question.id}"
        assert (question.thread, question.handler, question.sender) == (thread.id, "boss", "worker")
        assert (question.payload, question.labels, question.answers) == (Go("may I?"), {"arm": "a"}, ("Leave",))
        await organism.answer(question.id, Leave(granted=True, why="of course"))
        assert organism.inbox() == ()
        result = await thread.result()
        assert (result.outcome, result.reply, result.usage.messages) == ("completed", Said("True of course"), 2)


async def test_whoever_asks_from_outside_waits_for_the_person() -> None:
    async with running(handlers=asking()) as organism:

        async def answer() -> None:
            (question,) = await asked(organism)
            await organism.answer(question.id, Leave(granted=False))

        async with anyio.create_task_group() as group:
            group.start_soon(answer)
            assert await organism.ask("worker", Go(), expect=Said) == Said("False")
            group.start_soon(answer)
            assert await organism.ask("boss", Go(), expect=Leave) == Leave(granted=False)


async def test_a_question_is_answered_once() -> None:
    async with running(handlers=asking()) as organism:
        thread = await organism.send("worker", Go())
        (question,) = await asked(organism)
        await organism.answer(question.id, Leave(granted=True))
        with pytest.raises(NoQuestionError, match="it was answered already"):
            await organism.answer(question.id, Leave(granted=False))
        assert (await thread.result()).reply == Said("True")
        for id_ in (question.id, "nowhere/1", "", f"{thread.id}/x"):
            with pytest.raises(NoQuestionError, match="no thread that runs here has asked it"):
                await organism.answer(id_, Leave(granted=False))


async def test_an_answer_of_another_type_is_refused_and_the_question_waits_on() -> None:
    async with running(handlers=asking(boss=boss(replies=(Leave, Said)))) as organism:
        thread = await organism.send("worker", Go())
        (question,) = await asked(organism)
        for wrong in (Odd("x"), Leave, None, HandlerFailed("refused", "made up")):
            with pytest.raises(UnexpectedReplyError, match="expected Leave or Said of 'boss'"):
                await organism.answer(question.id, wrong)
        with pytest.raises(
            UnexpectedReplyError, match=r"expected Leave or Said of 'boss' that is complete \(Leave is not a whole"
        ):
            await organism.answer(question.id, object.__new__(Leave))
        assert organism.inbox() == (question,)
        await organism.answer(question.id, Leave(granted=True))
        assert (await thread.result()).reply == Said("True")


async def test_a_person_who_decides_on_budgets_too_answers_requests_and_nothing_else_with_decisions() -> None:
    async def desk(message: Go, ctx: Context) -> Reply[Said]:
        """Asks for more, and then for leave."""
        await ctx.request_budget("tokens", 500, "it is long")
        leave = await ctx.ask("boss", message, expect=Leave)
        return Reply(Said(f"{ctx.budget.tokens.limit} {leave.granted}"))

    handlers = {"desk": code(desk, "boss"), "boss": boss((Go, BudgetRequest), (Leave, BudgetDecision))}
    async with running(handlers=handlers, budget={"tokens": 1000, "grants_by": "boss"}) as organism:
        thread = await organism.send("desk", Go("may I?"))
        (request,) = await asked(organism)
        assert (request.sender, request.answers) == ("organism", ("BudgetDecision",))
        with pytest.raises(UnexpectedReplyError, match="expected BudgetDecision of 'boss', got Leave"):
            await organism.answer(request.id, Leave(granted=True))
        assert organism.inbox() == (request,)
        (posted,) = [
            step for fact in organism.watch.facts for step in fact.steps if isinstance(step, Posted) and step.answers
        ]
        assert posted.answers == ("BudgetDecision",)
        await organism.answer(request.id, BudgetDecision(granted=True, unit="tokens", amount=Decimal(500), reason=""))
        await thread.result()
        (question,) = organism.inbox()
        assert question.answers == ("Leave",)
        with pytest.raises(UnexpectedReplyError, match="expected Leave of 'boss', got BudgetDecision"):
            await organism.answer(
                question.id, BudgetDecision(granted=True, unit="tokens", amount=Decimal(5), reason="")
            )
        await organism.answer(question.id, Leave(granted=True))
        assert (await thread.result()).reply == Said("1500 True")


@pytest.mark.parametrize("peers_as", ["tools", "xml"])
async def test_an_agent_asks_the_organism_for_more_and_not_the_person_who_decides(peers_as: str) -> None:
    model = ScriptedModel([Says(text="<Said><text>done</text></Said>", calls=(("reply", Said("done")),))])
    agent = {"accepts": Go, "replies": Said, "peers_as": peers_as}
    handlers = {
        "desk": {"description": "Works.", "agent": agent, "peers": ["boss"]},
        "boss": boss((Go, BudgetRequest), (Leave, BudgetDecision)),
    }
    budget = {"tokens": 50_000, "grants_by": "boss"}
    async with running(handlers=handlers, models=model.models(), budget=budget) as organism:
        await (await organism.send("desk", Go("work"))).result()
    request = model.requests[0]
    if peers_as == "tools":
        assert [tool.name for tool in request.tools] == ["organism_BudgetRequest", "boss", "reply"]
    else:
        system = request.messages[0]["content"]
        assert '<Go to="boss">' in system
        assert '<BudgetRequest to="organism">' in system
        assert '<BudgetRequest to="boss">' not in system


async def test_an_agent_is_not_told_of_a_peer_whom_it_has_nothing_to_ask() -> None:
    model = ScriptedModel([Says(calls=(("reply", Said("done")),))])
    handlers = {
        "desk": {"description": "Works.", "agent": {"accepts": Go, "replies": Said}, "peers": ["boss", "echo"]},
        "boss": boss(BudgetRequest, (BudgetDecision,)),
        "echo": code(echo),
    }
    async with running(handlers=handlers, models=model.models()) as organism:
        await organism.ask("desk", Go("work"))
    (request,) = model.requests
    assert [tool.name for tool in request.tools] == ["echo", "reply"]
    system = request.messages[0]["content"]
    assert ("- echo:" in system, "boss" in system) == (True, False)


async def test_who_refuses_to_answer_is_heard_as_a_handler_that_refuses() -> None:
    async with running(handlers=asking()) as organism:
        thread = await organism.send("worker", Go())
        (question,) = await asked(organism)
        await organism.answer(question.id, refuse="not my business")
        result = await thread.result()
        assert (result.outcome, result.code, result.error) == ("failed", "refused", "not my business")
        with pytest.raises(NoQuestionError):
            await organism.answer(question.id, refuse="again")


async def test_waiting_costs_no_seconds() -> None:
    async with running(handlers=asking(), budget={"seconds": 10}) as organism:
        thread = await organism.send("worker", Go())
        (question,) = await asked(organism)
        await anyio.sleep(80_000)
        assert organism.statistics().timers == 0
        await organism.answer(question.id, Leave(granted=True))
        result = await thread.result()
        assert result.outcome == "completed"
        assert result.usage.seconds < 0.1


async def test_a_handler_that_asks_again_after_a_call_stands_still_again() -> None:
    async def twice(message: Go, ctx: Context) -> Reply[Said]:
        """Asks, calls a model, and asks again."""
        await ctx.ask("boss", message)
        await ctx.complete("and now?")
        await ctx.ask("boss", message)
        return Reply(Said())

    handlers = {"twice": code(twice, "boss"), "boss": boss()}
    async with running(
        handlers=handlers, models=ScriptedModel([Says(text="x")]).models(), budget={"seconds": 60}
    ) as organism:
        thread = await organism.send("twice", Go())
        for _ in range(2):
            (question,) = await asked(organism)
            await anyio.sleep(1000)
            assert thread.waits_for_people
            await organism.answer(question.id, Leave(granted=True))
        result = await thread.result()
        assert (result.outcome, result.usage.seconds < 1) == ("completed", True)


async def test_time_counts_while_anything_else_of_the_thread_runs() -> None:
    async def both(message: Go, ctx: Context) -> Reply[Said]:
        """Asks the boss while another one works."""
        said = await ctx.ask_all([("boss", message), ("sleeper", message)])
        return Reply(Said(type(said[0]).__name__))

    async def sleeper(message: Go, ctx: Context) -> Reply[Said]:
        """Works for five seconds."""
        await anyio.sleep(5)
        return Reply(Said())

    handlers = {"both": code(both, "boss", "sleeper"), "sleeper": code(sleeper), "boss": boss()}
    async with running(handlers=handlers, budget={"seconds": 60}) as organism:
        thread = await organism.send("both", Go())
        (question,) = await asked(organism)
        assert not thread.waits_for_people
        result = await thread.result()
        assert (result.outcome, round(result.usage.seconds)) == ("paused", 5)
        assert thread.waits_for_people
        await anyio.sleep(1000)
        await organism.answer(question.id, Leave(granted=True))
        result = await thread.result()
        assert (result.outcome, round(result.usage.seconds)) == ("completed", 5)
        kinds = [type(fact) for fact in organism.watch.facts if isinstance(fact, StoodStill | WentOn)]
        assert kinds == [StoodStill, WentOn]


async def test_a_thread_whose_time_runs_out_meanwhile_does_not_wait_on() -> None:
    async def both(message: Go, ctx: Context) -> None:
        """Asks the boss while another one works."""
        await ctx.ask_all([("boss", message), ("sleeper", message)])

    async def sleeper(message: Go, ctx: Context) -> None:
        """Works for very long."""
        await anyio.sleep(1000)

    handlers = {
        "both": code(both, "boss", "sleeper", timeout=None),
        "sleeper": code(sleeper, timeout=None),
        "boss": boss(),
    }
    async with running(handlers=handlers, budget={"seconds": 60}) as organism:
        result = await (await organism.send("both", Go())).result()
        assert (result.outcome, result.unit, organism.inbox()) == ("exhausted", "seconds", ())


async def test_a_sub_thread_that_waits_for_a_person_spends_none_of_its_seconds() -> None:
    async def both(message: Go, ctx: Context) -> Reply[Said]:
        """Has somebody asked while it works itself."""
        handle = await ctx.spawn("worker", message, budget={"seconds": 3})
        await anyio.sleep(20)
        return Reply((await handle.result()).reply)

    async with running(handlers=asking(both=code(both, "worker"))) as organism:
        thread = await organism.send("both", Go())
        (question,) = await asked(organism)
        await anyio.sleep(10)
        await organism.answer(question.id, Leave(granted=True))
        result = await thread.result()
        assert (result.reply, round(result.usage.seconds)) == (Said("True"), 20)
        assert result.threads[0].outcome == "completed"


async def test_waiting_takes_no_place() -> None:
    handlers = asking(worker=code(worker, "boss", concurrency=1))
    async with running(handlers=handlers, max_handlers=1) as organism:
        threads = [await organism.send("worker", Go(n=n)) for n in range(50)]
        assert len(await asked(organism, 50)) == 50
        statistics = organism.statistics()
        assert (statistics.running, statistics.queued) == (0, 0)
        for question in reversed(organism.inbox()):
            await organism.answer(question.id, Leave(granted=True, why=str(question.payload.n)))
        assert [(await thread.result()).reply for thread in threads] == [Said(f"True {n}") for n in range(50)]
        assert organism.statistics().threads == 0


async def test_one_person_is_asked_many_things_in_one_thread_and_answers_in_any_order() -> None:
    async def many(message: Go, ctx: Context) -> Reply[Said]:
        """Asks three things at once."""
        said = await ctx.ask_all([("boss", Go(n=n)) for n in range(3)], expect=Leave)
        return Reply(Said(" ".join(leave.why for leave in said if isinstance(leave, Leave))))

    async with running(handlers={"many": code(many, "boss"), "boss": boss()}) as organism:
        thread = await organism.send("many", Go())
        questions = await asked(organism, 3)
        assert (
            await thread.result()
        ).error == f"waits for an answer of 'boss' to question {questions[0].id}, and 2 more"
        for question in (questions[1], questions[2], questions[0]):
            assert thread.waits_for_people
            await organism.answer(question.id, Leave(granted=True, why=f"w{question.payload.n}"))
        assert (await thread.result()).reply == Said("w0 w1 w2")


async def test_sub_threads_that_have_ended_leave_nothing_behind_while_a_person_is_asked() -> None:
    """Whether a thread stands still is counted over all that live below it, and a thread may open thousands while it waits."""

    async def busy(message: Go, ctx: Context) -> Reply[Said]:
        """Asks a person, and others meanwhile, each in a sub-thread."""
        async with anyio.create_task_group() as group:
            group.start_soon(ctx.ask, "boss", message)
            for n in range(40):
                await ctx.ask("echo", Go(n=n))
        return Reply(Said("done"))

    handlers = {"busy": code(busy, "boss", "echo"), "boss": boss(), "echo": code(echo, budget={"messages": 5})}
    async with running(handlers=handlers) as organism:
        thread = await organism.send("busy", Go())
        (question,) = await asked(organism)
        await thread.result()  # it rests: all others have answered
        works: Any = organism._works
        (below,) = works.pump.people._activity._trees.values()
        assert len(below) < 5
        await organism.answer(question.id, Leave(granted=True))
        assert (await thread.result()).reply == Said("done")


async def test_what_waits_behind_a_handler_that_waits_for_a_person_goes_on_with_it() -> None:
    """It is told nothing of until the person answers: the thread stands still all the same."""

    async def desk(message: Go | Said, ctx: Context) -> list[Send[Go]] | None:
        if isinstance(message, Go):
            return [Send("clerk", Go("one")), Send("clerk", Go("two"))]
        await ctx.ask("boss", Go(message.text), expect=Leave)
        return None

    async def clerk(message: Go, ctx: Context) -> Send[Said]:
        return Send("desk", Said(message.text))

    handlers = {"desk": code(desk, "clerk", "boss"), "clerk": code(clerk, "desk"), "boss": boss()}
    async with running(handlers=handlers, budget={"seconds": 60}) as organism:
        thread = await organism.send("desk", Go("begin"))
        for each in ("one", "two"):
            assert (await thread.result()).outcome == "paused"
            await anyio.sleep(1000)
            (question,) = organism.inbox()
            await organism.answer(question.id, Leave(granted=True, why=each))
        result = await thread.result()
    assert result.outcome == "completed"
    assert result.usage.seconds < 60


async def test_a_person_may_be_sent_to_forwarded_to_and_spawned() -> None:
    async def sender(message: Go | Leave, ctx: Context) -> Any:
        """Passes it on in each way."""
        if isinstance(message, Leave):
            return Reply(Said(f"heard {message.why}"))
        if message.text == "spawn":
            handle = await ctx.spawn("boss", message)
            return Reply(Said((await handle.result()).reply.why))
        return {"send": Send, "forward": Forward}[message.text]("boss", message)

    async with running(handlers={"sender": code(sender, "boss"), "boss": boss()}) as organism:
        for text, expected in (
            ("send", Said("heard w")),
            ("forward", Leave(granted=True, why="w")),
            ("spawn", Said("w")),
        ):
            thread = await organism.send("sender", Go(text))
            (question,) = await asked(organism)
            assert (await thread.result()).outcome == "paused"
            await organism.answer(question.id, Leave(granted=True, why="w"))
            assert (await thread.result()).reply == expected


async def test_a_person_with_a_budget_is_asked_in_a_sub_thread() -> None:
    async with running(handlers=asking(boss=boss(budget={"messages": 1}))) as organism:
        thread = await organism.send("worker", Go())
        (question,) = await asked(organism)
        assert question.thread == thread.id
        assert not question.id.startswith(f"{thread.id}/")
        await organism.answer(question.id, Leave(granted=True))
        result = await thread.result()
        assert (result.reply, [each.handler for each in result.threads]) == (Said("True"), ["boss"])


async def test_an_agent_asks_a_person_by_a_tool() -> None:
    model = ScriptedModel([Says(calls=(("boss", {"text": "may I?"}),)), Says(calls=(("reply", {"text": "I may"}),))])
    agent = {"agent": {"accepts": Go, "replies": [Said]}, "description": "Works.", "peers": ["boss"]}
    async with running(handlers={"writer": agent, "boss": boss()}, models=model.models()) as organism:
        thread = await organism.send("writer", Go("go"))
        (question,) = await asked(organism)
        assert question.payload == Go("may I?")
        await organism.answer(question.id, Leave(granted=True, why="sure"))
        assert (await thread.result()).reply == Said("I may")
        assert "sure" in str(model.requests[-1].messages)


async def test_cancelling_drops_the_question() -> None:
    async with running(handlers=asking()) as organism:
        thread = await organism.send("worker", Go())
        (question,) = await asked(organism)
        thread.cancel()
        assert organism.inbox() == ()
        with pytest.raises(NoQuestionError):
            await organism.answer(question.id, Leave(granted=True))
        result = await thread.result()
        assert (result.outcome, result.usage.seconds < 1) == ("cancelled", True)


async def test_an_ask_that_is_not_waited_for_any_more_drops_its_question() -> None:
    async def hasty(message: Go, ctx: Context) -> Reply[Said]:
        """Does not wait for long."""
        try:
            await ctx.ask("boss", message, timeout=5)
        except HandlerFailedError as error:
            return Reply(Said(error.text))
        return Reply(Said("answered"))

    async with running(handlers={"hasty": code(hasty, "boss"), "boss": boss()}) as organism:
        thread = await organism.send("hasty", Go())
        (question,) = await asked(organism)
        assert (await thread.result()).outcome == "paused"
        await thread.goes_on()
        assert (await thread.result()).reply == Said("'boss' did not reply within 5 s")
        assert organism.inbox() == ()
        with pytest.raises(NoQuestionError):
            await organism.answer(question.id, Leave(granted=True))


async def test_a_person_with_a_timeout_has_that_long_to_answer() -> None:
    async with running(handlers=asking(boss=boss(timeout=3600)), defaults={"timeout": 30}) as organism:
        late = await organism.send("worker", Go())
        (question,) = await asked(organism)
        await anyio.sleep(3500)
        in_time = await organism.send("worker", Go())
        assert len(await asked(organism, 2)) == 2
        await anyio.sleep(200)
        result = await late.result()
        assert (result.code, result.error) == ("timeout", "'boss' did not answer within 1 h")
        with pytest.raises(NoQuestionError):
            await organism.answer(question.id, Leave(granted=True))
        (question,) = organism.inbox()
        await organism.answer(question.id, Leave(granted=True))
        assert (await in_time.result()).reply == Said("True")
        assert organism.statistics().timers == 0


async def test_what_is_meant_for_handlers_that_run_is_not_said_of_people() -> None:
    async with running(handlers=asking(), defaults={"timeout": 30, "concurrency": 1, "peers": ["boss"]}) as organism:
        thread = await organism.send("worker", Go())
        (question,) = await asked(organism)
        await anyio.sleep(100)
        await organism.answer(question.id, Leave(granted=True))
        assert (await thread.result()).reply == Said("True")


async def test_pausing_by_hand_and_waiting_for_people_go_together() -> None:
    async with running(handlers=asking(), budget={"seconds": 60}) as organism:
        thread = await organism.send("worker", Go())
        (question,) = await asked(organism)
        await anyio.sleep(100)
        thread.pause()
        await anyio.sleep(100)
        assert (await thread.result()).outcome == "paused"
        thread.resume()
        assert (await thread.result()).error == f"waits for an answer of 'boss' to question {question.id}"
        await anyio.sleep(100)
        thread.pause()
        await organism.answer(question.id, Leave(granted=True))
        thread.resume()
        result = await thread.result()
        assert (result.reply, result.usage.seconds < 1) == (Said("True"), True)


async def test_resuming_what_waits_for_people_changes_nothing() -> None:
    async with running(handlers=asking()) as organism:
        thread = await organism.send("worker", Go())
        (question,) = await asked(organism)
        thread.resume()
        assert (await thread.result()).outcome == "paused"
        await organism.answer(question.id, Leave(granted=True))
        assert (await thread.result()).outcome == "completed"


async def test_a_question_is_an_event_that_subscribers_hear() -> None:
    async with running(handlers=asking()) as organism:
        heard: list[Posted] = []
        organism.subscribe(
            lambda fact: heard.extend(step for step in fact.steps if isinstance(step, Posted) and step.answers)
        )
        thread = await organism.send("worker", Go("now"))
        await thread.result()
        (posted,) = heard
        assert (posted.to, posted.payload, posted.answers) == ("boss", Go("now"), ("Leave",))
        (question,) = organism.inbox()
        assert question.id == f"{posted.thread}/{posted.seq}"


async def test_an_answer_that_its_thread_cannot_bear_fails_the_question() -> None:
    async def sender(message: Go | Leave, ctx: Context) -> Send[Go] | None:
        """Sends it to the boss, and has no message left for the answer."""
        return Send("boss", message) if isinstance(message, Go) else None

    handlers = {"sender": code(sender, "boss"), "boss": boss()}
    async with running(handlers=handlers, budget={"messages": 2}) as organism:
        thread = await organism.send("sender", Go())
        (question,) = await asked(organism)
        with pytest.raises(HandlerFailedError, match="messages of the thread"):
            await organism.answer(question.id, Leave(granted=True))
        result = await thread.result()
        assert (result.outcome, result.unit, organism.inbox()) == ("exhausted", "messages", ())


async def test_people_in_a_conversation_are_asked_when_their_turn_has_come() -> None:
    async with running(handlers=asking()) as organism:
        first = await organism.send("worker", Go("one"), conversation="c")
        second = await organism.send("boss", Go("two"), conversation="c")
        (question,) = await asked(organism)
        await anyio.sleep(50)
        assert [each.id for each in organism.inbox()] == [question.id]
        assert second.waits_turn
        await organism.answer(question.id, Leave(granted=True))
        assert (await first.result()).reply == Said("True")
        (question,) = await asked(organism)
        assert question.payload == Go("two")
        await organism.answer(question.id, Leave(granted=True, why="late"))
        assert (await second.result()).reply == Leave(granted=True, why="late")


async def test_closing_an_organism_without_a_journal_ends_what_waits() -> None:
    async with running(handlers=asking()) as organism:
        thread = await organism.send("worker", Go())
        await asked(organism)
    assert (await thread.result()).outcome == "cancelled"


def test_a_script_does_not_wait_for_people_for_ever() -> None:
    from organism import Organism

    with pytest.raises(HandlerFailedError, match="paused: waits for an answer of 'boss' to question"):
        Organism(name="test", handlers=asking()).run_sync("worker", Go())


async def test_a_thread_comes_to_rest_also_where_nobody_listens() -> None:
    """What happens is written down by nobody then, not even by a test."""

    async def opens(message: Go, ctx: Context) -> Any:
        await anyio.sleep(1)
        return Forward("slow", message)

    async with Organism(
        name="test", handlers={"opens": code(opens, "slow"), "slow": code(slow), **asking()}
    ) as organism:
        assert not organism.kernel.book.listening
        paused = await organism.send("opens", Go())
        paused.pause()
        asks = await organism.send("worker", Go())
        with anyio.fail_after(10):
            assert [(await each.result()).outcome for each in (paused, asks)] == ["paused", "paused"]
            paused.resume()
            (question,) = organism.inbox()
            await organism.answer(question.id, Leave(granted=True))
            assert [(await each.result()).outcome for each in (paused, asks)] == ["completed", "completed"]
