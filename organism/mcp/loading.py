"""What loads the SDK: in a thread, and only for who uses a server. It takes longer than all of the organism."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from organism.models.background import BackgroundWork

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from organism.mcp.servers import Servers
    from organism.payloads import Vocabulary
    from organism.settings import Settings


def is_wanted(settings: Settings) -> bool:
    """Whether any agent uses tools of a server."""
    return any(each.agent is not None and each.agent.mcp for each in settings.handlers.values())


async def servers_of(settings: Settings, *, environ: Mapping[str, str], left_out: Callable[[str], str]) -> Servers:
    """The servers of an organism, not yet started."""
    loading = BackgroundWork(_servers)
    await loading.wait()
    return loading.result()(settings, environ=environ, left_out=left_out)


def _servers() -> type[Servers]:
    from organism.mcp.servers import Servers

    return Servers


def as_recorded(settings: Settings, documents: Iterable[Mapping[str, Any]], vocabulary: Vocabulary) -> Settings:
    """The settings with the tools of servers that agents had in a record; ``documents`` are its entries. No server is started."""
    if not is_wanted(settings):
        return settings
    from organism.mcp.recorded import with_recorded

    return with_recorded(settings, documents, vocabulary)
