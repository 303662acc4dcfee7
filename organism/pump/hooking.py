"""Calls the hooks of an organism at their points, and carries out their verdicts (:mod:`organism.hooks`)."""

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
from organism.models.completion import Call, Completion, agreeing, checked, sound
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
"""Seconds that `on_abort` hooks have for a delivery that was cancelled."""
_BACKEND: Final = "hook"
"""The backend of a completion that a hook gave."""
_asking: Final[ContextVar[bool]] = ContextVar("organism_asking_a_hook", default=False)
"""Whether this task runs a hook: what a hook does itself is not hooked."""
_log: Final = logging.getLogger("organism.hooks")


class Held(Protocol):
    """What holds up a delivery (``Pause``)."""

    async def __call__(self, ctx: Any, reason: str) -> bool:
        """Waits until the delivery's thread goes on. ``False``: nothing is held up, since this is a replay."""
        ...


class Hooks:
    """The hooks of one organism, by point. ``held`` holds up the delivery of a context, ``mark`` keeps texts (secrets) out of the journal."""

    def __init__(
        self, hooks: Mapping[str, Sequence[Hook]], *, held: Held, mark: Callable[[Sequence[str]], None]
    ) -> None:
        self._hooks = {point: tuple(named) for point, named in hooks.items() if named}
        self._held = held
        self._mark = mark

    def wants(self, point: Point) -> bool:
        """Whether there are hooks at a point, and this task does not run a hook itself."""
        return point in self._hooks and not _asking.get()

    # Deliveries

    async def handle(self, handler: HandlerSettings, payload: Any, ctx: Any) -> Any:
        """The answer of a handler to a message, or of a hook in its place."""
        try:
            if self.wants("on_message") and handler.name != ORGANISM and not is_tool(handler.name):
                event = MessageEvent(to=handler.name, sender=ctx.sender, payload=payload)
                event, skip = await self._ask("on_message", event, ctx, partial(_taken, handler))
                if skip is not None:
                    return skip.result
                payload = event.payload
            return await handler.code(payload, ctx)
        except BaseException as error:
            if self.wants("on_abort"):
                await self._tell(error, ctx)
            raise

    async def _tell(self, error: BaseException, ctx: Any) -> None:
        if isinstance(error, GeneratorExit):
            return  # its event loop is gone, and nothing can be awaited
        cancelled = isinstance(error, anyio.get_cancelled_exc_class())
        if not cancelled and not isinstance(error, (Exception, SystemExit)):
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
                    await self._verdict(hook, "on_abort", event, ctx)
                except Exception as odd:  # noqa: BLE001 - the hook is only told of the failure, and changes nothing
                    _log.error("%s", odd)

    # Calls to models

    async def before(self, call: Call, ctx: Any) -> tuple[Call, Completion | None]:
        """The call that is to be made, and the completion of a hook in the model's place, if one gave it."""
        if not self.wants("before_model_call"):
            return call, None
        event = CallEvent(call=call)
        event, skip = await self._ask("before_model_call", event, ctx, lambda new: checked(_a(Call, new)), _answer)
        return event.call, None if skip is None else _said(event.call, skip.result)

    async def after(self, call: Call, completion: Completion, ctx: Any, *, skipped: bool) -> Completion:
        """The completion that the caller gets."""
        if not self.wants("after_model_call"):
            return completion
        event = CompletionEvent(call=call, completion=completion, skipped=skipped)
        event, _ = await self._ask("after_model_call", event, ctx, lambda new: sound(_a(Completion, new)))
        changed = event.completion
        return changed if changed is completion else agreeing(changed, completion)

    async def again(self, call: Call, completion: Completion, ctx: Any) -> Completion:
        """The completion that the caller gets for an answer that an earlier run of its delivery got."""
        return await self.after(call, completion, ctx, skipped=completion.backend == _BACKEND)

    # Tools

    async def before_tool(self, tool: str, payload: Any, ctx: Any) -> tuple[Any, str | None]:
        """The payload that the tool gets, and the result of a hook in its place, if one gave it."""
        if not self.wants("before_tool"):
            return payload, None
        event = ToolEvent(tool=tool, payload=payload)
        kind: type[object] = cast("type[object]", type(payload))
        event, skip = await self._ask("before_tool", event, ctx, partial(_a, kind), partial(_a, str))
        return event.payload, None if skip is None else skip.result

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

    async def _ask(
        self, point: Point, event: E, ctx: Any, fit: Callable[[Any], Any], result: Callable[[Any], Any] | None = None
    ) -> tuple[E, Skip | None]:
        """Asks the hooks of a point one after the other. ``fit`` gives a changed value, and ``result`` what stands for a step that was
        skipped; they raise TypeError or ValueError for one that is none.
        """
        changed = _CHANGED.get(point, "")
        for hook in self._hooks[point]:
            while True:
                verdict = await self._verdict(hook, point, event, ctx)
                if not isinstance(verdict, Pause):
                    break
                if not await self._held(ctx, verdict.reason):
                    break
            match verdict:
                case Change(value=value):
                    event = evolve(cast("Any", event), **{changed: _fitting(hook, point, fit, value)})
                case Skip():
                    if result is not None:
                        verdict = evolve(verdict, result=_fitting(hook, point, result, verdict.result))
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
        try:
            self._mark(verdict.secrets)
        except ValueError as error:
            raise HandlerFailedError("crashed", f"hook {name_of(hook)} at {point}: {error}") from error
        return verdict


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
    except (TypeError, ValueError, PayloadError) as error:
        text = f"hook {name_of(hook)} at {point} gave an invalid value: {error}"
        _log.error("%s", text)
        raise HandlerFailedError("crashed", text) from error


def _a(kind: type[E], value: Any) -> E:
    if not isinstance(value, kind):
        raise ValueError(f"it must be {kind.__name__}, not {_kind(value)}")  # noqa: TRY004 - said of a verdict
    return value


def _taken(handler: HandlerSettings, payload: Any) -> Any:
    """The payload, if the handler takes it; raises ValueError otherwise."""
    if not is_payload(payload) or not isinstance(payload, handler.accepts):
        takes = " or ".join(each.__name__ for each in handler.accepts)
        raise ValueError(f"'{handler.name}' takes {takes}, and not {_kind(payload)}")
    return payload


def _answer(result: Any) -> str | Completion:
    """What may stand for a model's answer."""
    if not isinstance(result, (Completion, str)):
        raise TypeError(f"a model call is replaced by a text or a completion, not by {_kind(result)}")
    return result if isinstance(result, str) else sound(_a(Completion, result))


def _said(call: Call, result: str | Completion) -> Completion:
    """The completion that a hook gives in a model's place: it costs nothing."""
    if isinstance(result, Completion):
        return agreeing(result, result)
    message = {"role": "assistant", "content": result}
    return Completion(
        text=result, message=message, model=call.model, backend=_BACKEND, usage=Usage(), cost_usd=Decimal(0), attempts=0
    )


def name_of(hook: Hook) -> str:
    """The name of a hook in messages: ``module:function``."""
    inner: Any = inspect.unwrap(hook)
    return f"{getattr(inner, '__module__', '?')}:{getattr(inner, '__qualname__', type(inner).__name__)}"


def _kind(value: Any) -> str:
    return f"a value of type {type(value).__name__}"


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")
