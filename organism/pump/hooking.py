"""Asks the hooks of an organism at their points, and does what they say (:mod:`organism.hooks`)."""

from __future__ import annotations

import inspect
import logging
from contextvars import ContextVar
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, cast

import anyio
from attrs import evolve

from organism.errors import BudgetExhaustedError, HandlerFailedError, PayloadError, Refused
from organism.hooks import (
    ALLOWED,
    Abort,
    AbortEvent,
    CallEvent,
    Change,
    CompletionEvent,
    Go,
    MessageEvent,
    Pause,
    Skip,
    ToolEvent,
    ToolResultEvent,
    TurnEvent,
)
from organism.models.completion import Call, Completion, agreeing
from organism.names import ORGANISM, is_tool
from organism.payloads import is_payload
from organism.pump.failures import failure_of
from organism.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from organism.hooks import Hook, Point, Verdict
    from organism.settings import HandlerSettings

E = TypeVar("E")
_GO: Final = Go()
_PATIENCE: Final = 5.0
"""Seconds that those have who are told of a delivery that was cancelled."""
_BACKEND: Final = "hook"
"""What stands where a completion names its backend, in one that no model gave."""
_asking: Final[ContextVar[bool]] = ContextVar("organism_asking_a_hook", default=False)
"""Whether this task runs a hook: what that does itself is not hooked again."""
_log: Final = logging.getLogger("organism.hooks")


class Held(Protocol):
    """Holds up a delivery."""

    async def __call__(self, ctx: Any, reason: str) -> bool:
        """Waits until its thread goes on. False where nothing is held up, since all of it has happened before."""
        ...


class Hooks:
    """The hooks of one organism by point. ``held`` holds up the delivery of a context, ``mark`` keeps texts from being written."""

    def __init__(
        self, hooks: Mapping[str, Sequence[Hook]], *, held: Held, mark: Callable[[Sequence[str]], None]
    ) -> None:
        self._hooks = {point: tuple(named) for point, named in hooks.items() if named}
        self._held = held
        self._mark = mark

    def wants(self, point: Point) -> bool:
        """Whether anybody is asked at a point, here: what a hook does itself is not hooked."""
        return point in self._hooks and not _asking.get()

    # Deliveries

    async def handle(self, handler: HandlerSettings, payload: Any, ctx: Any) -> Any:
        """What a handler answers to a message, or a hook in its place."""
        try:
            if self.wants("on_message") and handler.name != ORGANISM and not is_tool(handler.name):
                event = MessageEvent(to=handler.name, sender=ctx.sender, payload=payload)
                event, skip = await self._ask("on_message", event, ctx, lambda new: _taken(handler, new))
                if skip is not None:
                    return skip.result
                payload = event.payload
            return await handler.code(payload, ctx)
        except BaseException as error:
            if self.wants("on_abort"):
                await self._tell(error, ctx)
            raise

    async def _tell(self, error: BaseException, ctx: Any) -> None:
        cancelled = isinstance(error, anyio.get_cancelled_exc_class())
        if not cancelled and not isinstance(error, Exception):
            return
        failure = failure_of(error)
        event = (
            AbortEvent(code="cancelled", text="the delivery was cancelled")
            if cancelled
            else AbortEvent(code=failure.code, text=failure.text)
        )
        with anyio.move_on_after(_PATIENCE, shield=True):
            for hook in self._hooks["on_abort"]:
                try:
                    self._mark((await self._verdict(hook, "on_abort", event, ctx)).secrets)
                except Exception as odd:  # noqa: BLE001 - it is told of a failure, and changes nothing of it
                    _log.error("%s", odd)

    # Calls to models

    async def before(self, call: Call, ctx: Any) -> tuple[Call, Completion | None]:
        """The call that is made, and what a hook says to it in the model's place."""
        if not self.wants("before_model_call"):
            return call, None
        event, skip = await self._ask("before_model_call", CallEvent(call=call), ctx, lambda new: _a(Call, new))
        return event.call, None if skip is None else _said(event.call, skip.result)

    async def after(self, call: Call, completion: Completion, ctx: Any, *, skipped: bool) -> Completion:
        """What the caller gets."""
        if not self.wants("after_model_call"):
            return completion
        event = CompletionEvent(call=call, completion=completion, skipped=skipped)
        event, _ = await self._ask("after_model_call", event, ctx, lambda new: _a(Completion, new))
        changed = event.completion
        return changed if changed is completion else agreeing(changed, completion)

    async def again(self, call: Call, completion: Completion, ctx: Any) -> Completion:
        """What the caller gets of an answer that was given to an earlier run of its delivery."""
        return await self.after(call, completion, ctx, skipped=completion.backend == _BACKEND)

    # Tools

    async def before_tool(self, tool: str, payload: Any, ctx: Any) -> tuple[Any, str | None]:
        """What the tool is asked, and a result in its place."""
        if not self.wants("before_tool"):
            return payload, None
        event = ToolEvent(tool=tool, payload=payload)
        kind: type[object] = cast("type[object]", type(payload))
        event, skip = await self._ask("before_tool", event, ctx, partial(_a, kind))
        return event.payload, None if skip is None else _a(str, skip.result)

    async def after_tool(self, tool: str, payload: Any, result: str, ctx: Any, *, failed: bool) -> str:
        """The result that the agent reads."""
        if not self.wants("after_tool"):
            return result
        event = ToolResultEvent(tool=tool, payload=payload, result=result, failed=failed)
        event, _ = await self._ask("after_tool", event, ctx, lambda new: _a(str, new))
        return event.result

    async def turn_ended(self, completion: Completion, results: tuple[str, ...], reply: Any, ctx: Any) -> None:
        """A turn of an agent was carried out."""
        if not self.wants("on_turn_end"):
            return
        event = TurnEvent(completion=completion, results=results, reply=reply)
        await self._ask("on_turn_end", event, ctx, _nothing)

    # All of them

    async def _ask(self, point: Point, event: E, ctx: Any, fit: Callable[[Any], Any]) -> tuple[E, Skip | None]:
        """Asks the hooks of a point one after the other. ``fit`` gives a changed value, or raises ValueError for one that is none."""
        changed = _CHANGED.get(point, "")
        for hook in self._hooks[point]:
            while True:
                verdict = await self._verdict(hook, point, event, ctx)
                self._mark(verdict.secrets)
                if not isinstance(verdict, Pause):
                    break
                if not await self._held(ctx, verdict.reason):
                    break
            match verdict:
                case Change(value=value):
                    event = evolve(cast("Any", event), **{changed: _fitting(hook, point, fit, value)})
                case Skip():
                    return event, verdict
                case Abort(text=text):
                    raise HandlerFailedError("refused", text)
                case Go() | Pause():
                    pass
        return event, None

    async def _verdict(self, hook: Hook, point: Point, event: Any, ctx: Any) -> Verdict:
        token = _asking.set(True)
        try:
            given = hook(event, ctx)
            if inspect.isawaitable(given):
                given = await given
        except (Refused, HandlerFailedError, BudgetExhaustedError):
            raise
        except Exception as error:
            _log.exception("hook %s at %s failed in thread %s", name_of(hook), point, ctx.thread)
            raise HandlerFailedError("crashed", f"hook {name_of(hook)} at {point}: {_told(error)}") from error
        finally:
            _asking.reset(token)
        verdict = _GO if given is None else given
        if not isinstance(verdict, ALLOWED[point]):
            can = ", ".join(each.__name__ for each in ALLOWED[point])
            _log.error("hook %s at %s gave %s: it may give None, %s", name_of(hook), point, _kind(given), can)
            text = f"hook {name_of(hook)} gave {_kind(given)} at {point}; there it may give None, {can}"
            raise HandlerFailedError("crashed", text)
        return cast("Verdict", verdict)


_CHANGED: Final[Mapping[str, str]] = {
    "on_message": "payload",
    "before_model_call": "call",
    "after_model_call": "completion",
    "before_tool": "payload",
    "after_tool": "result",
}
"""The field of each point's event that a hook may change."""


def _nothing(_: Any) -> Any:
    raise ValueError("nothing can be changed there")


def _fitting(hook: Hook, point: Point, fit: Callable[[Any], Any], value: Any) -> Any:
    try:
        return fit(value)
    except (ValueError, PayloadError) as error:
        text = f"hook {name_of(hook)} changed what it saw at {point} into what cannot be: {error}"
        _log.error("%s", text)
        raise HandlerFailedError("crashed", text) from error


def _a(kind: type[E], value: Any) -> E:
    if not isinstance(value, kind):
        raise ValueError(f"it is to be {kind.__name__}, and is {_kind(value)}")  # noqa: TRY004 - said of a verdict
    return value


def _taken(handler: HandlerSettings, payload: Any) -> Any:
    """A payload that a handler takes; raises ValueError for another one."""
    if not is_payload(payload) or not isinstance(payload, handler.accepts):
        takes = " or ".join(each.__name__ for each in handler.accepts)
        raise ValueError(f"'{handler.name}' takes {takes}, and not {_kind(payload)}")
    return payload


def _said(call: Call, result: Any) -> Completion:
    """What a hook says in a model's place: it cost nothing."""
    if isinstance(result, Completion):
        return agreeing(result, result)
    if not isinstance(result, str):
        kind = _kind(result)
        raise HandlerFailedError("crashed", f"a hook skipped a model call with {kind}: give a text, or a completion")
    message = {"role": "assistant", "content": result}
    return Completion(
        text=result, message=message, model=call.model, backend=_BACKEND, usage=Usage(), cost_usd=Decimal(0), attempts=0
    )


def name_of(hook: Hook) -> str:
    """What a hook is called in messages."""
    inner: Any = inspect.unwrap(hook)
    return f"{getattr(inner, '__module__', '?')}:{getattr(inner, '__qualname__', type(inner).__name__)}"


def _kind(value: Any) -> str:
    return f"a value of type {type(value).__name__}"


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")
