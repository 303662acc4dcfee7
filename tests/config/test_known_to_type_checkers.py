"""Names below ``if TYPE_CHECKING:`` are no obstacle in what the organism does not evaluate, as Python 3.14 leaves annotations when nobody asks."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pytest

from organism import Organism
from organism.errors import ConfigurationError, PayloadTypeError
from organism.functions import declared
from organism.loader import accepts_of, load_object, replies_of
from organism.payloads import describe, encode_json
from organism.testing import Says, ScriptedModel

if TYPE_CHECKING:
    from tests.config.conftest import Project

HEAD: Final = "" if sys.version_info >= (3, 14) else "from __future__ import annotations\n"
"""How a module asks that its annotations wait: since Python 3.14 all do."""
WORK: Final = f"""{HEAD}
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from organism import Reply, payload

if TYPE_CHECKING:
    from collections.abc import Sequence
    from organism import Context
    from organism.models import Backend, BackendSettings

@payload
class Text:
    text: str

async def greet(message: Text, ctx: Context) -> Reply[Text]:
    '''Greets.'''
    return Reply(Text(f"Hello, {{message.text}}!"))

def plainly(message: Text, ctx: Context) -> Reply[Text]:
    '''Greets.'''
    return Reply(Text(f"Hello, {{message.text}}!"))

class Greeter:
    async def __call__(self, message: Text, ctx: Context) -> Reply[Text]:
        '''Greets.'''
        return await greet(message, ctx)

as_object = Greeter()
partly = functools.partial(greet)

async def count(names: list[str], ctx: Context) -> int:
    '''Counts names.'''
    return len(names)

async def seen(message: Sequence, ctx: Context) -> Reply[Nowhere]:
    '''Takes what nobody knows.'''

def counted(names: Sequence[str]) -> int:
    '''Takes what nobody knows.'''

@payload
class Lost:
    of: Nowhere

@payload
class Early:
    late: list[Late] | None
    itself: Early | None

@payload
@dataclass(frozen=True)
class Dated:
    late: Late
    all: list[Late]

@payload
class Late:
    text: str

SEEN = []

def hook(event: Sequence, ctx: Context) -> Nowhere:
    SEEN.append(event)

SCRIPTED = []

def backend(settings: BackendSettings) -> Backend:
    return SCRIPTED[0].backend(settings)
"""


@pytest.fixture
def work(project: Project) -> Any:
    project.write("work.py", WORK)
    return SimpleNamespace(**load_object("work:greet", project.folder).__globals__)


@pytest.mark.real_clocks
@pytest.mark.parametrize("name", ["greet", "plainly", "as_object", "partly"])
async def test_a_handler_is_known_by_the_rest(work: Any, name: str) -> None:
    text, handler = work.Text, getattr(work, name)
    assert accepts_of(handler) == replies_of(handler) == (text,)
    async with Organism(name="greeting", handlers={"greeter": {"code": handler}}) as organism:
        assert await organism.ask("greeter", text("Ada"), expect=text) == text("Hello, Ada!")


async def test_so_are_a_tool_a_hook_and_a_provider(work: Any) -> None:
    text = work.Text
    call, answer = Says(calls=(("count", {"names": ["a", "b"]}),)), Says(calls=(("reply", {"text": "two"}),))
    model = ScriptedModel([call, answer])
    work.SCRIPTED.append(model)
    agent = {"accepts": text, "replies": text, "tools": [work.count]}
    models = {"default": {"backends": [{"provider": work.backend, "model": "scripted"}]}}
    hooks = {"before_model_call": [work.hook]}
    async with Organism(
        name="counting", handlers={"clerk": {"description": "Counts.", "agent": agent}}, models=models, hooks=hooks
    ) as organism:
        assert await organism.ask("clerk", text("How many?"), expect=text) == text("two")
    assert model.requests[0].tools[0].parameters["required"] == ["names"]
    assert [each["content"] for each in model.requests[1].messages if each["role"] == "tool"] == ["2"]
    assert len(work.SEEN) == 2


def test_what_is_evaluated_and_unknown_is_told_with_its_name(work: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=r"'seen': the annotation of 'message' cannot be resolved .*'Sequence'"
    ):
        accepts_of(work.seen)
    assert replies_of(work.seen) is None
    with pytest.raises(
        ConfigurationError, match=r"'counted': the annotation of 'names' cannot be resolved .*'Sequence'"
    ):
        declared(work.counted)
    with pytest.raises(
        PayloadTypeError, match=r"Lost\.of: the annotation 'Nowhere' names 'Nowhere', which does not exist"
    ):
        describe(work.Lost)


def test_a_payload_may_name_what_comes_later(work: Any) -> None:
    late = work.Late("a")
    assert encode_json(work.Early([late], work.Early(None, None))) == {"Early": {"late": [{"text": "a"}], "itself": {}}}
    assert encode_json(work.Dated(late, [late])) == {"Dated": {"late": {"text": "a"}, "all": [{"text": "a"}]}}
