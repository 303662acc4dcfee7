"""One MCP server: started when it is first asked for, and started anew by the next call after it has ended.

Each of its runs has a task of the event loop, which the organism's own tasks only talk to: a call that is cancelled leaves the run as it is.
"""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx2
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import CONNECTION_CLOSED, INVALID_REQUEST

from organism.durations import backoff, duration
from organism.errors import OrganismError, Refused
from organism.mcp.results import result_text
from organism.mcp.run import Run, Watched, said
from organism.mcp.stderr import Stderr
from organism.mcp.tools import Definition
from organism.names import mcp_tool, told
from organism.pump import runtime

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractAsyncContextManager

    from mcp.client._transport import TransportStreams
    from mcp_types import CallToolResult

    from organism.mcpsettings import McpServer

START: Final = 30.0
"""Seconds that a server may take to start, where nothing is said."""
ALIVE: Final = 5.0
"""Seconds within which one that has let a call wait must show that it lives, before the next call is made."""
MOST_TOOLS: Final = 500
MOST_OF_ONE: Final = 64 * 1024
"""Characters of what is said of one tool: it stands in every prompt."""
MOST_TOLD: Final = 2 * 1024 * 1024
"""Characters of a result."""
_PAGES: Final = 100
_log: Final = logging.getLogger("organism.mcp")


class Unreachable(OrganismError):  # noqa: N818 - a verdict: it is told, and never leaves the room
    """A server cannot be used, and why. ``text`` is what a model may read of that; the rest is for who runs the organism."""

    def __init__(self, text: str, detail: str = "") -> None:
        super().__init__(f"{text}: {detail}" if detail else text)
        self.text = text


class Connection:
    """The runs of one server, one after another. ``env`` are the variables that a command gets, ``key`` is what a ``url`` is sent;
    ``left_out`` takes secrets out of what it says.
    """

    def __init__(
        self, server: McpServer, *, env: dict[str, str], key: str | None, left_out: Callable[[str], str]
    ) -> None:
        self._server = server
        self._left_out = left_out
        self._env = env
        self._key = key
        self._run: Run | None = None
        self._failures = 0
        """How often in a row it could not be started, or ended before it had answered anything."""
        self._not_before = 0.0
        self._closed = False

    async def definitions(self) -> tuple[Definition, ...]:
        """Its tools, by name. Raises Unreachable."""
        run = await self._running()
        tools: list[Definition] = []
        cursor: str | None = None
        try:
            with anyio.fail_after(self._patience):
                for _ in range(_PAGES):
                    page = await run.client.list_tools(cursor=cursor, cache_mode="refresh")
                    tools += [self._definition(each) for each in page.tools]
                    cursor = page.next_cursor
                    if cursor is None or len(tools) > MOST_TOOLS:
                        break
        except TimeoutError:
            raise Unreachable(f"it did not tell its tools within {duration(self._patience)}") from None
        except Exception as error:
            raise Unreachable("it did not tell its tools", said(error)) from error
        if cursor is not None or len(tools) > MOST_TOOLS:
            raise Unreachable(f"it has more than {MOST_TOOLS} tools, or tells them without end")
        run.answered = True
        # Servers may tell them in any order, and the same prompt costs less, and is known again after a crash.
        return tuple(sorted(tools, key=lambda each: each.name))

    def _definition(self, tool: Any) -> Definition:
        hints = tool.annotations
        size = len(tool.name) + len(tool.description or "") + len(str(tool.input_schema))
        if size > MOST_OF_ONE:
            raise Unreachable(
                f"its tool {told(tool.name)} has a definition of {size} characters; {MOST_OF_ONE} are the most"
            )
        return Definition(
            server=self._server.name,
            name=tool.name,
            called=mcp_tool(self._server.name, tool.name),
            description=tool.description or tool.title or tool.name,
            parameters=tool.input_schema,
            repeatable=hints is not None and bool(hints.read_only_hint or hints.idempotent_hint),
        )

    async def call(self, tool: Definition, arguments: dict[str, Any]) -> str:
        """The text that a call comes to. Raises Refused, with what the model is told."""
        try:
            result = await self._answered(tool, arguments)
        except Unreachable as error:
            _log.warning("MCP server '%s': %s", self._server.name, error)
            raise Refused(f"'{tool.called}' cannot be called now: {error.text}") from error
        except MCPError as error:
            raise Refused(f"'{tool.called}': {said(error)}") from error
        text = result_text(result)
        if len(text) > MOST_TOLD:
            text = f"{text[:MOST_TOLD]}\n[cut: {len(text) - MOST_TOLD} of {len(text)} characters left out]"
        if result.is_error:
            raise Refused(text or f"'{tool.called}' failed, and does not say why")
        return text

    async def _answered(self, tool: Definition, arguments: dict[str, Any]) -> CallToolResult:
        """The result of a call. Raises Unreachable, Refused, and MCPError where the server refuses it."""
        run = await self._running()
        if run.in_doubt and not run.calls:
            run = await self._proved(run)
        try:
            return await self._asked(run, tool, arguments)
        except MCPError as error:
            if error.code != INVALID_REQUEST:
                raise
            # One that has begun anew knows nothing of a session of before, and has refused the call unseen.
            proved = await self._proved(run)
            if proved is run:
                raise
        return await self._asked(proved, tool, arguments)

    async def _asked(self, run: Run, tool: Definition, arguments: dict[str, Any]) -> CallToolResult:
        """The result of a call in this run. Raises Refused where it is not known, and MCPError where the server refuses it."""
        run.calls += 1
        try:
            result = await run.client.call_tool(tool.name, arguments)
        except anyio.get_cancelled_exc_class():
            run.in_doubt = True
            raise
        except Exception as error:
            if run.over or (isinstance(error, MCPError) and error.code == CONNECTION_CLOSED):
                run.leave()
                raise Refused(_lost(tool)) from error
            if isinstance(error, MCPError):
                raise
            # It has answered, and not in the form that it is to have.
            raise Refused(f"'{tool.called}' was called, and what it answered cannot be read: {said(error)}") from error
        finally:
            run.calls -= 1
        run.answered, run.in_doubt = True, False
        return result

    async def close(self) -> None:
        """Ends it, and waits for that."""
        self._closed = True
        if self._run is not None:
            await self._run.end()

    @property
    def _patience(self) -> float:
        return self._server.timeout or START

    @property
    def _begun(self) -> str:
        return "started" if self._server.command else "reached"

    async def _running(self) -> Run:
        """Its run, started where there is none. Raises Unreachable."""
        if self._closed:
            raise Unreachable("the organism is being closed")
        run = self._run
        if run is None or run.over:
            if run is not None:
                self._note_end(run)
                self._check_wait()
            run = self._run = Run(self._server.name)
            stderr = Stderr(self._server.name, _log, self._left_out) if self._server.command else None
            runtime.spawn(run.host(partial(self._transport, run, stderr), stderr))
        with anyio.move_on_after(self._patience):
            await run.ready.wait()
        if not run.ready.is_set():
            await run.end(at_once=True)
            raise Unreachable(f"it could not be {self._begun} within {duration(self._patience)}", run.why)
        if run.over:
            raise Unreachable(f"it could not be {self._begun}", run.why)
        return run

    def _note_end(self, run: Run) -> None:
        """Counts an end, once."""
        if run.counted:
            return
        run.counted = True
        self._failures = 0 if run.answered else self._failures + 1
        wait = 0.0 if run.answered else backoff(*self._server.backoff, failures=self._failures)
        self._not_before = anyio.current_time() + wait

    def _check_wait(self) -> None:
        wait = self._not_before - anyio.current_time()
        if wait > 0:
            raise Unreachable(f"it could not be {self._begun}, and is tried again in {duration(round(wait, 1) or 0.1)}")

    async def _proved(self, run: Run) -> Run:
        """The run, or a new one where it does not answer any more."""
        since = anyio.current_time()
        with anyio.move_on_after(ALIVE - run.silent), suppress(Exception):  # whatever it is, it does not answer
            try:
                await run.client.list_tools(cache_mode="refresh")
            except anyio.get_cancelled_exc_class():
                run.silent += anyio.current_time() - since  # calls with less time than this takes add to it
                raise
            run.in_doubt, run.silent = False, 0.0
            return run
        _log.warning("MCP server '%s' does not answer any more, and is begun anew", self._server.name)
        await run.end(at_once=True)
        return await self._running()

    @asynccontextmanager
    async def _transport(self, run: Run, stderr: Stderr | None) -> AsyncGenerator[TransportStreams]:
        """What it is talked to by; the run is told when it ends."""
        async with self._streams(stderr) as (read, write):
            if stderr is not None:
                stderr.release()
            yield Watched(read, run), write

    def _streams(self, stderr: Stderr | None) -> AbstractAsyncContextManager[TransportStreams]:
        server = self._server
        if stderr is not None:
            program, *arguments = server.command
            how = StdioServerParameters(command=program, args=arguments, env=self._env, cwd=server.cwd)
            return stdio_client(how, errlog=stderr.file)
        return self._over_http(server.url or "")

    @asynccontextmanager
    async def _over_http(self, url: str) -> AsyncGenerator[TransportStreams]:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        # Who waits for an answer says how long.
        timeout = httpx2.Timeout(self._patience, read=None)
        async with (
            httpx2.AsyncClient(headers=headers, timeout=timeout) as client,
            streamable_http_client(url, http_client=client) as streams,
        ):
            yield streams


def _lost(tool: Definition) -> str:
    again = "it only reads, or comes to the same: call it again" if tool.repeatable else "look before you call it again"
    return f"the server ended while '{tool.called}' was under way, and whether it was carried out is not known; {again}"
