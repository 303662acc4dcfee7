"""What the tests of budgets share: two payloads, handlers that spend, and a model that uses exactly what it may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from organism import Reply, payload
from organism.budget.claims import VECTOR
from organism.record.facts import CallHeld, CallSettled
from organism.testing import Says, ScriptedModel
from tests.models.plain_prompts import prompt_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from organism import Context, Organism, ThreadResult
    from organism.models.completion import Completion
    from organism.models.contract import Request
    from organism.record.facts import Fact


@payload
class Task:
    """Something to do."""

    text: str


@payload
class Done:
    """What came of it."""

    text: str


PROMPT: Final = "."
INPUT: Final = -(-prompt_of([{"role": "user", "content": PROMPT}]).size * 2 // 3)
"""What the input of a call with :data:`PROMPT` is estimated at, where its backend adds nothing."""
ALL: Final = ["warning", "critical", "final"]
"""The names of the three levels that are there where nothing is said."""
NO_GRACE: Final[Mapping[str, Any]] = {"model_calls": 0, "share": 0, "tokens": 0}
"""Nothing is kept back: the working limit is the limit."""


def spender(*, seconds: float = 0.0) -> ScriptedModel:
    """A model that answers every call with as many tokens as it may, after ``seconds``."""
    return ScriptedModel(lambda request: Says(text="ok", usage=(INPUT, request.max_output_tokens), seconds=seconds))


def models(model: ScriptedModel, *, retries: int = 3, **backend: Any) -> dict[str, Any]:
    """The ``models:`` of an organism whose only backend adds no tokens of its own."""
    made = model.models(**{"overhead": 0, "max_concurrent": 1000, **backend})
    made["default"]["retries"] = retries
    return made


async def spend(ctx: Context, tokens: int, **how: Any) -> Completion:
    """One call that needs ``tokens``, and (with :func:`spender`) uses them."""
    completion: Completion = await ctx.complete(PROMPT, max_output_tokens=tokens - INPUT, **how)
    return completion


def agent(
    description: str = "Does what it is told.", *, model: str = "default", peers: tuple[str, ...] = (), **keys: Any
) -> dict[str, Any]:
    """An agent that takes a Task and replies with a Done. ``budget``, ``per`` and ``concurrency`` are the handler's keys."""
    own: dict[str, Any] = {key: keys.pop(key) for key in ("budget", "per", "concurrency") if key in keys}
    settings: dict[str, Any] = {"accepts": Task, "replies": Done, "model": model, **keys}
    return {"agent": settings, "description": description, "peers": list(peers), **own}


def code(function: Any, *, peers: tuple[str, ...] = (), **keys: Any) -> dict[str, Any]:
    """A code handler with peers and further keys."""
    return {"code": function, "description": "Works.", "peers": list(peers), **keys}


def replies(text: str = "done", **how: Any) -> Says:
    """A turn that ends an agent's work."""
    return Says(calls=(("reply", Done(text)),), **how)


def asks(*peers: str, text: str = "", **how: Any) -> Says:
    """A turn that asks peers, each once."""
    return Says(text=text, calls=tuple((peer, Task(f"for {peer}")) for peer in peers), **how)


async def peer(task: Task, ctx: Context) -> Reply[Done]:
    """Answers."""
    return Reply(Done("here"))


async def outcome(organism: Organism, to: str = "worker", **how: Any) -> ThreadResult:
    """How a thread ends that begins with a Task for ``to``."""
    return await (await organism.send(to, Task("go"), **how)).result()


def most_committed(facts: Sequence[Fact], unit: str = "tokens") -> int:
    """The most that was used and held at once over all threads, as the record has it (inner amounts)."""
    index = VECTOR.index(unit)
    held: dict[tuple[str, int], int] = {}
    used = most = 0
    for fact in facts:
        if isinstance(fact, CallHeld):
            held[fact.thread, fact.hold] = fact.need[index]
        elif isinstance(fact, CallSettled):
            del held[fact.thread, fact.hold]
            used += fact.charge.amounts[index]
        most = max(most, used + sum(held.values()))
    return most


def said_to(request: Request) -> list[str]:
    """The contents of a prompt, message by message."""
    return [str(message.get("content") or "") for message in request.messages]


def notices(request: Request) -> list[str]:
    """What a prompt tells an agent of its budget."""
    return [text for text in said_to(request) if text.startswith("Budget notice")]


def levels(result: ThreadResult, unit: str = "tokens") -> list[str]:
    """The levels of a unit that a thread crossed, in order."""
    return [warned.level for warned in result.warnings if warned.unit == unit]
