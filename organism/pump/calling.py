"""The model calls of a delivery: hooked, accounted for, and not made again where an earlier process got the answer (R21)."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final

import anyio
from attrs import fields

from organism.kernel.idempotency import is_keyed
from organism.models.completion import Call, new_call
from organism.pump.caller import Caller
from organism.pump.keys import ASKS, Keys, completion_of
from organism.pump.ledger import CallLedger
from organism.pump.memory import check_running
from organism.pump.streaming import ContextStream, KeptStream
from organism.pump.waiting import Waiting, meanwhile, take_it

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from organism.kernel.prompts import Prompt
    from organism.models.completion import Completion
    from organism.models.routing.streams import Hearer
    from organism.pump.delivery import Delivery
    from organism.pump.pump import Pump
    from organism.threads.frames import Message
    from organism.threads.outcomes import Warned


class Calling(Caller[ContextStream]):
    """What one delivery asks for, under keys by which the answers are found again after a crash (R21). The context is built on it."""

    _delivery: Delivery
    _message: Message
    _pump: Pump
    # Defaults stand on the class: one object is made for each delivery, and most never set these.
    _hearer: Hearer | None = None
    _made_keys: Keys | None = None
    _unasked: set[str] | None = None
    """The keys of answers that an earlier run of this delivery got and that this run has not asked for yet."""

    @property
    def _keys(self) -> Keys:
        if self._made_keys is None:
            self._made_keys = Keys(len(self._message.tries) + 1)
        return self._made_keys

    async def hold_up(self) -> None:
        """Pauses the thread, and waits until it goes on; for hooks."""
        check_running(self._delivery)
        await self._pump.pauses.hold_up(self._delivery)

    # Models

    async def call_model(
        self,
        call: Call,
        *,
        grace: bool = False,
        wait: bool = True,
        tells: Sequence[Warned] = (),
        kind: str = ASKS,
    ) -> Completion:
        """Makes one call that is ready (see :class:`organism.pump.caller.Caller`). ``tells`` are the warnings that its prompt contains, ``kind`` is
        the first part of its key (R21).
        """
        if self._delivery.over or get_ident() != self._pump.own_loop.thread:
            await self._turned_away()
        hooks = self._pump.hooks
        if hooks is None:
            if not self._pump.kernel.book.listening:  # nothing is recorded, so there are no earlier answers
                return await self._called(call, None, tells, grace=grace, wait=wait)
            return await self._asked_or_kept(call, tells, kind, grace=grace, wait=wait)
        call, said = await hooks.before(call, self)
        if said is None:
            completion = await self._asked_or_kept(call, tells, kind, grace=grace, wait=wait)
        else:
            completion = await self._said(call, said, kind)
        return await hooks.after(call, completion, self, skipped=said is not None)

    _call = call_model

    async def _asked_or_kept(
        self, call: Call, tells: Sequence[Warned], kind: str, *, grace: bool, wait: bool
    ) -> Completion:
        """The answer of a model, or the one that an earlier run of this delivery got."""
        prompt = self._prompt(call, kind, tells=bool(tells))
        kept = None if prompt is None else self.recall(prompt.key)
        if kept is not None:
            await anyio.lowlevel.checkpoint()
            return completion_of(*kept)
        return await self._called(_as_written(call, prompt), prompt, tells, grace=grace, wait=wait)

    async def _said(self, call: Call, completion: Completion, kind: str) -> Completion:
        """The answer of a hook in place of a model. It is recorded as an answer, without a call."""
        prompt = self._prompt(call, kind)
        if prompt is not None and self.recall(prompt.key) is None:
            await self._note(call, prompt, completion)
        return completion

    async def _note(self, call: Call, prompt: Prompt, completion: Completion) -> None:
        message = self._message
        ledger = CallLedger(
            self._pump, message.thread, message, call, grace=False, wait=False, streamed=False, prompt=prompt
        )
        await ledger.completed(completion)

    async def _called(
        self, call: Call, prompt: Prompt | None, tells: Sequence[Warned], *, grace: bool, wait: bool
    ) -> Completion:
        """The answer of a model to a call that is made for the first time."""
        message, delivery = self._message, self._delivery
        ledger = CallLedger(
            self._pump,
            message.thread,
            message,
            call,
            grace=grace,
            wait=wait,
            streamed=False,
            tells=tells,
            prompt=prompt,
        )
        try:  # the same as `with ledger.watched()`, without making that object
            writer = self._pump.writer
            return await meanwhile(
                delivery, self._completed(call, ledger), take_it if writer is None else writer.take_step
            )
        except BaseException as error:
            ledger.left_by(error)
            raise

    async def _completed(self, call: Call, ledger: CallLedger) -> Completion:
        """The completion, once it is recorded."""
        completion = await self._pump.router.complete(call, ledger, hearer=self._hearer)
        await ledger.completed(completion)
        return completion

    def _prompt(self, call: Call, kind: str, *, tells: bool = False) -> Prompt | None:
        """What a model is asked, under its key; ``None`` where nothing is recorded."""
        if not self._pump.kernel.book.listening:
            return None
        last = (self._message.thread.asked or {}).get(self._message.to)
        return self._keys.prompt(call, kind=kind, tells=tells, before=None if last is None else last.prompt)

    @property
    def _keyed(self) -> bool:
        """Whether what is asked needs a key."""
        return self._pump.kernel.book.listening or is_keyed(self._message)

    def _key(self, kind: str, says: Callable[[], Any]) -> str:
        return self._keys.next(kind, says) if self._keyed else ""

    def recall(self, key: str) -> Any:
        """The answer that an earlier run of this delivery got under this key; ``None`` where there is none (R21)."""
        if self._unasked is None or key not in self._unasked:
            return None
        self._unasked.discard(key)
        return (self._message.known or {}).get(key)

    def unasked(self) -> tuple[str, ...]:
        """The keys of answers that an earlier run of this delivery got and this one did not ask for; for the pump."""
        return tuple(sorted(self._unasked or ()))

    @asynccontextmanager
    async def _open(self, call: Call, *, grace: bool, wait: bool) -> AsyncGenerator[ContextStream]:
        if self._delivery.over or get_ident() != self._pump.own_loop.thread:
            await self._turned_away()
        hooks = self._pump.hooks
        said: Completion | None = None
        if hooks is not None:
            call, said = await hooks.before(call, self)
        async with self._stream(call, said, grace=grace, wait=wait) as stream:
            if hooks is not None:
                stream.after = partial(hooks.after, call, ctx=self, skipped=said is not None)
            yield stream

    @asynccontextmanager
    async def _stream(
        self, call: Call, said: Completion | None, *, grace: bool, wait: bool
    ) -> AsyncGenerator[ContextStream]:
        """A stream of the answer of a model, of the one that an earlier run of this delivery got, or of that of a hook."""
        if said is not None:
            yield ContextStream(KeptStream(await self._said(call, said, "stream")), self._delivery)
            return
        prompt = self._prompt(call, "stream")
        kept = None if prompt is None else self.recall(prompt.key)
        if kept is not None:
            yield ContextStream(KeptStream(completion_of(*kept)), self._delivery)
            return
        async with self._streamed(_as_written(call, prompt), prompt, grace=grace, wait=wait) as stream:
            yield stream

    @asynccontextmanager
    async def _streamed(
        self, call: Call, prompt: Prompt | None, *, grace: bool, wait: bool
    ) -> AsyncGenerator[ContextStream]:
        """A stream of a model's answer to a call that is made for the first time."""
        message = self._message
        ledger = CallLedger(
            self._pump, message.thread, message, call, grace=grace, wait=wait, streamed=True, prompt=prompt
        )
        with ledger.watched():
            async with AsyncExitStack() as stack:
                async with Waiting(self._delivery):
                    inner = await stack.enter_async_context(self._pump.router.stream(call, ledger))
                stream = ContextStream(inner, self._delivery, lambda: ledger.completed(inner.as_it_came))
                yield stream
            await stream.recorded()  # of one that was left early: what came

    async def _turned_away(self) -> None:
        """Raises OrganismError in another thread than the event loop's, and NotRunningError where the delivery is over. Before the latter it
        gives others a turn: a handler that swallows the error and asks again would block the event loop.
        """
        if get_ident() != self._pump.own_loop.thread:
            self._pump.own_loop.follow()  # raises before anything is awaited, which would belong to the wrong loop
        if self._delivery.over:
            await anyio.lowlevel.checkpoint()
            check_running(self._delivery)

    async def _let_others(self) -> None:
        """Gives others a turn before a cancelled delivery is refused something: it may ask again and again."""
        if self._delivery.cut or self._pump.stopped:
            await anyio.lowlevel.cancel_shielded_checkpoint()


_BESIDE: Final = tuple(each.name for each in fields(Call) if each.name != "messages")


def _as_written(call: Call, prompt: Prompt | None) -> Call:
    """The call with its messages as they are recorded: its handler may change the originals while the call is under way."""
    if prompt is None or prompt.messages is call.messages:
        return call
    return new_call(messages=tuple(prompt.messages), **{name: getattr(call, name) for name in _BESIDE})
