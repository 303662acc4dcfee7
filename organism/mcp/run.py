"""One run of an MCP server, from its start to its end, in a task of the event loop's own."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import anyio
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import CONNECTION_CLOSED, Implementation

from organism.names import excerpt

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from mcp.shared._stream_protocols import ReadStream

    from organism.mcp.stderr import Stderr

STOPPED: Final = 10.0
"""Seconds that the end of one is waited for."""
_LONGEST: Final = 1000
_NOISE: Final = "it writes to its standard output what is no message, and nothing else may stand there"
_US: Final = Implementation(name="organism", version="1")
"""What servers learn of who calls."""
_log: Final = logging.getLogger("organism.mcp")


def _is_ours_to_say(record: logging.LogRecord) -> bool:
    """Whether a record of the SDK passes. What goes wrong it tells with a traceback, and whoever looks at the server hears of it from us."""
    return record.exc_info is None


for _name in ("mcp.client.stdio", "mcp.client.streamable_http"):
    logging.getLogger(_name).addFilter(_is_ours_to_say)


class Run:
    """A server from its start to its end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.client: Client
        self.stderr: Stderr | None = None
        self.ready = anyio.Event()
        """It can be used, or has ended before it could."""
        self.over = False
        self._error = ""
        self._noisy = False
        self._asked = False
        """It was told to end."""
        self.answered = False
        self.counted = False
        self.in_doubt = False
        """A call was given up, and nothing was answered since."""
        self.silent = 0.0
        """Seconds that it was then asked in vain whether it lives."""
        self.calls = 0
        """How many are under way."""
        self._stop = anyio.Event()
        self._ended = anyio.Event()
        self._scope = anyio.CancelScope()

    @property
    def why(self) -> str:
        """Why it cannot be used, as far as that is known."""
        last = "" if self.stderr is None else excerpt(self.stderr.last, _LONGEST)
        parts = (self._error, _NOISE if self._noisy else "", f"its last words: {last}" if last else "")
        return "; ".join(filter(None, parts))

    def leave(self) -> None:
        """It has ended, or is to end: no more calls go to it."""
        self.over = True
        self._stop.set()

    def note_noise(self) -> None:
        """It has written what is no message, and is told of once."""
        if not self._noisy:
            self._noisy = True
            _log.warning("MCP server '%s': %s", self.name, _NOISE)

    async def end(self, *, at_once: bool = False) -> None:
        """Ends it, and waits for that for a while; one that is ended ``at_once`` is not asked to finish what it does."""
        self._asked = True
        self.leave()
        if at_once or not self.ready.is_set():
            self._scope.cancel()
        with anyio.move_on_after(STOPPED, shield=True):
            await self._ended.wait()
        self._scope.cancel()

    async def host(self, transport: Any, stderr: Stderr | None) -> None:
        """Its task."""
        self.stderr = stderr
        try:
            with self._scope:
                async with Client(transport(), client_info=_US, cache=None) as self.client:
                    self.ready.set()
                    await self._stop.wait()
        except Exception as error:  # noqa: BLE001 - a task of the loop itself: what leaves it would end the loop
            self._error = said(error)
        finally:
            self.leave()
            if stderr is not None:
                stderr.release()
            if self.ready.is_set() and not self._asked:
                _log.warning("MCP server '%s' ended%s", self.name, f": {self.why}" if self.why else "")
            self.ready.set()
            self._ended.set()


class Watched:
    """The stream that a server is heard by; its end is that of the run."""

    def __init__(self, stream: ReadStream[Any], run: Run) -> None:
        self._stream = stream
        self._run = run

    @property
    def last_context(self) -> Any:
        """The context of who sent the last message, where the stream knows it."""
        return getattr(self._stream, "last_context", None)

    async def receive(self) -> Any:
        """The next message."""
        return await self._stream.receive()

    async def aclose(self) -> None:
        """Closes it."""
        await self._stream.aclose()

    def __aiter__(self) -> ReadStream[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            item = await self._stream.__anext__()
        except BaseException:
            self._run.leave()
            raise
        if isinstance(item, Exception) and self._run.stderr is not None:
            self._run.note_noise()
        return item

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> bool | None:
        return await self._stream.__aexit__(exc_type, exc_val, exc_tb)


def said(error: BaseException) -> str:
    """What an error says, in a line; of a group, what the first of it says."""
    if isinstance(error, MCPError) and error.code == CONNECTION_CLOSED:
        return "it has ended"
    group: Any = error  # what isinstance makes of a group has no types inside
    if isinstance(error, BaseExceptionGroup):
        return said(group.exceptions[0])
    text = str(error) or type(error).__name__
    return excerpt(" ".join(text.split()), _LONGEST)
