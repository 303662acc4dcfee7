"""What models were asked is put together again from entries that refer to each other."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from organism import Context, Reply
from organism.budget.claims import Charge, Claim
from organism.errors import JournalError
from organism.journal.codec import encode
from organism.journal.prompts import prompts, requests
from organism.kernel import Kernel
from organism.kernel.calls import CallFor
from organism.kernel.holds import Hold
from organism.kernel.prompts import Prompt
from organism.models.contract import BackendError
from organism.record.facts import Answered, CallCompleted, CallHeld, CallSettled
from organism.record.images import Prompted
from organism.settings import BudgetSettings, Settings
from organism.testing import Says, ScriptedModel, running
from tests.hard.pump_world import Go, Said, code

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.record.facts import Fact


def said(text: str, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": text}


def held(hold: int, asked: tuple[str, Prompted | None] = ("", None), *, attempt: int = 1, seq: int = 1) -> CallHeld:
    return CallHeld(
        at=1.0, thread="t", hold=hold, seq=seq, need=(1, 1, 0, 0, 1, 0), output=1, alias="default", backend="b", attempt=attempt,
        grace=False, streamed=False, key=asked[0], prompt=asked[1],
    )  # fmt: skip


def settled(hold: int, *, seq: int = 1) -> CallSettled:
    return CallSettled(
        at=2.0, thread="t", hold=hold, seq=seq, handler="h", alias="default", backend="b", held_at=1.0, charge=Charge()
    )


def completed(key: str, *, seq: int = 1) -> CallCompleted:
    return CallCompleted(at=2.0, thread="t", seq=seq, handler="h", text="", key=key)


def asks(key: str, *messages: Any, after: int | None = None, kept: int = 0, asked: Any = None) -> tuple[str, Prompted]:
    return key, Prompted(after=after, kept=kept, messages=messages, asked=asked)


def documents(facts: Sequence[Fact]) -> list[dict[str, Any]]:
    return [{**encode(fact, "t"), "n": number} for number, fact in enumerate(facts, 1)]


def test_a_prompt_goes_on_from_the_one_that_it_names() -> None:
    found = requests(
        documents(
            [
                held(3, asks("a", said("be brief", "system"), said("one"), asked={"temperature": 0, "tools": ("x",)})),
                held(5, asks("b", said("two"), after=3, kept=2)),
                held(7, asks("c", said("three"), after=5, kept=1, asked={})),
            ]
        )
    )
    system = said("be brief", "system")
    assert found[3].messages == (system, said("one"))
    assert found[5].messages == (system, said("one"), said("two"))
    assert found[7].messages == (system, said("three"))
    assert [(found[hold].said.count, len(found[hold].said.added)) for hold in (3, 5, 7)] == [(2, 2), (3, 1), (2, 1)]
    assert found[3].asked == found[5].asked == {"temperature": 0, "tools": ["x"]}
    assert found[7].asked == {}


def test_values_that_json_has_no_form_for_come_back_as_a_provider_gets_them() -> None:
    given_one = {"role": "user", "content": ({"type": "text", "text": "hi", "$ref": 1},)}
    assert prompts(documents([held(1, asks("a", given_one))])) == {
        1: [{"role": "user", "content": [{"type": "text", "text": "hi", "$ref": 1}]}]
    }


def test_a_further_attempt_asks_the_same_also_beside_another_call() -> None:
    """Two calls run side by side: one is tried again after the other was answered."""
    found = prompts(
        documents(
            [
                held(1, asks("a", said("one"))),
                held(2, asks("b", said("two"))),
                settled(2),
                completed("b"),
                settled(1),
                held(3, ("a", None), attempt=2),
                settled(3),
                held(4, ("a", None), attempt=3),
                settled(4),
                completed("a"),
                Answered(at=3.0, thread="t", seq=1, handler="h"),
                held(5, attempt=2),
            ]
        )
    )
    assert found == {1: [said("one")], 2: [said("two")], 3: [said("one")], 4: [said("one")]}


def test_calls_whose_prompts_were_not_written_are_left_out() -> None:
    assert prompts(documents([held(1), settled(1), completed(""), held(2, attempt=2)])) == {}


@pytest.mark.parametrize(
    ("kept", "after", "lacks"), [(1, 9, "call 9, which is not there"), (3, 1, "call 1, which has 1")]
)
def test_a_prompt_that_cannot_be_put_together_is_damage(kept: int, after: int, lacks: str) -> None:
    with pytest.raises(JournalError, match=f"^entry 2: its prompt begins with {kept} messages? of {lacks}$"):
        prompts(documents([held(1, asks("a", said("one"))), held(2, asks("b", after=after, kept=kept))]))


def room(turns: int, *, beside: bool) -> int:
    """The bytes that the prompts of so many calls take: of a conversation, or of calls that all begin like the first."""
    record: list[dict[str, Any]] = []
    for hold in range(1, turns + 1):
        after, kept = (None, 0) if hold == 1 else (hold - 1, turns if beside else 3 * (hold - 1))
        new = [said(str(number)) for number in range(turns if beside and hold == 1 else 3)]
        given_one: dict[str, Any] = {"after": after, "kept": kept, "messages": new, "asked": {} if hold == 1 else None}
        record.append(
            {"fact": "CallHeld", "hold": hold, "thread": "t", "seq": 1, "key": str(hold), "prompt": given_one}
        )
    tracemalloc.start()
    try:
        found = requests(record)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found[turns].messages) == (turns + 3 if beside else 3 * turns)
    return held


@pytest.mark.parametrize("beside", [False, True])
def test_all_prompts_together_take_the_room_of_their_entries(*, beside: bool) -> None:
    """A tuple of messages for each took 110 MB for a conversation of 3,000 calls: 3.5 times as much here."""
    assert room(600, beside=beside) < 3 * room(300, beside=beside)


@given(st.data())
def test_whatever_is_kept_of_which_call_the_messages_are_those_that_were_sent(data: st.DataObject) -> None:
    """A writer may refer to any earlier prompt, and keep any part of its beginning that the new one shares."""
    texts = st.lists(st.sampled_from("abc"), max_size=5)
    sent: dict[int, list[Any]] = {}
    facts: list[Fact] = []
    for hold in range(1, data.draw(st.integers(1, 8)) + 1):
        messages = [said(text) for text in data.draw(texts)]
        after = data.draw(st.sampled_from([None, *sent]))
        before = [] if after is None else sent[after]
        shared = next((n for n, (a, b) in enumerate(zip(before, messages, strict=False)) if a != b), None)
        most = min(len(before), len(messages)) if shared is None else shared
        kept = 0 if after is None else data.draw(st.integers(0, most))
        facts.append(held(hold, asks(str(hold), *messages[kept:], after=after, kept=kept)))
        sent[hold] = messages
    assert prompts(documents(facts)) == sent


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=5), max_size=8), st.data())
def test_what_the_kernel_writes_of_prompts_is_read_as_it_was(turns: list[list[str]], data: st.DataObject) -> None:
    """As models were asked: each prompt is told by the one before, and some attempts fail and are made again."""
    record: list[Fact] = []
    kernel = Kernel(Settings(name="demo"), lambda _, fact: record.append(fact))
    thread = kernel.open_bare("t", BudgetSettings(), {}, 0.0)
    sent: dict[int, tuple[list[Any], Any]] = {}
    for number, texts in enumerate(turns):
        messages = [said(text) for text in texts]
        asked = data.draw(st.sampled_from([{}, {"temperature": 0}]))
        for attempt in range(1, data.draw(st.integers(1, 3)) + 1):
            prompt = Prompt(key=str(number), messages=messages, asked=asked) if attempt == 1 else None
            call = CallFor(thread=thread, message=None, alias="default", backend="b", attempt=attempt, prompt=prompt)
            hold = kernel.calls.hold(Claim(input_tokens=1, wish=1, min_output=1), call, 1.0)
            assert isinstance(hold, Hold)
            sent[hold.id] = (messages, asked)
            kernel.calls.settle(hold, Charge(), 2.0)
        record.append(completed(str(number), seq=0))
    found = requests(documents(record))
    assert {hold: (list(prompt.messages), prompt.asked) for hold, prompt in found.items()} == sent


async def librarian(message: Go, ctx: Context) -> Reply[Said]:
    await ctx.complete("Where is it?", temperature=0.5)
    return Reply(Said(f"found {message.text}"))


AGENT: Final = {
    "desk": {
        "agent": {"accepts": Go, "replies": Said},
        "description": "Answers.",
        "peers": ["librarian"],
    },
    "librarian": code(librarian),
}


async def test_what_models_were_asked_is_what_the_record_says() -> None:
    """An agent with a peer, over two calls of which one is made again: every request that came, in its order."""
    failed = Says(error=BackendError("server", "try again"))
    search, reply = Says(calls=(("librarian", {"text": "bees"}),)), Says(calls=(("reply", {"text": "done"}),))
    model = ScriptedModel([failed, search, Says(text="On the shelf."), failed, failed, reply])
    async with running(handlers=AGENT, models=model.models()) as organism:
        thread = await organism.send("desk", Go("?"))
        assert (await thread.result()).reply == Said("done")
    found = requests(documents(organism.watch.facts))
    sent = [[dict(message) for message in request.messages] for request in model.requests]
    assert [list(prompt.messages) for prompt in found.values()] == sent
    assert [prompt.asked.get("temperature") for prompt in found.values()] == [None, None, 0.5, None, None, None]
    # What the first prompt of the agent held is written once.
    kept = [fact.prompt.kept for fact in organism.watch.of(CallHeld) if fact.prompt is not None]
    assert kept == [0, 0, 2]
