"""What organism.yaml says of compaction: each mistake has its place, its value and the way out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from organism.agentsettings import Compaction, Prune

if TYPE_CHECKING:
    from organism.settings import AgentSettings
    from tests.config.conftest import Project

FILE = """
organism: demo
models:
  default: {{backends: [{{provider: simulated, model: sim-1{window}}}]}}
  small: {{backends: [{{provider: simulated, model: sim-1}}]}}
handlers:
  writer:
    description: Writes.
    agent:
      accepts: desk:Question
      replies: desk:Answer
{keys}
"""


def text(*keys: str, window: str = "") -> str:
    return FILE.format(keys="\n".join(f"      {key}" for key in keys), window=window)


def agent(project: Project, *keys: str) -> AgentSettings:
    found = project.load(text(*keys)).handlers["writer"].agent
    assert found is not None
    return found


def test_what_is_not_said_has_its_default(project: Project) -> None:
    found = agent(project)
    assert found.compaction == Compaction(at=0.6, hard_limit=0.9, keep_turns=2, model=None, prompt=None)
    assert found.prune == Prune(protect_turns=3, min_tokens=4096)
    assert agent(project, "compaction: {at: 0.5}").compaction == Compaction(at=0.5)


def test_both_are_said_and_turned_off(project: Project) -> None:
    project.write("sum.md", "Notes of {{ name }}, {{ tokens }} tokens.")
    found = agent(
        project,
        "compaction: {at: 0.4, hard_limit: 0.8, keep_turns: 5, model: small, prompt: sum.md}",
        "prune: {protect_turns: 1, min_tokens: 0}",
    )
    wording = "Notes of {{ name }}, {{ tokens }} tokens."
    assert found.compaction == Compaction(at=0.4, hard_limit=0.8, keep_turns=5, model="small", prompt=wording)
    assert found.prune == Prune(protect_turns=1, min_tokens=0)
    off = agent(project, "compaction: null", "prune: null")
    assert (off.compaction, off.prune) == (None, None)


def test_a_backend_may_say_what_its_model_takes(project: Project) -> None:
    (backend,) = project.load(text(window=", context_window: 32768")).models["default"].backends
    assert backend.context_window == 32_768


@pytest.mark.parametrize(
    ("key", "mistake"),
    [
        ("compaction: {at: 1.5}", "compaction.at: 1.5 is too much: 1 is the most; it is a share of the model's window"),
        ("compaction: {at: 0}", "compaction.at: 0 is not above 0"),
        ("compaction: {at: 0.95}", "compaction.at: 'at' (0.95) is above 'hard_limit' (0.9)"),
        ("compaction: {hard_limit: 0.5}", "compaction.hard_limit: 'at' (0.6) is above 'hard_limit' (0.5)"),
        ("compaction: {keep_turns: 0}", "compaction.keep_turns: 0 is too little: 1 is the least"),
        ("compaction: {model: smal}", "compaction.model: 'smal' is not a model; did you mean 'small'?"),
        (
            "compaction: {prompt: Sum it up.}",
            "compaction.prompt: is the prompt of the model that sums up, and 'model' is missing beside it",
        ),
        (
            "compaction: {model: small, prompt: '{{ nam }}'}",
            "compaction.prompt: line 1: nothing is called 'nam' here; did you mean 'name'?",
        ),
        ("compaction: {att: 0.5}", "compaction.att: unknown key; did you mean 'at'?"),
        ("compaction: off", "compaction: must be a mapping of keys"),
        ("prune: {protect_turns: 0}", "prune.protect_turns: 0 is too little: 1 is the least"),
        ("prune: {min_tokens: -1}", "prune.min_tokens: -1 is negative"),
    ],
)
def test_a_mistake_has_its_place_and_the_way_out(project: Project, key: str, mistake: str) -> None:
    (found,) = project.mistakes(text(key))
    assert f"handlers.writer.agent.{mistake}" in found


def test_a_window_that_is_no_number_of_tokens_is_a_mistake(project: Project) -> None:
    (found,) = project.mistakes(text(window=", context_window: 100"))
    assert "models.default.backends[0].context_window: 100 is too little: 256 is the least" in found
