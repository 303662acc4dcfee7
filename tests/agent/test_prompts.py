"""Prompts of agents: what they may name, how they are checked before anything starts, and AGENTS.md."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - pytest reads it for the fixture
from typing import Any

import pytest

from organism import ConfigurationError, HandlerFailedError, Organism, payload
from organism.config.prompts import MOST
from organism.testing import Says, ScriptedModel, running


@payload
class Question:
    """What somebody wants to know."""

    text: str


@payload
class Answer:
    """What they get."""

    text: str


REPLY = Says(calls=(("reply", {"text": "done"}),))


def desk(prompt: str | None = None, **agent: Any) -> dict[str, Any]:
    return {
        "desk": {
            "agent": {"accepts": Question, "replies": Answer, "prompt": prompt, **agent},
            "description": "Answers.",
            "peers": ["shelf"],
        },
        "shelf": {"agent": {"accepts": Question, "replies": Answer}, "description": "Looks things up."},
    }


async def rendered(prompt: str | None, folder: Path | None = None, **how: Any) -> str:
    """The system prompt that the model gets."""
    model = ScriptedModel([REPLY])
    made = {"handlers": desk(prompt), "models": model.models(), "folder": folder, **how}
    async with running(**made) as organism:
        handle = await organism.send("desk", Question("?"), labels={"arm": "blind"})
        result = await handle.result()
    assert result.error is None
    return str(model.requests[0].messages[0]["content"])


def mistakes(prompt: str, folder: Path | None = None, **agent: Any) -> list[str]:
    """What is wrong with a prompt, without its place in the configuration."""
    with pytest.raises(ConfigurationError) as caught:
        Organism(name="test", handlers=desk(prompt, **agent), folder=folder)
    place = "Organism(handlers=...) handlers.desk.agent.prompt: "
    assert all(each.startswith(place) for each in caught.value.mistakes)
    return [each.removeprefix(place) for each in caught.value.mistakes]


async def test_a_prompt_may_name_all_of_it() -> None:
    prompt = (
        "{{ name }}|{{ description }}|{% for each in peers %}{{ each.name }}: {{ each['description'] }}{% endfor %}|"
        "{{ accepts[0].name }}|{{ replies[0].description }}|{{ budget.messages }}|{{ now[:2] }}|{{ labels.arm }}|"
        "{{ notices }}|{{ peers_as }}|{{ agents_md }}|"
    )
    assert await rendered(prompt) == (
        "desk|Answers.|shelf: Looks things up.|Question|Answer: What they get.\n- text (str)|300|20|blind|True|tools||"
    )


WRONG = [
    ("Hello.\n{{ nmae }}", "line 2: nothing is called 'nmae' here; did you mean 'name'?"),
    ("\n\n{% for p in peers %}{{ p.nmae }}{% endfor %}", "line 3: 'p' has no 'nmae'; did you mean 'name'?; use"),
    ("{% if false %}{{ budget.tokns }}{% endif %}", "line 1: 'budget' has no 'tokns'; did you mean 'tokens'?; use"),
    ("{{ budget['tokns'] }}", "line 1: 'budget' has no 'tokns'"),
    ("x\n{{ replies[0].nmae }}", "line 2: 'dict object' has no attribute 'nmae'"),
    ("x\n{{ name.first }}", "line 2: 'str object' has no attribute 'first'"),
    ("{{ accepts[1].name }}", "line 1: list object has no element 1"),
    ("x\n\n{{ name + 1 }}", "line 3: can only concatenate str"),
    ("{{ name.__class__ }}", "line 1: access to attribute '__class__' of 'str' object is unsafe"),
    ("x\n{% if name %}", "line 2: Unexpected end of template"),
    ("{{ 1 / 0 }}", "line 1: division by zero"),
]  # fmt: skip


@pytest.mark.parametrize(("prompt", "problem"), WRONG)
def test_a_prompt_that_would_fail_is_refused_before_anything_starts(prompt: str, problem: str) -> None:
    (said,) = mistakes(prompt)
    assert said.startswith(problem)


def test_a_mistake_in_a_file_names_the_file_and_the_line(tmp_path: Path) -> None:
    (tmp_path / "desk.md").write_text("You are it.\n\n{% for peer in peers %}\n- {{ peer.nmae }}\n{% endfor %}\n")
    (said,) = mistakes("desk.md", folder=tmp_path)
    assert said.startswith(f"{tmp_path / 'desk.md'}:4: 'peer' has no 'nmae'; did you mean 'name'?")


@pytest.mark.parametrize(
    "prompt",
    [
        "{{ 100 / (labels.share | int) }}",
        "{{ labels['any'] }} {{ labels.get('other', '') }} {{ now[11:] | int + 1 }}",
        "{% if 'tokens' in budget %}{{ budget.tokens // 2 }}{% endif %}",
        "{{ budget.get('cost_usd') }} {{ budget.items() | list }}",
        "{% for p in peers if p.name != name %}{{ loop.index }} {{ p.name | upper }}{% endfor %}",
        "{{ nothing is defined }} {{ nothing | default('x') }}",
    ],
)
def test_what_depends_on_the_thread_is_not_held_against_a_prompt(prompt: str) -> None:
    Organism(name="test", handlers=desk(prompt))


def test_all_mistakes_of_an_agent_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Organism(name="test", handlers=desk("{{ peers[0].nmae }}", model="small", max_turns=0))
    assert len(caught.value.mistakes) == 3


async def test_a_prompt_that_fails_in_its_thread_fails_clearly() -> None:
    model = ScriptedModel([REPLY])
    async with running(handlers=desk("{{ labels.arm }}"), models=model.models()) as organism:
        with pytest.raises(HandlerFailedError, match="the prompt of 'desk' cannot be rendered"):
            await organism.ask("desk", Question("?"))


# AGENTS.md


async def test_agents_md_stands_in_the_standard_prompt(tmp_path: Path) -> None:
    (tmp_path / "AGENTS.md").write_text("Be kind. {{ name }} {% endif %}\n")
    said = await rendered(None, tmp_path)
    assert said.endswith("What holds for all agents here:\n\nBe kind. {{ name }} {% endif %}")


async def test_a_prompt_of_ones_own_has_it_where_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "AGENTS.md").write_text("Be {{ name }}.")
    assert await rendered("<{{ agents_md }}>", tmp_path) == "<Be {{ name }}.>"
    assert await rendered("Plain.", tmp_path) == "Plain."


async def test_without_agents_md_there_is_nothing_in_its_place(tmp_path: Path) -> None:
    assert await rendered("<{{ agents_md }}>", tmp_path) == "<>"
    assert "What holds for all" not in await rendered(None, tmp_path)
    assert Organism(name="test", handlers=desk(), folder=tmp_path).settings.notes == (
        Organism(name="test", handlers=desk()).settings.notes
    )


async def test_a_long_agents_md_is_cut_between_characters_and_says_so(tmp_path: Path) -> None:
    text = "x" + "é" * MOST
    (tmp_path / "AGENTS.md").write_text(text, encoding="utf-8")
    said = await rendered("{{ agents_md }}", tmp_path)
    kept, _, word = said.partition("\n")
    assert kept == "x" + "é" * ((MOST - 1) // 2)
    assert word == f"[cut: AGENTS.md has {2 * MOST + 1} bytes]"


def test_it_is_said_in_whose_prompts_agents_md_stands(tmp_path: Path) -> None:
    (tmp_path / "AGENTS.md").write_bytes(b"caf\xe9 " * MOST)
    organism = Organism(name="test", handlers=desk("Mine."), folder=tmp_path)
    assert (
        organism.settings.notes[-1] == f"AGENTS.md stands in the prompts of shelf, cut from {5 * MOST} bytes to {MOST}"
    )
    both = Organism(name="test", handlers=desk(), folder=tmp_path)
    assert both.settings.notes[-1].startswith("AGENTS.md stands in the prompts of desk, shelf")


def test_an_agents_md_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "AGENTS.md").mkdir()
    organism = Organism(name="test", handlers=desk(), folder=tmp_path)
    assert organism.settings.notes[-1] == "AGENTS.md cannot be read, and prompts go without it: Is a directory"
