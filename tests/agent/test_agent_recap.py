"""What an agent remembers when its conversation goes on in a fresh one."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from organism.agent import recap
from organism.agent.history import History
from organism.testing import Says, ScriptedModel, running
from tests.durable.turns_world import Heard, Say, turn

TEXTS = st.lists(st.tuples(st.sampled_from(["user", "assistant", "tool"]), st.text(max_size=600)), max_size=60)


def remembered(messages: list[tuple[str, str]], system: str = "You are.") -> dict[str, Any]:
    state: dict[str, Any] = {}
    history = History(state)
    history.begin(system)
    for role, content in messages:
        history.add({"role": role, "content": content})
    history.leave()
    return state


def test_it_keeps_the_instructions_and_what_was_said_first_and_last() -> None:
    state = remembered([("user", f"question {n}") for n in range(40)])
    history = History(recap(state))
    assert history.system == "You are."
    (told,) = history.messages
    assert told["role"] == "user"
    head, first, gap, *last = str(told["content"]).split("\n")
    assert (head, first, gap) == ("The conversation so far, cut short (40 messages):", "user: question 0", "...")
    assert last == [f"user: question {n}" for n in range(29, 40)]


def test_who_has_said_nothing_yet_begins_as_before() -> None:
    assert recap({}) == {}
    assert recap(remembered([])) == remembered([])


def test_what_is_long_is_cut_and_stays_in_its_line() -> None:
    (told,) = History(recap(remembered([("user", "a\nb " * 1000), ("assistant", "")]))).messages
    _, line = str(told["content"]).split("\n")
    assert line.startswith("user: a b a b ")
    assert line.endswith("…")
    assert len(line) < 260


@given(TEXTS)
def test_a_recap_is_bounded_and_changes_nothing_of_what_it_was_made_of(messages: list[tuple[str, str]]) -> None:
    state = remembered(messages)
    before = dict(state)
    made = recap(state)
    assert state == before
    assert len(str(made)) < 12 * 300 + 500 or not messages
    if History(dict(state)).messages:
        again = History(made)
        again.add({"role": "user", "content": "next"})
        again.leave()
        assert [each["content"] for each in History(made).messages][1:] == ["next"]


async def test_an_agent_goes_on_with_a_recap_in_the_fresh_conversation() -> None:
    model = ScriptedModel([Says(text="thinking", calls=(("reply", Heard("yes")),))])
    agent = {"agent": {"accepts": Say, "replies": Heard, "prompt": "You listen."}, "description": "Listens."}
    limits = {"messages": 20, "on_cap": "rotate"}
    async with running(handlers={"agent": agent}, models=model.models(), conversation=limits) as organism:
        names = [(await turn(organism, "agent", f"fact {n}")).conversation for n in range(42)]
        assert names == ["c"] * 20 + ["c~2"] * 20 + ["c~3"] * 2
    asked = [request.messages for request in model.requests]
    assert [len(messages) for messages in asked[:3]] == [2, 5, 8]
    system, told, now = asked[20]
    assert system == asked[0][0]
    assert "(60 messages)" in str(told["content"])
    assert "fact 0" in str(told["content"])
    assert "fact 19" in str(told["content"])
    assert "fact 20" in str(now["content"])
    assert "fact 0" in str(asked[40][1]["content"])  # the recap of a recap begins with it
