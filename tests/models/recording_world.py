"""Organisms that are recorded once and answered from their recording afterwards."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from organism import payload
from organism.models.contract import BackendError
from organism.models.recordings.takes import HEAD
from organism.testing import Says, ScriptedModel, running
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from organism.testing import Watched

PRICE = {"input": "1", "output": "2"}


@payload
class Task:
    """Something to be done."""

    text: str


@payload
class Done:
    """What came of it."""

    text: str


def scripted(*says: Says) -> ScriptedModel:
    return ScriptedModel(list(says))


def failing(kind: Any, text: str = "no luck", **more: Any) -> Says:
    return Says(error=BackendError(kind, text, **more))


def recording(
    path: Path, model: ScriptedModel, *, backend: Mapping[str, Any] | None = None, **document: Any
) -> AbstractAsyncContextManager[Watched]:
    """An organism on a model that is recorded."""
    return running(
        models=_models({"provider": model.backend, "price": PRICE} | dict(backend or {})), record=str(path), **document
    )


def replaying(
    path: Path, *, backend: Mapping[str, Any] | None = None, behind: Sequence[Mapping[str, Any]] = (), **document: Any
) -> AbstractAsyncContextManager[Watched]:
    """The same organism on its recording; ``behind`` are further backends."""
    said = dict(backend or {})
    options = {"file": str(path)} | said.pop("options", {})
    return running(models=_models({"provider": "recorded", "options": options} | said, *behind), **document)


def _models(*backends: Mapping[str, Any]) -> dict[str, Any]:
    usual = {"model": "m-1", "overhead": 0}
    made = [usual | {"priority": number} | dict(backend) for number, backend in enumerate(backends)]
    return {"default": {"retries": 2, "backoff": [0, 0], "max_output_tokens": 50, "backends": made}}


def lines(path: Path) -> list[dict[str, Any]]:
    """What a recording holds, without the lines that begin its runs."""
    return [json.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line != HEAD]


def content(path: Path) -> bytes:
    """The bytes of a file; no test waits for a disk."""
    return path.read_bytes()


def put(path: Path, text: bytes) -> None:
    """Replaces a file."""
    path.write_bytes(text)


def vanish(path: Path) -> None:
    """A folder stands where the file was: nothing can be written there any more."""
    path.unlink()
    path.mkdir()


async def kept(path: Path, count: int) -> None:
    """Waits until so many lines are written, which a thread does."""
    await until(lambda: len(lines(path)) >= count)


async def read(stream: Any) -> list[str]:
    """The pieces of a stream."""
    return [piece async for piece in stream]


def figures(completion: Any) -> tuple[Any, ...]:
    """What a completion says and costs: all but how long it took, and by whose name it came."""
    return (
        completion.text,
        completion.message,
        completion.tool_calls,
        completion.finish_reason,
        completion.model,
        completion.usage,
        completion.cost_usd,
        completion.attempts,
    )
