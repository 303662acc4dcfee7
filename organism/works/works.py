"""The running parts of an organism: put together when it starts, taken apart when it closes."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import anyio

from organism import telemetry
from organism.agent import AgentContext, ready
from organism.context.delivery import DeliveryContext
from organism.errors import ConfigurationError, NotRunningError, check_seconds
from organism.kernel import recovery
from organism.mcp.keys import secrets_of
from organism.mcp.loading import is_wanted, servers_of
from organism.models.factories import known_secrets
from organism.models.providers import Providers
from organism.models.redaction import Hiding
from organism.models.routing.router import Router
from organism.models.validation import provider_closing
from organism.names import ORGANISM
from organism.payloads import Vocabulary
from organism.pump import runtime
from organism.pump.background import Background
from organism.pump.disk_thread import DiskThread
from organism.pump.hooking import Hooks
from organism.pump.pump import Pump
from organism.pump.quiescence import at_rest
from organism.pump.watchdog import Watchdog
from organism.threads.routing import routes
from organism.works.bursar import BursarContext
from organism.works.control import Control
from organism.works.control.orders import adding
from organism.works.durable import Durable
from organism.works.histories import Histories
from organism.works.ingress import Ingress
from organism.works.redaction import Redaction
from organism.works.replays import not_lasting
from organism.works.vocabulary import payload_classes

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable, Mapping, Sequence
    from decimal import Decimal

    from organism.errors import JournalError
    from organism.kernel import Kernel
    from organism.mcp.servers import Servers
    from organism.models.routing.router import Dice
    from organism.models.routing.shared import SharedLimits
    from organism.models.tokens.estimates import Learned
    from organism.pump.clock import Clock
    from organism.pump.live_handles import LiveHandles
    from organism.pump.writer import Writer
    from organism.settings import HandlerSettings, Settings
    from organism.telemetry import Telemetry
    from organism.threads.frames import Thread
    from organism.works.audience import Audience
    from organism.works.naming import Names

_log: Final = logging.getLogger("organism.hooks")
_threads: Final = logging.getLogger("organism.threads")
_LOOK: Final = 0.05
"""Seconds between two looks at whether an organism that is to close has come to rest."""


def not_running(settings: Settings) -> NotRunningError:
    """What is raised where an organism would have to run."""
    how = "use it inside `async with`, or between `start()` and `close()`"
    return NotRunningError(f"organism '{settings.name}' does not run: {how}")


class Works:
    """The router, the pump with what keeps it running, the way in, and the journal of one organism while it runs.

    ``clock`` is the organism's, ``names`` are those of threads, ``dice`` spreads retries, and ``variables`` are the
    context variables that every delivery gets a copy of. ``learned`` is what is known of the models, ``limits`` are those of backends that
    it keeps together with other organisms.
    """

    def __init__(
        self,
        settings: Settings,
        kernel: Kernel,
        handlers: Mapping[str, HandlerSettings],
        *,
        audience: Audience,
        handles: LiveHandles,
        environ: Mapping[str, str],
        variables: contextvars.Context,
        dice: Dice,
        clock: Clock,
        names: Names,
        learned: Learned,
        limits: SharedLimits | None = None,
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._kernel = kernel
        self._handlers = handlers
        self._audience = audience
        self._handles = handles
        self._variables = variables
        self._clock, self._now = clock, clock.now
        self._names = names
        providers = Providers(settings, environ=environ, clock=self.wall, marked=audience.marked)
        self._router = Router(
            settings.models,
            backends=providers,
            begin=providers.begin,
            renew=providers.renew,
            random=dice,
            clock=self.wall,
            time=runtime.clock(),
            within=runtime.within(),
            heed=runtime.heed(),
            learned=learned,
            limits=limits,
        )
        audience.marked.know([*known_secrets(settings.models, environ=environ), *secrets_of(settings, environ)])
        backends = (backend for model in settings.models.values() for backend in model.backends)
        hidings = (Hiding(None, backend.options) for backend in backends)
        self._redaction = Redaction(audience.marked, settings.everyone, hidings)
        self._disk = DiskThread()
        self._closing = False
        self._contexts: dict[str, type[DeliveryContext]] = {}
        self._servers: Servers | None = None
        self._watchdog: Watchdog | None = None
        self._telemetry: Telemetry | None = None
        self.durable: Durable | None = None
        self._control: Control | None = None
        self.pump: Pump
        self.ingress: Ingress
        self.histories: Histories
        self._background: Background

    def wall(self) -> datetime:
        """The time, in UTC."""
        return datetime.fromtimestamp(self._now(), UTC)

    @property
    def running(self) -> bool:
        """Whether the pump runs."""
        return self._background.running

    def taking_in(self) -> Pump:
        """The pump, where it takes more in; raises NotRunningError where it does not."""
        if not self._background.running:
            raise not_running(self._settings)
        if self._closing or self.pump.escalation.why:
            raise NotRunningError(f"organism '{self._settings.name}' is being closed; it accepts no more messages")
        self.pump.own_loop.check()
        return self.pump

    async def open(self) -> None:
        """Takes the journal, and puts the parts together. Raises JournalHeldError, JournalError, and ConfigurationError for MCP servers."""
        await self._reach_servers()
        settings = self._settings
        self._contexts = {name: _context_class(name, handler) for name, handler in self._handlers.items()}
        try:
            writer = await self._opened()
        except BaseException:
            await self._leave_servers()
            raise
        self._audience.writer = writer
        self.histories = Histories(self._audience, self.durable)
        self.pump = Pump(
            self._kernel,
            self._handlers,
            self._router,
            clock=self._clock,
            variables=self._variables,
            contexts=self._contexts,
            handles=self._handles,
            histories=self.histories,
            outlet=self._audience.outlet,
            text_listeners=self._audience.text_listeners,
            left_out=self._audience.marked.left_out,
            hooks=self._hooks(),
            writer=writer,
        )
        self.ingress = Ingress(
            settings,
            self.pump,
            self.durable,
            names=self._names,
            taking_in=self.taking_in,
            handles=self._handles,
        )
        self.pump.handle = self.ingress.handle
        if self.durable is not None:
            self._control = Control(settings, self.pump, self.durable, self.ingress)
            self.pump.beside = self._control.serve
        if settings.session_log is not None:
            self._audience.write_session_log(settings.session_log)
        if settings.telemetry:
            self._telemetry = telemetry.Telemetry(settings)
            self._audience.subscribe(self._telemetry.take)
        self._background = Background(self.pump, self._over)
        if settings.watchdog is not None:
            self._watchdog = Watchdog(settings.watchdog, self.pump.running, self.pump.aside)

    def _hooks(self) -> Hooks | None:
        """What is asked at the fixed points, where anything is."""
        hooks = self._settings.hooks
        return Hooks(hooks, held=self._held, mark=self._audience.marked.mark) if any(hooks.values()) else None

    async def run(self) -> None:
        """Runs the pump in the background, and returns once it takes work. Where it raises, all is closed."""
        try:
            self._redaction.start()
            await self._background.start()
            if self._watchdog is not None:
                self._watchdog.start()
        except BaseException:
            await self.close()  # whoever was cancelled here has nothing that would close it
            raise

    async def add_budget(
        self, thread: str | None, account: str | None, units: Mapping[str, float | str | Decimal], id_: str
    ) -> bool:
        """See :meth:`organism.organism.Organism.add_budget`."""
        order = adding(thread, account, units, id_)
        if self._control is None:
            raise ConfigurationError([not_lasting("add_budget", self._settings.journal)])
        return "again" not in await self._control.carry_out(order)

    async def drain(self, grace: float) -> None:
        """Takes nothing more in, and waits until what runs has come to its end, ``grace`` seconds at most.

        With a journal on a disk, nothing more begins but what running deliveries wait for: the rest goes on another time.
        """
        check_seconds("grace", grace)
        self._closing = True
        self._kernel.schedule.draining = self.durable is not None
        with anyio.move_on_after(grace):
            while self._background.running and not at_rest(self.pump):  # noqa: ASYNC110 - a run pays nothing to tell
                await anyio.sleep(_LOOK)
        if self._background.running and self.durable is not None:
            await self.durable.flush()  # what ended meanwhile is told

    @property
    def left_behind(self) -> tuple[str, ...]:
        """The handlers that keep their tasks though they were cancelled, and waited for."""
        return tuple(each.message.to for each in self.pump.workers.left_behind)

    async def close(self) -> None:
        """Cancels what still runs, lets it settle, and stops. Raises what the pump crashed of.

        With a journal on a disk, threads are left as they are.
        """
        self._closing = True
        with anyio.CancelScope(shield=True):
            # From the last to the first; whatever fails of it, the rest is done.
            async with AsyncExitStack() as closing:
                closing.callback(self._background.raise_crash)
                closing.callback(self._redaction.stop)
                closing.callback(self._close_telemetry)
                closing.push_async_callback(self._audience.close)
                closing.callback(self.histories.close)
                closing.callback(self._disk.rest)
                if self.durable is not None:
                    closing.push_async_callback(self.durable.close)
                closing.push_async_callback(self._close_providers)
                closing.push_async_callback(self._leave_servers)
                if self._watchdog is not None:
                    closing.callback(self._watchdog.stop)
                if self._background.running and self.durable is not None:
                    closing.callback(self._say_what_is_left)
                closing.push_async_callback(self._background.stop)
                if self._background.running and self.durable is None:
                    await self.pump.cancel_all("the organism was closed")

    def _say_what_is_left(self) -> None:
        """Those who look after a service see in its log that work waits for the next process."""
        if left := len(self._kernel.state.roots):
            is_ = "thread is" if left == 1 else "threads are"
            _threads.info("%s %s left in the journal; the next process goes on by resume()", f"{left:,}", is_)

    def _close_telemetry(self) -> None:
        """Ends the spans of what is left open, once all is told."""
        if self._telemetry is not None:
            self._telemetry.close(self._now())

    async def _reach_servers(self) -> None:
        """Starts the MCP servers whose tools agents use. These are handlers from now on."""
        if not is_wanted(self._settings):
            return
        left_out = self._audience.marked.left_out
        self._servers = await servers_of(self._settings, environ=self._environ, left_out=left_out)
        self._settings = (await self._servers.open()).settings
        handlers = self._settings.handlers
        self._handlers = {name: ready(each, handlers) for name, each in self._settings.everyone.items()} | {
            ORGANISM: self._handlers[ORGANISM]
        }
        self._kernel.routes.update(routes(self._settings))

    async def _leave_servers(self) -> None:
        if self._servers is not None:
            await self._servers.close()

    async def _close_providers(self) -> None:
        with provider_closing("a provider"):
            await self._router.aclose()

    async def _opened(self) -> Writer | None:
        """The writer of the journal that is owned from now on; ``None`` where none is kept on a disk."""
        if self._settings.journal == "memory:":
            return None
        self.durable = Durable(
            self._settings,
            self._kernel,
            Vocabulary(payload_classes(self._settings)),
            now=self._now,
            catch_up=self._clock.catch_up,
            offload=self._offload,
            hand_over=self._hand_over,
            took_up=self._took_up,
            marked=self._audience.marked,
        )
        try:
            return await self.durable.open(failed=self._freeze, moved=self._release)
        except BaseException:
            self._disk.rest()  # nobody closes what has not started
            raise

    def _took_up(self, chain: str, threads: Sequence[Thread]) -> None:
        """What an earlier process left of a chain goes on: with estimates as they were there, and spans from here."""
        for report in recovery.reports(self._kernel, chain):
            self._router.recall(report)
        if self._telemetry is not None:
            self._telemetry.take_up(threads, self._now())

    async def _offload(self, work: Callable[[], Any]) -> Any:
        """Runs what waits for the disk in a worker thread; begun, it is finished."""
        return await self._disk.run(work)

    async def _held(self, ctx: DeliveryContext, reason: str) -> bool:
        """A hook holds up a delivery."""
        _log.info("thread %s is paused by a hook: %s", ctx.thread, reason)
        await ctx.hold_up()
        return True

    def _hand_over(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Has a batch written by the same thread."""
        self._disk.begin(work, done)

    # The pump that a writer tells of what it has written is made for that writer.

    def _freeze(self, chain: str, error: JournalError) -> None:
        self.pump.freeze(chain, error)

    def _release(self) -> None:
        self.pump.release()

    def _over(self) -> None:
        """The pump does not run any more: whoever waits for what it would do hears so."""
        try:
            self._audience.outlet.empty()
        finally:
            self._handles.close()
            self.pump.wakeups.admission.close()


def _context_class(name: str, handler: HandlerSettings) -> type[DeliveryContext]:
    """What a handler sees its deliveries by."""
    if name == ORGANISM:
        return BursarContext
    return DeliveryContext if handler.agent is None else AgentContext
