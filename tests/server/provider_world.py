"""The simulated model behind HTTP, in the process of the test, on a port that is free."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio
from attrs import frozen

from organism.models.simulation.options import Options
from organism.server.http import Server, listening
from organism.server.simulated import SimulatedProvider

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

PROTOCOLS: Final = ("openai", "anthropic")


@frozen
class Served:
    """A server that runs, and the model behind it."""

    server: Server
    model: SimulatedProvider

    @property
    def url(self) -> str:
        return f"http://{self.server.host}:{self.server.port}"

    def backend(self, protocol: str, **more: Any) -> dict[str, Any]:
        """A backend of organism.yaml that speaks to it in one of the protocols."""
        usual = {"provider": protocol, "model": "sim-1", "api_key_env": None, "price": {"input": 1, "output": 2}}
        return usual | {"base_url": f"{self.url}/v1" if protocol == "openai" else self.url} | more

    def models(self, protocol: str, *, alias: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """The ``models:`` of an organism that has nothing else."""
        return {"default": {"backends": [self.backend(protocol, **more)]} | dict(alias or {})}

    async def deserted(self) -> None:
        """Waits until every connection is closed, which takes no time where none was forgotten."""
        with anyio.fail_after(10):
            await self.server.until(lambda: not self.server.open)


@asynccontextmanager
async def served(*, options: Mapping[str, Any] | None = None, **more: Any) -> AsyncGenerator[Served]:
    """A server of the simulated model."""
    made: dict[str, Any] = {"models": ["sim-1"], "wall": lambda: 1_800_000_000.0} | more
    model = SimulatedProvider(options=Options(**(options or {})), **made)
    async with listening(model) as server:
        yield Served(server, model)
