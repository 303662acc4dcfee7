"""What was learned of models is carried to another process, and is worth the same there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from organism.models.contract import ToolSpec
from organism.models.tokens.estimates import Estimates, learned_as_json, learned_of
from organism.testing import Watched, running
from tests.durable.test_warm_estimates import LONG, document, held
from tests.durable.turns_world import Say
from tests.models.plain_prompts import prompt_of

if TYPE_CHECKING:
    from organism.models.tokens.prompt import Prompt

_TOOLS = (ToolSpec(name="search", description="Searches.", parameters={"type": "object", "properties": {}}),)
_WORDS = ("keeper", "ship", "light ", "{}", "月曜", "7", " of the", "x" * 700, "lamp and oil " * 90)


@st.composite
def _prompts(draw: st.DrawFn) -> Prompt:
    texts = draw(
        st.lists(st.lists(st.sampled_from(_WORDS), min_size=1, max_size=5).map("".join), min_size=1, max_size=4)
    )
    tools = _TOOLS if draw(st.booleans()) else ()
    return prompt_of([{"role": "user", "content": text} for text in texts], tools=tools)


@given(st.lists(st.tuples(_prompts(), st.floats(0.1, 1.5)), max_size=12), st.lists(_prompts(), min_size=1, max_size=4))
def test_what_was_learned_is_estimated_alike_and_learned_on_alike(
    known: list[tuple[Prompt, float]], asked: list[Prompt]
) -> None:
    here = Estimates()
    for prompt, ratio in known:
        here.learn(prompt, max(1, round(prompt.size * ratio)))
    ((_, there),) = learned_of(json.loads(json.dumps(learned_as_json({("openai", None, "m"): here})))).items()
    for prompt in asked:
        assert there.input_tokens(prompt) == here.input_tokens(prompt)
        here.learn(prompt, 200)
        there.learn(prompt, 200)
    assert [there.input_tokens(prompt) for prompt in asked] == [here.input_tokens(prompt) for prompt in asked]


async def test_an_organism_begins_with_what_was_learned_and_keeps_to_itself_what_it_learns() -> None:
    assert Watched(name="test", **document()).learned() == []
    async with running(**document()) as first:
        await first.ask("agent", Say(LONG))
        learned = json.loads(json.dumps(first.learned()))
        await first.ask("agent", Say(LONG))
    for _ in range(2):  # the second knows nothing of the first
        later = Watched(name="test", **document())
        later.learn_from(learned)
        assert later.learned() == learned
        async with running(later):
            await later.ask("agent", Say(LONG))
            await later.ask("agent", Say(f"Once more: {LONG}"))
        assert held(later)[0] == held(first)[1] < held(first)[0] / 5
        assert later.learned() != learned


@pytest.mark.parametrize(
    "wrong", [5, [{}], [5], ["model"], [{"provider": "p", "server": None, "model": "m", "beginnings": []}]]
)
async def test_what_was_never_learned_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"^learn_from takes "):
        Watched(name="test", **document()).learn_from(wrong)
