"""What went on in a thread, line by line, where the facts are made by hand."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import Context, payload
from organism.budget.claims import Charge
from organism.cli.phrases import SHORT, forecast_text, message_text, short
from organism.cli.story.page import How
from organism.cli.story.story import Story
from organism.journal.codec import encode
from organism.journal.prompts import requests
from organism.journal.values import PlainPayload
from organism.record import facts
from organism.record.images import CutShort, Kept, Prompted
from organism.settings import BudgetSettings, Limits
from organism.testing import running
from organism.threads.outcomes import Failure
from organism.usage import Estimate, Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.record.facts import Fact, Step


@payload
class Note:
    text: str
    tags: tuple[str, ...] = ()


def posted(seq: int, to: str, *, sender: str = "", kind: str = "ingress", **more: Any) -> facts.Posted:
    given: dict[str, Any] = {
        "thread": "t", "payload": Note("hi"), "frame": ("t", seq), "opens": True, "parent": None, **more,
    }  # fmt: skip
    return facts.Posted(seq=seq, to=to, sender=sender, kind=kind, **given)


def opened(*steps: Step) -> facts.Accepted:
    root = facts.ThreadOpened(thread="t", kind="root", handler="desk", budget=BudgetSettings(), owner=None, labels={})
    return facts.Accepted(at=0.0, thread="t", steps=(root, posted(1, "desk"), *steps))


def held(hold: int, prompt: Prompted | None = None, *, attempt: int = 1, **more: Any) -> facts.CallHeld:
    given: dict[str, Any] = {"grace": False, **more}
    return facts.CallHeld(
        at=1.0, thread="t", hold=hold, seq=1, need=(90, 40, 50, 7, 1, 0), output=50, alias="default", backend="b/m",
        attempt=attempt, streamed=False, prompt=prompt, **given,
    )  # fmt: skip


def settled(hold: int, charge: Charge) -> facts.CallSettled:
    return facts.CallSettled(
        at=3.5, thread="t", hold=hold, seq=1, handler="desk", alias="default", backend="b/m", held_at=1.0, charge=charge
    )


def told(those: Sequence[Fact], **how: Any) -> list[str]:
    """The lines behind the first one, indented as they stand."""
    story = Story("t", requests(encode(fact, "t") for fact in those), How(**how))
    for fact in those:
        story.tell(fact)
    return ["  " * line.depth + line.text for line in story.lines][1:]


def test_a_call_is_told_with_what_is_new_in_its_prompt() -> None:
    first = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is\nan organism?"})
    second = ({"role": "assistant", "content": "A pump."}, {"role": "user", "content": "Why?"})
    lines = told(
        [
            opened(),
            held(1, Prompted(after=None, kept=0, messages=first, asked={"temperature": 0})),
            settled(1, Charge(input_tokens=1200, output_tokens=50, cost=2_100_000_000)),
            facts.CallCompleted(at=3.5, thread="t", seq=1, handler="desk", text="A pump.", key="a"),
            held(2, Prompted(after=1, kept=2, messages=second, asked=None), grace=True),
        ]
    )
    assert lines == [
        "  desk calls default (b/m), call 1: 2 messages, 2 new: user: What is an organism?",
        "  call 1 answers [1,200 in, 50 out, 0.0021 USD, 2.50 s]: A pump.",
        "  desk calls default (b/m), call 2, on grace: 4 messages, 2 new: user: Why?",
    ]


def test_all_that_a_model_was_asked_is_told_with_prompts() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "reader", "arguments": '{"page": 1}'}}
    messages = (
        {"role": "user", "content": [{"type": "text", "text": "one\ntwo"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    )
    those = [opened(), held(1, Prompted(after=None, kept=0, messages=messages, asked={"temperature": 0}))]
    story = Story("t", requests(encode(fact, "t") for fact in those), How(prompts=True))
    for fact in those:
        story.tell(fact)
    assert story.lines[1].text == "desk calls default (b/m), call 1:"
    assert story.lines[1].more == (
        "  user: one",
        "    two",
        '  assistant: uses reader {"page": 1}',
        "  with temperature: 0",
    )


def test_attempts_are_told_one_by_one() -> None:
    prompt = Prompted(after=None, kept=0, messages=({"role": "user", "content": "hi"},), asked={})
    kept = Kept(model="m", backend="b/m", usage=Usage(), tool_calls=(("c", "reader", '{"page": 1}'),))
    lines = told(
        [
            opened(),
            held(1, prompt, key="a"),
            settled(1, Charge()),
            held(2, attempt=2, key="a", call=1),
            settled(2, Charge(input_tokens=9, output_tokens=5, estimated=True)),
            facts.CallCompleted(at=3.5, thread="t", seq=1, handler="desk", text="", key="a", kept=kept),
            held(3, attempt=1),
        ]
    )
    assert lines == [
        "  desk calls default (b/m), call 1: 1 message, 1 new: user: hi",
        "  call 1 gets no answer [nothing charged, 2.50 s]",
        "  desk calls default (b/m), attempt 2 of call 1 after 0.00 s: 1 message, 1 new",
        '  attempt 2 of call 1 answers [~9 in, ~5 out, 0.00 USD, 2.50 s]: uses reader {"page": 1}',
        "  desk calls default (b/m), call 3",
    ]


def test_what_has_no_price_is_not_said_to_cost_nothing() -> None:
    lines = told([opened(), held(1), settled(1, Charge(input_tokens=9, output_tokens=5, unpriced=True))])
    assert lines[1:] == ["  call 1 gets no answer [9 in, 5 out, price unknown, 2.50 s]"]


@pytest.mark.parametrize(("error", "end"), [("boom x", ""), ("another", ": another"), (None, "")])
def test_the_end_does_not_say_again_what_has_just_been_said(error: str | None, end: str) -> None:
    failed = facts.Failed(at=1.0, thread="t", seq=1, handler="desk", failure=Failure("crashed", "boom x"))
    ended = facts.Ended(
        at=1.5, thread="t", kind="root", handler="desk", outcome="failed", unit=None, partial=None,
        usage=Usage(seconds=1.5), own=Usage(), replies=(), warnings=(), labels={}, error=error, code="crashed", threads=(),
    )  # fmt: skip
    assert told([opened(), failed, ended]) == ["  desk fails: crashed: boom x", f"ended failed after 1.50 s{end}"]


def test_a_call_that_was_out_when_its_process_ended_is_told_as_such() -> None:
    charge = Charge(input_tokens=9, output_tokens=5, estimated=True)
    lines = told(
        [
            opened(),
            held(1),
            facts.Resumed(at=3.0, thread="t", since=2.0, crashed=True),
            settled(1, charge),
            held(2),
            settled(2, charge),
        ]
    )
    assert lines == [
        "  desk calls default (b/m), call 1",
        "goes on after 1.00 s that do not count: its process had ended; what was under way is run again",
        "  call 1 was under way when its process ended [~9 in, ~5 out, 0.00 USD, 2.50 s]",
        "  desk calls default (b/m), call 2",
        "  call 2 gets no answer [~9 in, ~5 out, 0.00 USD, 2.50 s]",
    ]


@pytest.mark.parametrize(
    ("scope", "account", "said"),
    [
        ("account", "team:b", "tokens of the account team:b cannot"),
        ("account", None, "tokens of the account (tenant:a, team:b) cannot"),  # as journals of before have it
        ("thread", None, "tokens of the thread cannot"),
    ],
)
def test_a_refusal_names_the_account_that_it_is_of_or_those_that_it_may_be_of(
    scope: str, account: str | None, said: str
) -> None:
    fact = facts.CallRefused(
        at=1.0, thread="t", seq=1, handler="desk", unit="tokens", scope=scope, need=447, account=account,
        accounts=("tenant:a", "team:b"),
    )  # fmt: skip
    assert told([opened(), fact]) == [f"  desk is refused: {said} cover 447 more"]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"count": (26,), "message 24": ({},), "message 25": ({},)}, "desk remembers 26 messages"),
        ({"count": (26,), "last": (3,)}, "desk keeps count, last"),
        ({"message 1": ("hi",)}, "desk keeps message 1"),
        (dict.fromkeys("abcde", (1,)), "desk keeps 5 values"),
    ],
)
def test_of_an_agent_it_is_told_how_much_it_remembers(state: dict[str, Any], said: str) -> None:
    fact = facts.Answered(at=1.0, thread="t", seq=1, handler="desk", state=state)
    assert told([opened(), fact]) == [f"  {said}"]


def test_a_call_that_is_out_is_waited_for() -> None:
    story = Story("t", {}, How())
    for fact in (opened(), held(1), settled(1, Charge()), held(2)):
        story.tell(fact)
    assert list(story.waiting()) == [
        "desk has #1: Note: text=hi, tags=[]",
        "call 2 to b/m is under way: 90 tokens held",
    ]


LATE = Failure("crashed", "it\x1b did")
ENDED: dict[str, Any] = {
    "kind": "call", "handler": "reader", "unit": "tokens", "replies": (), "partial": None, "own": Usage(), "warnings": (),
    "labels": {}, "code": None, "threads": (),
}  # fmt: skip


@pytest.mark.parametrize(
    ("fact", "lines"),
    [
        (facts.Paused(at=5.0, thread="t"), ["paused"]),
        (
            facts.Resumed(at=9.0, thread="t", since=5.0),
            ["goes on after 4.00 s that do not count: the machine slept, or its clock was set"],
        ),
        (
            facts.Resumed(at=9.0, thread="t", since=5.0, crashed=True),
            ["goes on after 4.00 s that do not count: its process had ended; what was under way is run again"],
        ),
        (
            facts.Diverged(at=9.0, thread="t", seq=1, handler="desk", keys=("a", "b")),
            ["  desk went another way than before the restart: 2 earlier requests not made again"],
        ),
        (
            facts.Forked(at=9.0, thread="t", origin="other", entries=7),
            ["begins as a copy of the first 7 entries of other"],
        ),
        (
            facts.Forked(at=9.0, thread="t", origin="other", entries=1),
            ["begins as a copy of the first entry of other"],
        ),
        (
            facts.Exhausted(at=9.0, thread="t", failure=Failure("exhausted", "tokens ran out"), last=True, dropped=(("t", 1),)),
            ["tokens ran out; 1 queued message refused"],
        ),
        (
            facts.LimitsSet(at=9.0, thread="t", budget=BudgetSettings(limits=Limits(tokens=5000, seconds=2.0))),
            ["limits are now: tokens 5,000, seconds 2"],
        ),
        (
            facts.CallRefused(at=9.0, thread="t", seq=1, handler="desk", unit="cost_usd", scope="organism", need=Decimal("0.5")),
            ["  desk is refused: cost_usd of the organism cannot cover 0.5 USD more"],
        ),
        (
            facts.Failed(
                at=9.0, thread="t", seq=1, handler="desk", failure=LATE,
                steps=(facts.Unhandled(thread="t", failure=LATE, at_root=True),),
            ),
            [r"  desk fails: crashed: it\x1b did; nobody hears it"],
        ),
        (
            facts.Failed(
                at=9.0, thread="t", seq=1, handler="desk", failure=LATE,
                steps=(facts.Unhandled(thread="t", failure=LATE, at_root=True), facts.Resolved(ask=("t", 9), answer=LATE)),
            ),
            [r"  desk fails: crashed: it\x1b did; outside hears it"],
        ),
        (
            facts.Answered(
                at=9.0, thread="t", seq=1, handler="desk", steps=(facts.CameLate(frame=("t", 1), payload=Note("late")),)
            ),
            ["  desk replies too late, and the reply is dropped: Note: text=late, tags=[]"],
        ),
        (
            facts.Noticed(
                at=9.0, thread="t", seq=1, handler="desk", steps=(facts.WarningTold(thread="t", seq=3, to="desk"),)
            ),
            ["  desk gets 1 warning in its prompt"],
        ),
        (facts.Answered(at=9.0, thread="t", seq=1, handler="desk"), ["  desk is done"]),
        (
            facts.Ended(at=9.0, thread="t.4", outcome="exhausted", usage=Usage(seconds=1.5), error="no tokens", **ENDED),
            ["sub-thread .4: ended exhausted (tokens) after 1.50 s: no tokens"],
        ),
        (facts.Closed(at=9.0, thread="t"), ["closed"]),
        (
            facts.LimitsSet(at=9.0, thread="conversation:c", budget=BudgetSettings(limits=Limits(tokens=5000))),
            ["the conversation's limits are now: tokens 5,000"],
        ),
        (
            facts.Granted(
                at=9.0, thread="t", seq=1, node="t.4", unit="tokens", asked=Decimal(5000), amount=Decimal(2000), by="boss",
                reason="for now", budget=BudgetSettings(limits=Limits(tokens=12_000)),
            ),
            ["  sub-thread .4: boss grants 2,000 of 5,000 tokens; the limit is now 12,000"],
        ),
        (
            facts.Granted(
                at=9.0, thread="t", seq=1, node="t", unit="cost_usd", asked=Decimal("0.50"), amount=Decimal("0.50"),
                by="boss", reason="", budget=BudgetSettings(limits=Limits(cost_usd=Decimal("1.50"))),
            ),
            ["  boss grants 0.5 of 0.5 cost_usd; the limit is now 1.5"],
        ),
        (
            facts.Compacted(
                at=9.0, thread="t", seq=1, handler="desk", key="cut:9",
                cut=CutShort(
                    how="recap", why="mark", tokens_before=4812, tokens_after=2005, messages_before=54, messages_after=7,
                    replaced=(0, 47), digest="d", window=8000, mark=4800, longest=600, asked=True, text="the model is down",
                ),
            ),
            [
                (
                    "  desk's history is cut short, beyond its mark: 4,812 to 2,005 tokens, 54 to 7 messages; "
                    "a recap stands for messages 0 to 46; results are cut to 600 characters; no summary: the model is down"
                ),
            ],
        ),
        (
            facts.Compacted(
                at=9.0, thread="t", seq=1, handler="desk", key="prune:9",
                cut=CutShort(
                    how="prune", why="old", tokens_before=9000, tokens_after=4900, messages_before=20, messages_after=20,
                    replaced=(3, 12), digest="",
                ),
            ),
            ["  desk is sent no more of the results in messages 3 to 11: 9,000 to 4,900 tokens"],
        ),
        (
            facts.Forecast(
                at=9.0, thread="t", seq=1,
                estimate=Estimate(handler="desk", unit="tokens", low=Decimal(200), high=Decimal(5000), used=Decimal(1200)),
            ),
            ["  desk forecasts 200 to 5,000 tokens from 1,200 used on"],
        ),
    ],
)  # fmt: skip
def test_what_happens_is_said_in_words(fact: Fact, lines: list[str]) -> None:
    assert told([opened(), fact]) == lines


def test_what_is_asked_stands_below_who_asks() -> None:
    ask = posted(2, "reader", sender="desk", kind="ask", parent=("t", 1))
    forward = posted(3, "writer", sender="reader", kind="forward", parent=("t", 1))
    send = posted(4, "aside", sender="writer", kind="send", parent=("t", 3))
    resolved = facts.Resolved(ask=("t", 3), answer=Note("done"))
    assert told(
        [
            opened(),
            facts.Asked(at=1.0, thread="t", seq=1, to="reader", steps=(ask,)),
            facts.Answered(at=2.0, thread="t", seq=2, handler="reader", steps=(forward,)),
            facts.Answered(at=3.0, thread="t", seq=3, handler="writer", steps=(send, resolved)),
        ]
    ) == [
        "  desk asks reader, #2: Note: text=hi, tags=[]",
        "    reader forwards to writer, #3: Note: text=hi, tags=[]",
        "    writer to aside, #4: Note: text=hi, tags=[]",
        "    writer answers desk, #3: Note: text=done, tags=[]",
    ]


def test_payloads_in_short_are_one_harmless_line() -> None:
    assert short(PlainPayload("Q", {"b": "x\ny\x1b", "a": None}, "<Q><b>x</b></Q>")) == r"Q: b=x y\x1b, a=-"
    assert short(PlainPayload("Empty", {}, "<Empty/>")) == "Empty"
    assert short(PlainPayload("One", {"of": [1, {"k": True}]}, "<One/>")) == "One: [1, {k: True}]"
    assert len(short(Note("x" * 1000))) == SHORT
    assert message_text({"content": "hi"}) == "?: hi"


@pytest.mark.parametrize(("end", "what"), [(1500, "300 came: hit"), (9200, "8,000 came: missed")])
def test_what_came_of_a_forecast_is_said_at_the_end(end: int, what: str) -> None:
    said = Estimate(
        handler="desk", unit="tokens", low=Decimal(200), high=Decimal(5000), used=Decimal(1200), end=Decimal(end)
    )
    assert forecast_text(said) == f"desk forecasts 200 to 5,000 tokens from 1,200 used on; {what}"


async def test_what_was_dropped_waits_for_nobody() -> None:
    """Its thread may go on, with what had begun before."""

    async def desk(note: Note, ctx: Context) -> None:
        """Has two others read, one after the other, and has second thoughts."""
        for text in ("one", "two"):
            handle = await ctx.spawn("reader", Note(text))
        handle.cancel()
        await anyio.sleep_forever()

    async def reader(note: Note, ctx: Context) -> None:
        """Reads for ever."""
        await anyio.sleep_forever()

    handlers: dict[str, Any] = {
        "desk": {"code": desk, "peers": ["reader"], "timeout": None},
        "reader": {"code": reader, "concurrency": 1, "timeout": None},
    }
    async with running(handlers=handlers) as organism:
        thread = await organism.send("desk", Note("hi"))
        await anyio.sleep(1)
        story = Story(thread.id, {}, How())
        for fact in organism.watch.facts:
            story.tell(fact)
        waiting = [line.partition(" has ") for line in story.waiting()]
        assert [(who, what.partition(": ")[2]) for who, _, what in waiting] == [
            ("desk", "Note: text=hi, tags=[]"),
            ("reader", "Note: text=one, tags=[]"),
        ]
        thread.cancel()
        await thread.result()
