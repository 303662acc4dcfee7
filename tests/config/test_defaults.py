"""``defaults``: what all handlers have, and all agents, unless they say otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from organism.settings import BudgetSettings, Limits

if TYPE_CHECKING:
    from tests.config.conftest import Project

FILE = """
organism: demo
defaults: {agent: {max_turns: 5, temperature: 0, notices: {warning: "{{ unit }} run low."}}}
models: {default: {backends: [{provider: simulated, model: sim-1}]}, small: {backends: [{provider: simulated, model: sim-2}]}}
handlers:
  looker: {code: desk:look, on_failure: {do: stop}}
  boss: {description: Decides., human: {accepts: desk:Question, replies: desk:Answer}}
  reader: {description: Reads., agent: {accepts: desk:Question, replies: desk:Answer}}
  writer:
    description: Writes.
    agent: {accepts: desk:Question, replies: desk:Answer, max_turns: 9, notices: {figures: none}}
"""


def test_all_agents_have_what_defaults_say_of_them(project: Project) -> None:
    handlers = project.load(FILE).handlers
    reader, writer = handlers["reader"].agent, handlers["writer"].agent
    assert reader is not None
    assert writer is not None
    assert (reader.max_turns, reader.temperature, reader.notices.figures) == (5, 0, "true")
    assert (writer.max_turns, writer.temperature, writer.notices.figures) == (9, 0, "none")
    assert reader.notices.warning == writer.notices.warning == "{{ unit }} run low."
    assert handlers["looker"].agent is handlers["boss"].agent is None


@pytest.mark.parametrize(
    "given",
    [
        {"set": {"defaults.agent.notices.deliver": "false", "defaults.agent.model": "small"}},
        {"set": {"defaults": "{agent: {model: small}}", "defaults.agent.notices": "{deliver: false}"}},
        {"environ": {"ORGANISM_DEFAULTS__AGENT": "{model: small, notices: {deliver: false}}"}},
    ],
)
def test_one_key_set_for_all_agents(project: Project, given: dict[str, Any]) -> None:
    for name in ("reader", "writer"):
        agent = project.load(FILE, **given).handlers[name].agent
        assert agent is not None
        assert not agent.notices.deliver
        assert agent.notices.warning == "{{ unit }} run low."
        assert agent.model == "small"


def test_what_is_wrong_with_them_is_told_once(project: Project) -> None:
    given = {
        "defaults.agent.accepts": "desk:Question",
        "defaults.agent.max_turn": 3,
        "defaults.agent.model": "smal",
        "defaults.agent.notices.figures": "none",
        "defaults.agent.notices.warning": "{{ used }} are gone.",
    }
    assert project.mistakes(FILE, set=given) == [
        "--set defaults.agent.accepts: is what one handler is: write it in 'handlers'",
        "--set defaults.agent.max_turn: unknown key; did you mean 'max_turns'?",
        "--set defaults.agent.model: 'smal' is not a model; did you mean 'small'?",
        "--set defaults.agent.notices.warning: line 1: 'used' is a figure, and 'notices.figures' is none: leave it out",
    ]


def test_names_in_defaults_are_looked_up_where_nobody_has_them(project: Project) -> None:
    given = {"defaults.agent.model": "nobody", "defaults.peers": ["nobody"], "defaults.budget.grants_by": "looker"}
    assert project.mistakes("organism: demo\nhandlers: {looker: {code: desk:look}}\n", set=given) == [
        "--set defaults.agent.model: 'nobody' is not a model; use 'default'",
        "--set defaults.budget.grants_by: 'looker' takes Question, and no BudgetRequest: name a handler that decides on one",
        "--set defaults.peers defaults.peers[0]: 'nobody' is not a handler; add it to 'handlers'",
    ]


def test_a_figure_in_the_file_of_a_wording_is_told_with_the_file(project: Project) -> None:
    warning = project.write("told.md", "So much is gone:\n{{ used }}\n")
    given = {"defaults.agent.notices": {"figures": "none", "warning": "told.md"}}
    assert project.wrong("organism: demo\n", set=given).mistakes == (
        f"--set defaults.agent.notices defaults.agent.notices.warning: {warning}:2: 'used' is a figure, and 'notices.figures' is none: leave it out",
    )


def test_a_key_of_agents_among_those_of_all_handlers_is_told_its_place(project: Project) -> None:
    assert project.mistakes(FILE, set={"defaults.max_turns": 3}) == [
        "--set defaults.max_turns: unknown key here; it belongs in 'defaults.agent' or 'handlers.NAME.agent'"
    ]
    assert project.mistakes(FILE, set={"handlers.writer.notices": {}}) == [
        "--set handlers.writer.notices: unknown key here; it belongs in 'handlers.NAME.agent'"
    ]


@pytest.mark.parametrize("prompt", ["{{ name }}: be brief.", "{ name }", "{be: brief}"])
def test_a_prompt_in_braces_is_a_text(project: Project, prompt: str) -> None:
    handlers = project.load(FILE, set={"handlers.writer.agent.prompt": prompt}).handlers
    assert handlers["writer"].agent is not None
    assert handlers["writer"].agent.prompt == prompt


@pytest.mark.parametrize("defaults", [{"defaults.on_failure": "{attempts: 3}"}, {"defaults.on_failure.attempts": "3"}])
@pytest.mark.parametrize("own", [{}, {"handlers.looker.on_failure": "{within: 9}"}])
def test_a_mapping_may_be_given_as_a_text(project: Project, defaults: dict[str, str], own: dict[str, str]) -> None:
    policy = project.load(FILE, set={**defaults, **own}).handlers["looker"].on_failure
    assert (policy.do, policy.attempts, policy.within) == ("stop", 3, 9 if own else 60)


def test_two_layers_may_give_one_mapping_as_texts(project: Project) -> None:
    handlers = project.load(
        FILE,
        environ={"ORGANISM_DEFAULTS__BUDGET": "{tokens: 1}", "ORGANISM_HANDLERS__LOOKER__BUDGET": "{seconds: 2}"},
        set={"defaults.budget": "{messages: 3}", "handlers.looker.budget": {"model_calls": 4}},
    ).handlers
    assert handlers["looker"].budget == BudgetSettings(limits=Limits(tokens=1, messages=3, seconds=2.0, model_calls=4))
    assert handlers["reader"].budget == BudgetSettings(limits=Limits(tokens=1, messages=3))


def test_what_is_wrong_with_a_mapping_given_as_a_text_is_told(project: Project) -> None:
    given = {"defaults.budget": "{tokens: 1}", "handlers.looker.budget": "{tokens: 1, tokens: 2}"}
    problem = (
        "--set handlers.looker.budget handlers.looker.budget.tokens: the key 'tokens' is there twice: keep one of them"
    )
    assert project.mistakes(FILE, set=given) == [problem]


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("handlers.reder.timeout", "3", "'reder' is not a handler; did you mean 'reader'?"),
        ("handlers.reder.agent.notices.deliver", "false", "'reder' is not a handler; did you mean 'reader'?"),
        ("handlers.reder.agent", "{max_turns: 3}", "'reder' is not a handler; did you mean 'reader'?"),
        ("models.smal.backends.0.model", "sim-3", "'smal' is not a model; did you mean 'small'?"),
        ("models.smal.retries", "3", "'smal' is not a model; did you mean 'small'?"),
    ],
)
def test_a_misspelt_name_above_the_file_is_one_mistake(project: Project, key: str, value: str, problem: str) -> None:
    assert project.mistakes(FILE, set={key: value}) == [f"--set {key}: {problem}"]


@pytest.mark.parametrize(
    "given",
    [
        {"handlers.reder": "{description: Reads., agent: {accepts: desk:Question, replies: desk:Answer}}"},
        {"handlers.reder.description": "R.", "handlers.reder.agent": "{accepts: desk:Question, replies: desk:Answer}"},
        {"handlers.reder.code": "desk:look"},
        {"models.smal.backends": "[{provider: simulated, model: sim-1}]"},
        {"models.smal.backends.0": "{provider: simulated, model: sim-1}"},
        {"models.smal.backends.0.provider": "simulated", "models.smal.backends.0.model": "sim-1"},
    ],
)
def test_a_new_name_above_the_file_may_be_near_to_another(project: Project, given: dict[str, str]) -> None:
    settings = project.load(FILE, set=given)
    assert "reder" in settings.handlers or "smal" in settings.models
