"""``organism check``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Desk

SEVEN = """
    organism: Demo
    budgt: {tokens: 5}
    budget: {tokens: -5}
    handlers:
      shouter: {code: work:shot}
      joiner: {code: work:join, peers: [shoter]}
      boss: {code: work:boss, timeout: no}
    start:
      - {to: joiner, payload: {Pair: {left: a}}}
"""


def test_seven_mistakes_are_seven_placed_lines(desk: Desk) -> None:
    desk.write("organism.yaml", SEVEN)
    ran = desk.organism("check")
    assert ran.code == 2
    assert "Traceback" not in ran.out + ran.err
    lines = ran.out.splitlines()
    assert len(lines) == 7
    for line, number in zip(lines, (1, 2, 3, 5, 6, 7, 9), strict=True):
        assert re.match(rf"organism\.yaml:{number}:\d+ [a-z]", line), line
    assert lines[4].endswith("handlers.joiner.peers[0]: 'shoter' is not a handler; did you mean 'shouter'?")


def test_a_sound_file_is_told_in_short(desk: Desk) -> None:
    ran = desk.organism("check")
    assert ran.code == 0
    assert ran.err == "imported\n"
    lines = ran.out.splitlines()
    assert lines[0] == "organism.yaml: no mistakes"
    assert lines[1] == "organism 'demo': 9 handlers, 1 model, runtime trio, journal memory:"
    assert lines[2] == "budget of a thread: messages 300, depth 50"
    assert "handler boss     code, takes Job; peers shouter" in lines
    assert "model   default  simulated/sim-1" in lines
    assert "start: Job to shouter" in lines
    assert lines[-1] == "note: no models are configured: 'default' is simulated, and calls no provider"


def test_all_limits_are_told_and_who_may_raise_them(desk: Desk) -> None:
    desk.write(
        "organism.yaml",
        """
        organism: demo
        budget: {tokens: 9000, grants_by: boss, grants_up_to: {tokens: 2000, cost_usd: 0.5}}
        conversation: {tokens: 60000}
        accounts: {tenant: {cost_usd: 2.50, window: month}, "tenant:acme": {}}
        ceiling: {model_calls: 1000, window: day}
        handlers:
          boss:
            description: Decides.
            human: {accepts: "organism.primitives:BudgetRequest", replies: "organism.primitives:BudgetDecision"}
        """,
    )
    ran = desk.organism("check")
    assert ran.code == 0, ran.out
    assert ran.out.splitlines()[2:8] == [
        "budget of a thread: tokens 9,000, messages 300, depth 50",
        "more budget: 'boss' decides, up to tokens 2,000, cost_usd 0.5",
        "budget of a conversation: tokens 60,000",
        "budget of account tenant, in a month: cost_usd 2.50",
        "budget of account tenant:acme, in a run: no limits",
        "ceiling of the organism, in a day: model_calls 1,000",
    ]


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["conversation.cost_usd=0.5"], "cost_usd 0.5; a thread outside of conversations: no limit in cost_usd"),
        (
            ["conversation.cost_usd=0.5", "conversation.tokens=900", "budget.tokens=0"],
            "tokens 900, cost_usd 0.5; a thread outside of conversations: no limit in cost_usd",
        ),
        (["conversation.cost_usd=0.5", "ceiling.cost_usd=9"], "cost_usd 0.5"),
        (["conversation.messages=20"], "messages 20"),
    ],
)
def test_what_only_conversations_are_limited_in_is_told(desk: Desk, sets: list[str], said: str) -> None:
    given = [part for each in sets for part in ("--set", each)]
    lines = desk.organism("check", *given).out.splitlines()
    assert f"budget of a conversation: {said}" in lines


AGENT = """
    organism: demo
    models:
      default:
        backends: [{provider: simulated, model: a}, {provider: simulated, model: b, base_url: "http://here/v1"}]
    handlers:
      writer:
        description: Writes.
        agent: {accepts: work:Job, replies: [work:Done]}
        budget: {tokens: 12000, cost_usd: 0.5, seconds: 300}
"""


def test_agents_models_and_budgets_are_told(desk: Desk) -> None:
    desk.write("organism.yaml", AGENT)
    lines = desk.organism("check").out.splitlines()
    assert lines[3:] == [
        "handler writer   agent, takes Job, replies Done, model default; own budget: tokens 12,000, cost_usd 0.5, seconds 300",
        "model   default  simulated/a, else simulated/b at http://here/v1",
        "start: nothing; 'organism run' needs --send",
    ]


def test_what_agents_are_not_told_is_told(desk: Desk) -> None:
    desk.write("organism.yaml", AGENT)

    def writer(said: str) -> str:
        return desk.organism("check", "--set", f"defaults.agent.notices={said}").out.splitlines()[3]

    assert "model default; not told of its budget; own budget" in writer("{deliver: false, figures: none}")
    assert "model default; told of its budget without figures; own" in writer("{figures: none}")
    assert "model default; told of its budget with placebo figures; own" in writer("{figures: placebo}")
    assert "told" not in writer("{figures: true, warning: Hurry.}")


KEY = """
    organism: demo
    budget: {cost_usd: 1}
    models:
      default:
        backends:
          - {provider: openai, model: nobody-knows-it, api_key_env: NO_SUCH_KEY}
"""


def test_models_are_checked_too_each_mistake_with_its_place(desk: Desk) -> None:
    desk.write("organism.yaml", KEY)
    ran = desk.organism("check")
    assert ran.code == 2
    keyless, priceless = ran.out.splitlines()
    assert keyless.startswith("organism.yaml:6:9 models.default.backends[0]: no key for 'nobody-knows-it'")
    assert priceless.startswith("organism.yaml:6:9 models.default.backends[0]: no price is known")
    again = desk.organism("run", "--send", "x")
    assert (again.code, again.out, again.err) == (2, "", ran.out)
    unpriced = desk.organism("check", "--set", "budget.on_unpriced=ignore")
    assert unpriced.out == f"{keyless}\n"


def test_what_is_set_over_the_file_is_checked(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = desk.organism("check", "--set", "budget.tokens=500", "--set", "runtime=asyncio")
    assert (ran.code, ran.out.splitlines()[2]) == (0, "budget of a thread: tokens 500, messages 300, depth 50")
    assert "runtime asyncio" in ran.out
    wrong = desk.organism("check", "--set", "budget.tokns=500", "--set", "runtime=curio")
    assert wrong.code == 2
    assert [line.partition(":")[0] for line in wrong.out.splitlines()] == ["--set budget.tokns", "--set runtime"]
    monkeypatch.setenv("ORGANISM_NONE", "1")
    assert desk.organism("check").out.startswith("ORGANISM_NONE")


def test_a_file_that_is_not_there_is_one_line(desk: Desk) -> None:
    ran = desk.organism("check", "gone.yaml")
    assert (ran.code, ran.out, ran.err) == (
        2,
        "gone.yaml: there is no such file; 'organism init DIR' makes a project\n",
        "",
    )


def test_a_path_is_written_as_it_was_given(desk: Desk) -> None:
    desk.write("deep/other.yaml", "organism: Demo\n")
    assert desk.organism("check", "deep/other.yaml").out.startswith("deep/other.yaml:1:11 organism: ")


def test_a_person_is_said_to_be_one(desk: Desk) -> None:
    asked = "{accepts: organism.primitives:BudgetRequest, replies: organism.primitives:BudgetDecision}"
    desk.write("organism.yaml", f"organism: demo\nhandlers:\n  boss: {{description: Decides., human: {asked}}}\n")
    ran = desk.organism("check")
    assert "handler boss     a person, takes BudgetRequest, replies BudgetDecision" in ran.out


def test_loops_are_told_by_so_many_messages_as_can_be_kept(desk: Desk) -> None:
    desk.write("organism.yaml", f"organism: demo\nloops: {{within: {10**24}}}\n")
    ran = desk.organism("check")
    assert (ran.code, ran.out) == (2, f"organism.yaml:2:17 loops.within: {10**24} is too much: 10000 is the most\n")
