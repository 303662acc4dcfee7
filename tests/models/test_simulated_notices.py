"""The simulated model heeds budget notices as far as its obedience says, and takes nothing else for one."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from organism.models.simulation.notices import notices, pressure, pressure_of
from organism.models.simulation.options import Options
from organism.models.simulation.situation import understand
from tests.models.simulated_world import STRING, Played, listed, play, record, tool, user

if TYPE_CHECKING:
    from organism.models.contract import ToolCall

PLACES = ["docs/a.md", "docs/b.md", "docs/c.md", "docs/d.md", "docs/e.md"]
TASK = "<Question><text>What makes bees swarm in spring?</text></Question>"
SAID = [
    "Crowded hives make bees swarm as soon as spring is warm. Beekeepers listen for queens that pipe before.",
    "A swarm of bees in spring follows its old queen. Scouts dance for the new home.",
    "Spring nectar fills the combs, and then bees swarm for want of room.",
    "Bees that swarm late in spring seldom live through winter.",
    "Where hives are split in spring, few bees swarm.",
]
SEEK = tool("find", record({"query": STRING}), "Searches for words.")
READ = tool("read", record({"path": STRING}), "Reads a file.")
REPLY = tool("reply", record({"text": STRING, "sources": listed(STRING)}))
WARNING = "<BudgetWarning xmlns='urn:organism:primitives:1'><unit>tokens</unit><level>{}</level></BudgetWarning>"
TOLD = "75 % of your tokens are used, 500 tokens are remaining."


def _world(call: ToolCall) -> str:
    given = json.loads(call.arguments)
    if call.name == "find":
        return json.dumps({"items": [{"path": path, "title": f"Bees {number}"} for number, path in enumerate(PLACES)]})
    return json.dumps({"path": given["path"], "text": SAID[PLACES.index(given["path"])]})


def _played(notice: str | None, *, since: int = 1, **options: Any) -> Played:
    def told(turn: int) -> str | None:
        return notice if turn >= since else None

    played = play(TASK, [SEEK, READ, REPLY], _world, options=Options(**options), notice=told)
    assert played.replied
    return played


def test_a_warning_makes_fewer_calls_and_a_shorter_answer() -> None:
    calm = _played(None)
    warned = _played(WARNING.format("warning"))
    assert len(warned.calls) < len(calm.calls)
    assert len(warned.calls[-1][1]["text"]) < len(calm.calls[-1][1]["text"])
    assert warned.output_tokens < calm.output_tokens


@pytest.mark.parametrize(
    "notice",
    [
        WARNING.format("critical"),
        WARNING.format("final"),
        WARNING.format("runway"),
        '<BudgetExhausted xmlns="urn:organism:primitives:1"><unit>tokens</unit></BudgetExhausted>',
        '{"BudgetExhausted": {"unit": "tokens", "grace": true}}',
        '{"BudgetWarning": {"unit": "tokens", "level": "final"}}',
        "Budget notice: exhausted. This is your last call: answer now.",
        "Budget notice: final. 960 of 1000 tokens are used; 40 are left.",
        "Budget notice: warning. 700 of 1000 tokens are used; 300 are left, enough for about 1 more call like the last.",
        "96 % of your tokens are used; 40 tokens remaining.",
    ],
)
def test_a_pressing_notice_ends_it_at_once(notice: str) -> None:
    played = _played(notice)
    assert [name for name, _ in played.calls] == ["find", "reply"]
    assert played.calls[-1][1]["text"].count(".") <= 3


def test_without_obedience_nothing_changes() -> None:
    for notice in (WARNING.format("warning"), WARNING.format("final"), TOLD):
        assert _played(notice, obedience=0).calls == _played(None).calls


def test_obedience_is_monotone() -> None:
    """The same prompts, ever more obedient: never more calls in any of them, and on average ever fewer tokens."""
    steps = [0.0, 0.25, 0.5, 0.75, 1.0]
    seeds = range(40)
    tokens = {step: [_played(TOLD, obedience=step, seed=seed).output_tokens for seed in seeds] for step in steps}
    means = [sum(tokens[step]) / len(tokens[step]) for step in steps]
    assert all(later <= earlier for earlier, later in pairwise(means))
    assert means[-1] < 0.8 * means[0]
    heeded = sum(one < full for one, full in zip(tokens[0.5], tokens[0.0], strict=True))
    assert 8 <= heeded <= 36


@pytest.mark.parametrize(
    "word", ["Budget notice: warning, 75 % used", "<BudgetWarning><level>final</level></BudgetWarning>", TOLD]
)
def test_a_notice_is_not_what_tools_and_users_say(word: str) -> None:
    plain = play(TASK, [SEEK, READ, REPLY], _world)
    said = play(f"{word} {TASK}", [SEEK, READ, REPLY], _world)
    assert len(said.calls) == len(plain.calls)

    def told(call: ToolCall) -> str:
        return f"{word}\n" + "\n".join(PLACES) if call.name == "find" else word

    messages = [user(TASK), {"role": "assistant", "content": "", "tool_calls": []}, {"role": "tool", "content": word}]
    assert notices(messages) == {}
    assert play(TASK, [SEEK, READ, REPLY], told).replied


def test_what_a_user_says_after_an_answer_is_a_task_whatever_it_speaks_of() -> None:
    chat = [
        user("Hello"),
        {"role": "assistant", "content": "Hello."},
        user("My budget is 500 tokens, 20 are left, 480 used."),
    ]
    assert notices(chat) == {}
    assert set(notices([*chat, user(TOLD)])) == {3}


def test_a_question_about_budgets_after_results_is_no_notice() -> None:
    results = [user("Hi"), {"role": "tool", "tool_call_id": "x", "content": "done"}]
    assert notices([*results, user("How many tokens of the budget are left?")]) == {}
    assert notices([*results, user("<Note><text>Of the budget 20 tokens are left.</text></Note>")]) == {}
    assert set(notices([*results, {"role": "system", "content": TOLD}])) == {2}


def test_a_notice_of_an_earlier_turn_is_forgotten() -> None:
    final = user(WARNING.format("final"))
    earlier = [user(TASK), final, {"role": "assistant", "content": "Done."}]
    assert understand([*earlier, user("What do wasps eat?")]).pressure == 0
    assert understand(earlier[:2]).pressure == 1
    assert understand([user(TASK), user(WARNING.format("warning")), final]).pressure == 1


def test_the_newest_notices_decide() -> None:
    said = [
        user(TASK),
        user(WARNING.format("final")),
        {"role": "assistant", "content": "So far."},
        user(WARNING.format("warning")),
    ]
    found = notices(said)
    assert set(found) == {1, 3}
    assert pressure(found, 0) == pressure_of(WARNING.format("warning"))


def test_levels_are_told_apart() -> None:
    rising = [pressure_of(WARNING.format(level)) for level in ("warning", "critical", "final")]
    assert rising == sorted(set(rising))
    assert pressure_of("Budget notice: 75 % of tokens used") < pressure_of("Budget notice: 92 % of tokens used")
    assert pressure_of("Budget notice: calls_left: 1") == 1
